# SPDX-License-Identifier: Apache-2.0
"""What a policy is given, of one step and of many."""

import numpy as np
import pytest
import torch

from furl_ros.core.observe import check_observe
from furl_ros.core.policy_input import PolicyInput
from furl_ros.core.settings import SettingError

STATE = np.arange(6, dtype=np.float32)
EMBEDDING = np.array([3, 0, -4], np.float32)
UNIT = np.array([0.6, 0, -0.8]) * 3**0.5


@pytest.mark.parametrize(
    ('observe', 'expected'),
    [
        ('state', STATE),
        ('embedding', [*STATE[[1, 4]], *UNIT]),
        ('both', [*STATE, *UNIT]),
    ],
)
def test_by_hand(observe, expected):
    given = PolicyInput(observe, 6, (1, 4), 3)
    one = given.one(STATE, EMBEDDING)
    assert one.dtype == np.float32
    assert one == pytest.approx(np.array(expected))
    assert given.width == len(expected) == given.space.shape[0]
    kept = torch.from_numpy(given.part(STATE))[None].expand(2, -1)
    many = given.many(kept, torch.from_numpy(EMBEDDING)[None].expand(2, -1))
    assert many.numpy() == pytest.approx(np.array([expected, expected]))


def test_a_robot_may_sense_nothing_but_itself():
    assert PolicyInput('embedding', 6, (), 3).width == 9


def test_no_embedding_has_no_direction():
    assert PolicyInput('both', 6, (), 3).one(STATE, np.zeros(3))[6:].tolist() == [0, 0, 0]


def test_acting_and_learning_see_the_same():
    """The replay keeps float16."""
    given = PolicyInput('embedding', 6, (0,), 3)
    raw = np.array([1.00012345, -2.3456789, 0.1], np.float32)
    kept = torch.from_numpy(raw.astype(np.float16)).float()
    learned = given.many(torch.zeros(1, 1), kept[None])[0].numpy()
    assert np.array_equal(given.one(STATE, raw), learned)


def test_an_index_beyond_the_state():
    with pytest.raises(SettingError, match=r'proprioception is \[1, 6\]; accepted: 0 to 5'):
        PolicyInput('embedding', 6, (1, 6), 3)


def test_methods_without_a_model_see_nothing():
    check_observe('state', False, 'sac')
    check_observe('embedding', True, 'furl')
    with pytest.raises(SettingError, match="observe is 'both' with method sac, which has no VLM"):
        check_observe('both', False, 'sac')
