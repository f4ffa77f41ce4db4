# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the way: as often as it is said, and the same from the same seed."""

import numpy as np
import pytest

from furl_ros.core.settings import SettingError
from sim.mock_arm.config import FaultConfig
from sim.mock_arm.faults import DROPPED, LATE, REPEATED, SENT, Channel, Faults


def test_a_channel_takes_its_time_and_keeps_the_order():
    channel = Channel(0.2)
    assert channel.next_due == float('inf')
    channel.put('first', 1.0)
    channel.put('late', 1.1, more=0.5)
    channel.put('behind', 1.2)
    assert channel.next_due == pytest.approx(1.2)
    assert channel.take(1.19) == []
    assert channel.take(1.2) == ['first']
    assert channel.take(1.7) == []
    assert channel.take(1.8001) == ['late', 'behind']


def test_jitter_is_uniform_and_never_overtakes():
    channel = Channel(0.1, 0.05, np.random.default_rng(0))
    delays = []
    for number in range(1000):
        channel.put(number, float(number))
        delays.append(channel.next_due - number)
        channel.take(number + 1.0)
    assert min(delays) == pytest.approx(0.1, abs=0.001)
    assert max(delays) == pytest.approx(0.15, abs=0.001)
    for number in range(100):
        channel.put(number, 2000 + number * 1e-4)
    assert channel.take(2001) == list(range(100))


def test_frames_meet_their_fates_as_often_as_said_and_are_counted():
    faults = Faults(FaultConfig(late_share=0.1, dropped_share=0.2, repeated_share=0.05), seed=3)
    fates = [faults.fate_of_frame() for _ in range(5000)]
    for fate, share in ((LATE, 0.1), (DROPPED, 0.2), (REPEATED, 0.05), (SENT, 0.65)):
        assert faults.counts[fate] == fates.count(fate)
        assert fates.count(fate) / 5000 == pytest.approx(share, abs=0.02)


def test_faults_repeat_from_a_seed_and_do_not_disturb_each_other():
    config = FaultConfig(
        late_share=0.3, dropped_share=0.3, joint_noise=0.01, command_latency=0.1, command_jitter=0.1
    )

    def frames(seed, others):
        faults = Faults(config, seed)
        fates = []
        for number in range(50):
            fates.append(faults.fate_of_frame())
            if others:
                faults.noisy(np.zeros(7))
                faults.commands.put(number, number)
        return fates

    assert frames(1, others=False) == frames(1, others=True)
    assert frames(1, others=False) != frames(2, others=False)
    first, second = (Faults(config, 4).noisy(np.zeros(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_noise_is_as_large_as_said_and_off_by_default():
    positions = np.arange(7.0)
    np.testing.assert_array_equal(Faults(FaultConfig(), 0).noisy(positions), positions)
    faults = Faults(FaultConfig(joint_noise=0.02), 0)
    errors = [faults.noisy(positions) - positions for _ in range(500)]
    assert np.std(errors) == pytest.approx(0.02, rel=0.1)


def test_shares_beyond_all_frames_are_not_accepted():
    with pytest.raises(SettingError, match='accepted: a sum of at most 1'):
        Faults(FaultConfig(late_share=0.6, dropped_share=0.5), 0)
