# SPDX-License-Identifier: Apache-2.0
"""A joystick, a twist: what they drive, and when buttons count."""

import numpy as np
import pytest

from furl_ros.core.arm.joystick import Joystick, Mapping, from_twist
from furl_ros.core.settings import SettingError

REST = [0.0] * 6


def axes(**deflected):
    values = list(REST)
    for name, value in deflected.items():
        values[int(name[1:])] = value
    return values


class TestAxes:
    def test_by_hand(self):
        stick = Joystick(Mapping(axes=(1, 0), scale=(0.5, -1.0)), 3)
        hand = stick.read(axes(a0=0.25, a1=1.0), [])
        assert hand.action.tolist() == [0.5, -0.25, 0.0]
        assert hand.action.dtype == np.float32

    def test_within_the_dead_zone_nobody_drives(self):
        stick = Joystick(Mapping(axes=(0, 1), dead_zone=0.2), 2)
        assert stick.read(axes(a0=0.19, a1=-0.1), []).action is None
        assert stick.read(axes(a0=0.2, a1=-0.1), []).action.tolist() == pytest.approx([0.2, 0.0])

    def test_a_button_may_have_to_be_held(self):
        stick = Joystick(Mapping(axes=(0,), drive=5), 1)
        assert stick.read(axes(a0=1.0), [0] * 6).action is None
        assert stick.read(axes(a0=1.0), [0] * 5 + [1]).action.tolist() == [1.0]
        # Held at rest he holds the arm where it is.
        assert stick.read(REST, [0] * 5 + [1]).action.tolist() == [0.0]

    def test_axes_that_are_not_there_or_no_numbers_are_at_rest(self):
        stick = Joystick(Mapping(axes=(0, 9)), 2)
        assert stick.read([np.nan, 1.0], []).action is None
        assert stick.read([0.5], []).action.tolist() == [0.5, 0.0]

    def test_a_scale_for_other_axes(self):
        with pytest.raises(SettingError, match='scale has 2 values; accepted: 1 or 3'):
            Joystick(Mapping(axes=(0, 1, 2), scale=(1.0, 1.0)), 3)


class TestButtons:
    def stick(self):
        return Joystick(Mapping(success=0, failure=1, estop=3, rerecord=-1, end=-1), 1)

    def test_they_count_once_where_they_are_pressed(self):
        stick = self.stick()
        seen = [
            stick.read(REST, buttons).events
            for buttons in ([0, 0], [1, 0], [1, 0], [1, 1], [0, 1], [1, 1], [0, 0])
        ]
        assert seen == [(), ('success',), (), ('failure',), (), ('success',), ()]

    def test_what_is_held_from_the_beginning_does_not_count(self):
        stick = self.stick()
        assert stick.read(REST, [1, 0, 0, 1]).events == ()
        assert stick.read(REST, [0, 0, 0, 1]).events == ()
        assert stick.read(REST, [1, 0, 0, 1]).events == ('success',)

    def test_several_at_once(self):
        stick = self.stick()
        stick.read(REST, [0, 0, 0, 0])
        assert stick.read(REST, [1, 0, 0, 1]).events == ('success', 'estop')

    def test_a_button_that_means_nothing(self):
        stick = self.stick()
        stick.read(REST, [0] * 6)
        assert stick.read(REST, [0, 0, 1, 0, 1, 1]).events == ()


class TestTwist:
    def test_by_hand(self):
        mapping = Mapping(twist_axes=(2, 0), twist_scale=(0.1, 0.2))
        action = from_twist(mapping, [0.1, 0, -0.05, 0, 0, 0], 3)
        assert action.tolist() == pytest.approx([-0.5, 0.5, 0.0])

    def test_no_faster_than_the_largest_action(self):
        assert from_twist(Mapping(), [9, -9, 0, 0, 0, 0], 2).tolist() == [1, -1]

    @pytest.mark.parametrize('twist', [[0] * 6, [np.nan] * 6, [np.inf] * 6])
    def test_none(self, twist):
        assert from_twist(Mapping(), twist, 3) is None
