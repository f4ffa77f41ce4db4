# SPDX-License-Identifier: Apache-2.0
"""The graph run that several test modules look at."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph_support import Probe, launch, new_domain
from sensor_msgs.msg import Image

from furl_interfaces.msg import (
    Action,
    EpisodeResult,
    FrameScore,
    Observation,
    PromptEmbedding,
    RewardHeads,
    TrainingStatus,
)
from furl_ros.bridge.qos import EVENTS


@pytest.fixture(scope='session', autouse=True)
def logs_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the log files of the tests apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('ros_log')))
        yield


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
            total_steps=430,
            eval_every=200,
            checkpoint_every=200,
            run_folder=folder / 'run',
        )
        with graph:
            code = graph.finish()
        return SimpleNamespace(folder=folder / 'run', graph=graph, code=code, **recorded)
