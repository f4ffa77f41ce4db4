# SPDX-License-Identifier: Apache-2.0
"""What the page's plots are given: figures that are known, from the first one on."""

import math

import numpy as np

from furl_ros.monitor.curves import Curves
from furl_ros.monitor.web_page import FIGURES, _figures_of, _rows_of

CRITICS = 'losses of the critics'


def curves_of(*rows):
    """Curves with these rows, at steps 10, 20, ..."""
    curves = Curves(FIGURES)
    for number, row in enumerate(rows, 1):
        curves.add(10 * number, row)
    return curves


def test_nothing_is_drawn_before_there_is_a_figure():
    for curves in (curves_of(), curves_of({}, {})):
        assert _figures_of(curves, CRITICS) == ()
        assert len(_rows_of(curves, CRITICS, ())[0]) == 0
        assert len(_rows_of(curves, CRITICS, ('vlm_critic_loss',))[0]) == 0


def test_only_what_is_known_is_drawn_from_its_first_row_on():
    curves = curves_of({}, {'sac_critic_loss': 1.0}, {'sac_critic_loss': 2.0})
    assert _figures_of(curves, CRITICS) == ('sac_critic_loss',)
    steps, losses = _rows_of(curves, CRITICS, ('sac_critic_loss',))
    np.testing.assert_array_equal(steps, [20, 30])
    np.testing.assert_array_equal(losses, [1, 2])


def test_no_column_begins_with_nan_where_the_range_is_to_be_found():
    curves = curves_of({'vlm_critic_loss': 1.0}, {}, {'sac_critic_loss': 2.0})
    _, vlm, sac = _rows_of(curves, CRITICS, ('vlm_critic_loss', 'sac_critic_loss'))
    np.testing.assert_array_equal(vlm, [1, math.nan, math.nan])
    np.testing.assert_array_equal(sac, [2, math.nan, 2])


def test_an_evaluation_is_not_drawn_before_it_was_made():
    curves = curves_of({'success_rate': 0.5}, {'success_rate': 0.5, 'eval_success_rate': 1.0})
    figures = _figures_of(curves, 'success')
    assert figures == ('success_rate', 'eval_success_rate')
    _, success, evaluation = _rows_of(curves, 'success', figures)
    np.testing.assert_array_equal(success, [0.5, 0.5])
    np.testing.assert_array_equal(evaluation, [math.nan, 1.0])
