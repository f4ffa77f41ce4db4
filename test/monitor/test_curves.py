# SPDX-License-Identifier: Apache-2.0
"""Curves keep few rows, evenly, with the newest; they read what a run has written."""

import numpy as np
import pytest

from furl_ros.monitor.curves import Curves


def test_rows_come_back_as_columns():
    curves = Curves(('a', 'b'))
    curves.add(10, {'a': 1.0})
    curves.add(20, {'a': 2.0, 'b': 3.0, 'another': 4.0})
    steps, b, a = curves.columns('b', 'a')
    np.testing.assert_array_equal(steps, [10, 20])
    np.testing.assert_array_equal(a, [1, 2])
    np.testing.assert_array_equal(b, [np.nan, 3])


@pytest.mark.parametrize('count', [3, 100, 12_345])
def test_a_long_run_is_thinned_out_evenly(count):
    curves = Curves(('a',), most=50)
    for step in range(count):
        curves.add(step, {'a': step / 2})
    steps, figures = curves.columns('a')
    assert (steps[0], steps[-1]) == (0, count - 1)
    np.testing.assert_array_equal(figures, steps / 2)
    assert min(count, 20) <= len(curves) <= 50
    gaps = np.diff(steps)[:-1]
    assert not gaps.size or gaps.max() <= 2 * gaps.min()


def test_a_resumed_run_replaces_the_steps_that_were_lost():
    curves = Curves(('a',))
    for step in (10, 20, 30):
        curves.add(step, {'a': 1.0})
    curves.add(15, {'a': 2.0})
    steps, figures = curves.columns('a')
    np.testing.assert_array_equal(steps, [10, 15])
    np.testing.assert_array_equal(figures, [1, 2])


def test_reads_what_a_run_has_written(tmp_path):
    path = tmp_path / 'curves.csv'
    path.write_text('total_steps,x,y\n10,1,\n20,nonsense,1\n\n30,3,0.5\n40')
    curves = Curves(('a', 'b'))
    curves.read(path, {'a': 'x', 'b': 'y'})
    steps, a, b = curves.columns('a', 'b')
    np.testing.assert_array_equal(steps, [10, 30, 40])
    np.testing.assert_array_equal(a, [1, 3, np.nan])
    np.testing.assert_array_equal(b, [np.nan, 0.5, np.nan])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        Curves(('a',)).read(tmp_path / 'curves.csv', {'a': 'x'})
