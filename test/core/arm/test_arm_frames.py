# SPDX-License-Identifier: Apache-2.0
"""Each observation meets the nearest frame, and a camera on another clock is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furl_ros.core.arm.frames import NearestFrame, Pairing

MS = 1_000_000
EPOCH = 1_700_000_000_000_000_000
TOLERANCE, WAIT = 0.05, 0.2


def pairs():
    return NearestFrame(TOLERANCE, WAIT)


def test_a_later_frame_decides():
    nearest = pairs()
    assert nearest.add_frame(100 * MS, 0.10) == []
    assert nearest.add_observation(110 * MS, 0.11) == []
    assert nearest.add_frame(133 * MS, 0.14) == [Pairing(110 * MS, 100 * MS)]


def test_a_frame_that_is_there_already_decides_at_once():
    nearest = pairs()
    nearest.add_frame(100 * MS, 0.10)
    nearest.add_frame(133 * MS, 0.14)
    assert nearest.add_observation(110 * MS, 0.14) == [Pairing(110 * MS, 100 * MS)]
    assert nearest.add_observation(133 * MS, 0.14) == [Pairing(133 * MS, 133 * MS)]


def test_the_earlier_of_two_that_are_as_near():
    nearest = pairs()
    nearest.add_frame(120 * MS, 0.12)
    nearest.add_observation(110 * MS, 0.12)
    nearest.add_frame(100 * MS, 0.12)
    assert nearest.add_observation(110 * MS, 0.12) == [Pairing(110 * MS, 100 * MS)]


def test_who_has_waited_long_enough_is_decided():
    nearest = pairs()
    nearest.add_frame(100 * MS, 0.10)
    nearest.add_observation(110 * MS, 0.11)
    assert nearest.tick(0.31) == []
    assert nearest.tick(0.32) == [Pairing(110 * MS, 100 * MS)]
    assert nearest.tick(0.33) == []


def test_without_a_frame_within_the_tolerance_there_is_none():
    nearest = pairs()
    nearest.add_frame(0, 0.0)
    nearest.add_observation(100 * MS, 0.1)
    assert nearest.add_frame(200 * MS, 0.2) == [Pairing(100 * MS, None)]
    assert nearest.add_observation(150 * MS, 0.2) == [Pairing(150 * MS, 200 * MS)]
    assert nearest.counts == {'observations without a frame': 1}


def test_a_slow_camera_repeats_its_frames_and_a_fast_one_drops_some():
    slow = pairs()
    for stamp in (0, 20, 40):
        slow.add_observation(stamp * MS, stamp / 1e3)
    assert [pairing.frame for pairing in slow.add_frame(40 * MS, 0.04)] == [40 * MS] * 3
    assert slow.counts == {'frames repeated': 2}
    fast = NearestFrame(TOLERANCE, WAIT, kept_frames=2)
    for stamp in range(0, 100, 10):
        fast.add_frame(stamp * MS, stamp / 1e3)
    assert fast.counts == {'frames dropped': 8}
    assert fast.frames == (80 * MS, 90 * MS)


def test_a_frame_that_comes_too_late_is_counted():
    nearest = pairs()
    nearest.add_observation(100 * MS, 0.1)
    assert nearest.tick(0.5) == [Pairing(100 * MS, None)]
    assert nearest.add_frame(101 * MS, 0.5) == []
    assert nearest.counts['frames late'] == 1


def test_frames_out_of_order_are_counted_and_used():
    nearest = pairs()
    nearest.add_frame(100 * MS, 0.10)
    nearest.add_frame(80 * MS, 0.11)
    nearest.add_frame(80 * MS, 0.12)
    assert nearest.add_observation(81 * MS, 0.12) == [Pairing(81 * MS, 80 * MS)]
    assert nearest.counts == {'frames out of order': 1, 'frames with the stamp of another': 1}


def test_one_frame_from_the_future_does_not_spoil_what_comes_after():
    nearest = NearestFrame(TOLERANCE, WAIT, kept_frames=4)
    nearest.add_frame(10**9 * MS, 0.0)
    assert nearest.add_observation(-28 * MS, 0.0) == []
    assert nearest.add_frame(-33 * MS, 0.0) == []
    for turn in range(10):
        nearest.add_frame(turn * 33 * MS, turn * 0.033)
        decided = nearest.add_observation((turn * 33 + 5) * MS, turn * 0.033)
    assert decided == []
    assert nearest.add_frame(330 * MS, 0.33) == [Pairing(302 * MS, 297 * MS)]


def test_the_end_of_an_episode_decides_all():
    nearest = pairs()
    nearest.add_frame(100 * MS, 0.1)
    nearest.add_observation(110 * MS, 0.11)
    assert nearest.flush() == [Pairing(110 * MS, 100 * MS)]
    assert nearest.flush() == []


def test_observations_that_wait_are_bounded():
    nearest = NearestFrame(TOLERANCE, wait_s=1e9)
    decided = [pair for i in range(1000) for pair in nearest.add_observation(i * MS, 0.0)]
    assert [pairing.observation for pairing in decided] == [i * MS for i in range(1000 - 256)]


def run(offset_s=0.0, latency_s=0.05, jitter_s=0.0, turns=40):
    """A camera and observations of 20 Hz whose stamps are apart by an offset."""
    nearest, warnings = pairs(), []
    for turn in range(turns):
        now = 1000 + turn * 0.05
        captured = EPOCH + turn * 50 * MS
        nearest.add_observation(captured, now)
        late = latency_s + jitter_s * (turn % 3)
        nearest.add_frame(captured + round(offset_s * 1e9), now + late)
        warnings.append(nearest.take_warning())
    return nearest, [warning for warning in warnings if warning]


@pytest.mark.parametrize('latency', [0.0, 0.05, 0.15])
def test_a_camera_on_the_same_clock_is_no_reason_to_warn(latency):
    nearest, warnings = run(latency_s=latency, jitter_s=0.02)
    assert warnings == []
    assert nearest.offset_s is None


@pytest.mark.parametrize('offset', [-3600.0, -5.0, 1.0, 20.0, 1e6])
def test_a_camera_on_another_clock_is_told_once_with_its_offset(offset):
    nearest, warnings = run(offset_s=offset, jitter_s=0.01)
    assert len(warnings) == 1
    assert nearest.offset_s == pytest.approx(offset, abs=0.1)
    assert ('ahead of' if offset > 0 else 'behind') in warnings[0]
    assert 'nothing is corrected' in warnings[0]
    assert nearest.frames[-1] == EPOCH + 39 * 50 * MS + round(offset * 1e9)


def test_stamps_that_only_tremble_are_no_clock():
    nearest = pairs()
    for turn in range(40):
        nearest.add_observation(turn * 50 * MS, turn * 0.05)
        nearest.add_frame((turn * 50 + 600 * (turn % 2)) * MS, turn * 0.05)
    assert nearest.take_warning() == ''


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(['frame', 'observation', 'tick', 'flush', 'frame', 'observation']),
        st.integers(0, 300),
        st.sampled_from([0.0, 0.01, 0.1]),
    ),
    max_size=50,
)


@given(events=EVENTS)
def test_each_observation_is_decided_once_with_the_nearest_frame_that_had_come(events):
    nearest, now, came, open_observations = pairs(), 0.0, [], []
    for event, stamp, pause in events:
        now += pause
        match event:
            case 'frame':
                came.append(stamp * MS)
                decided = nearest.add_frame(stamp * MS, now)
            case 'observation':
                open_observations.append((stamp * MS, now))
                decided = nearest.add_observation(stamp * MS, now)
            case 'tick':
                decided = nearest.tick(now)
            case 'flush':
                decided = nearest.flush()
        for observation, frame in decided:
            open_observations.remove(
                next(known for known in open_observations if known[0] == observation)
            )
            distances = [abs(other - observation) for other in came]
            if frame is None:
                assert all(distance > TOLERANCE * 1e9 for distance in distances)
            else:
                assert frame in came
                assert abs(frame - observation) <= TOLERANCE * 1e9
                assert abs(frame - observation) == min(distances)
        for observation, arrived in open_observations:
            assert all(frame < observation for frame in came), 'it was certain'
            assert event in ('flush',) or now - arrived <= WAIT
    nearest.flush()
    assert nearest.flush() == []
