# SPDX-License-Identifier: Apache-2.0
"""The launched graphs that several test modules look at."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from graph_support import Probe, launch, new_domain
from robot_stage import SMALL_ARM, Person, arm, params, tell_success
from sensor_msgs.msg import Image
from std_msgs.msg import String

from furl_interfaces.msg import (
    Action,
    EpisodeResult,
    FrameScore,
    Observation,
    PromptEmbedding,
    RewardHeads,
    TrainingStatus,
)
from furl_ros.bridge import source
from furl_ros.bridge.qos import EVENTS, LATCHED


@pytest.fixture(scope='session', autouse=True)
def logs_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the log files of the tests apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('ros_log')))
        yield


class Clock:
    """Stands in for the module ``time`` in one that is not to see time pass.

    Attributes:
        now: steady time, seconds.
    """

    def __init__(self) -> None:
        self.now = 1_000.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """How long a learner has waited for its robots: for nothing, until it is put forward.

    So that no test waits for a silence, and none comes of a slow machine.
    """
    clock = Clock()
    monkeypatch.setattr(source, 'time', clock)
    return clock


@pytest.fixture(scope='session')
def train_run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A whole small run on a real task, with everything that was said during it."""
    folder = tmp_path_factory.mktemp('train')
    domain = new_domain()
    with Probe(domain) as probe:
        recorded = {
            'images': probe.record(Image, 'camera/image_raw'),
            'observations': probe.record(Observation, 'observation'),
            'actions': probe.record(Action, 'action'),
            'scores': probe.record(FrameScore, 'frame_score'),
            'heads': probe.record(RewardHeads, 'reward_heads'),
            'prompts': probe.record(PromptEmbedding, 'prompt_embedding'),
            'episodes': probe.record(EpisodeResult, 'episode_result', EVENTS),
            'diagnostics': probe.record(DiagnosticArray, '/diagnostics', EVENTS),
            'statuses': probe.record(TrainingStatus, 'training_status'),
        }
        graph = launch(
            domain,
            folder,
            task='drawer-close-v3',
            total_steps=230,
            warmup_steps=100,
            horizon=50,
            eval_every=100,
            checkpoint_every=100,
            run_folder=folder / 'run',
        )
        with graph:
            code = graph.finish()
        return SimpleNamespace(folder=folder / 'run', graph=graph, code=code, **recorded)


@pytest.fixture(scope='session')
def robot_run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A short training on the stand-in arm, both launched, with a person; recorded as a bag."""
    folder = tmp_path_factory.mktemp('robot')
    domain = new_domain()
    with (
        Probe(domain) as probe,
        launch(domain, folder, 'mock_arm.launch.py', small=False, **SMALL_ARM) as stand_in,
    ):
        tell_success(probe)
        person = Person(probe)
        recorded = {
            'observations': probe.record(Observation, 'observation'),
            'pictures': probe.record(Image, 'camera_view/image_raw'),
            'scores': probe.record(FrameScore, 'frame_score'),
            'states': probe.record(String, 'arm_node/state', LATCHED),
            'twists': probe.record(TwistStamped, 'twist', EVENTS),
        }
        settings = {'params_file': params(folder), 'run_folder': folder / 'run'}
        graph = launch(
            domain,
            folder,
            'robot.launch.py',
            small=False,
            total_steps=120,
            record=True,
            **settings,
        )
        with graph:
            probe.command = graph
            probe.wait(lambda: 'record_node' in probe.diagnostics, 'record_node')
            arm(probe)
            probe.wait(lambda: person.has_thrown, 'an episode that is thrown away')
            code = graph.finish()
            probe.command = None
        stand_in.interrupt()
        arm_code = stand_in.finish()
    return SimpleNamespace(
        folder=folder / 'run',
        graph=graph,
        code=code,
        stand_in=stand_in,
        arm_code=arm_code,
        **recorded,
    )
