# SPDX-License-Identifier: Apache-2.0
"""What all tests share: their environment, how hard they search, and who stays with whom."""

import os

# Set before anything imports messages, torch or MuJoCo: they read these once.
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MUJOCO_GL', 'egl')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

import pytest
from domains import take_domain
from hypothesis import HealthCheck, settings

# Of what asks for no domain of its own; each worker has another one.
DOMAIN = take_domain()
os.environ['ROS_DOMAIN_ID'] = str(DOMAIN)

# Properties are tried on the same examples every time; what searches long is a campaign.
settings.register_profile(
    'few',
    derandomize=True,
    database=None,
    max_examples=25,
    # A busy machine is no failure.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile('campaign', settings.get_profile('few'), max_examples=1_000)
SEARCH = os.environ.get('FURL_HYPOTHESIS', 'few')
settings.load_profile(SEARCH)

# Fixtures that are made once for several files.
SHARED = ('train_run', 'robot_run')
# What takes longest, so that no worker is left with it in the end.
FIRST = ('test/nodes/', 'test/test_', 'test/core/', 'tools/')


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one worker, and those of several files that share a run."""
    for item in items:
        shared = next((name for name in SHARED if name in item.fixturenames), None)
        if item.get_closest_marker('xdist_group') is None:
            item.add_marker(pytest.mark.xdist_group(shared or str(item.path)))
        if SEARCH == 'campaign' and getattr(item.obj, 'is_hypothesis_test', False):
            item.add_marker(pytest.mark.campaign)

    def rank(item: pytest.Item) -> tuple[int, bool]:
        path = item.nodeid
        place = next((n for n, part in enumerate(FIRST) if path.startswith(part)), len(FIRST))
        return place, not any(name in item.fixturenames for name in SHARED)

    items.sort(key=rank)
