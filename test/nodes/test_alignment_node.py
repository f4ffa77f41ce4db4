# SPDX-License-Identifier: Apache-2.0
"""The alignment node alone, as a process; the test plays robot, reward node and learner."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
from graph_support import Probe, load_tree, new_domain, run_node

from furl_interfaces.msg import (
    FrameScore,
    Observation,
    PromptEmbedding,
    RewardHeads,
    SourceInfo,
)
from furl_interfaces.srv import SaveCheckpoint
from furl_ros.bridge.convert import to_float_field, to_time
from furl_ros.bridge.join import Sensed
from furl_ros.bridge.qos import LATCHED, LOCKSTEP
from furl_ros.bridge.steps import to_observation
from furl_ros.core.alignment import Aligner
from furl_ros.core.config import AlignConfig

WIDTH, HORIZON, WARMUP, PUBLISH_EVERY, SEED = 16, 15, 20, 10, 4
SAVE = 'alignment_node/save_checkpoint'
SETTINGS = {'head_batch_size': 8, 'head_hidden_units': 12, 'output_units': 5, 'lag': 3}


class Others:
    """What the rest of the graph would send."""

    def __init__(self, probe):
        self.probe = probe
        self.stamp = 0
        self.generator = np.random.default_rng(0)
        self.heads = probe.record(RewardHeads, 'reward_heads')
        node = probe.node
        self.prompts = node.create_publisher(PromptEmbedding, 'prompt_embedding', LATCHED)
        self.infos = node.create_publisher(SourceInfo, 'source_info', LATCHED)
        self.observations = node.create_publisher(Observation, 'observation', LOCKSTEP)
        self.scores = node.create_publisher(FrameScore, 'frame_score', LOCKSTEP)
        for publisher in (self.prompts, self.infos, self.observations, self.scores):
            probe.wait(publisher.get_subscription_count, publisher.topic_name)
        self.text = self.generator.normal(size=WIDTH).astype(np.float32)

    def prompt(self):
        self.infos.publish(SourceInfo(state_size=2, action_low=[-1.0], action_high=[1.0]))
        self.prompts.publish(PromptEmbedding(text_embedding=to_float_field(self.text)))

    def episode(self, success, score_first=False):
        """Send an episode; returns its embeddings and flags."""
        embeddings = self.generator.normal(size=(HORIZON + 1, WIDTH)).astype(np.float32)
        for step, embedding in enumerate(embeddings):
            previous, self.stamp = self.stamp, self.stamp + 10
            sensed = Sensed(
                self.stamp,
                previous if step else self.stamp,
                0,
                step,
                np.zeros(2, np.float32),
                np.zeros(1 if step else 0, np.float32),
                -1.0,
                success and step >= HORIZON - 3,
                False,
                step == HORIZON,
            )
            sends = [
                lambda sensed=sensed: self.observations.publish(to_observation(sensed, '', 0)),
                lambda embedding=embedding: self.score(self.stamp, embedding),
            ]
            for send in reversed(sends) if score_first else sends:
                send()
        return embeddings[1:], [success and step >= HORIZON - 3 for step in range(1, HORIZON + 1)]

    def score(self, stamp, embedding):
        message = FrameScore(embedding=to_float_field(np.asarray(embedding)))
        message.header.stamp = to_time(stamp)
        self.scores.publish(message)

    def save(self, path, transitions=0):
        return self.probe.call(SaveCheckpoint, SAVE, path=str(path), transitions=transitions)

    def save_when_there(self, path, transitions):
        answers = []

        def saved():
            answers.append(self.save(path, transitions))
            return answers[-1].error_code != SaveCheckpoint.Response.NOT_YET

        self.probe.wait(saved, f'{transitions} transitions')
        return answers[-1]


@contextlib.contextmanager
def alignment(**parameters):
    """Run the node; it must end with code 0 on Ctrl-C."""
    domain = new_domain()
    parameters = {
        'seed': SEED,
        'warmup_steps': WARMUP,
        'publish_every': PUBLISH_EVERY,
        **SETTINGS,
        **parameters,
    }
    with Probe(domain) as probe, run_node(domain, 'alignment_node', **parameters) as command:
        probe.command = command
        yield Others(probe)
        command.interrupt()
        assert command.finish() == 0, command.output
        assert 'Traceback' not in command.output


@pytest.fixture(scope='module')
def story(tmp_path_factory):
    """Four episodes with bad messages between them, and the same ones given to the core."""
    folder = tmp_path_factory.mktemp('alignment')
    with alignment() as others:
        unready = others.save(folder)
        others.prompt()
        others.probe.wait(lambda: others.heads, 'the first heads')
        core = Aligner(AlignConfig(**SETTINGS), 'furl', others.text, None, SEED, WARMUP)
        versions = [(core.snapshot().version, core.heads.flat()[0])]
        for number in range(4):
            embeddings, flags = others.episode(number % 2 == 1, score_first=number > 1)
            for embedding, success in zip(embeddings, flags, strict=True):
                core.add(embedding, success, False)
                if core.transitions % HORIZON == 0:
                    core.end_episode()
                core.update()
                if core.transitions % PUBLISH_EVERY == 0:
                    versions.append((core.snapshot().version, core.heads.flat()[0].copy()))
            others.score(others.stamp - 5, np.zeros(WIDTH))
            others.score(others.stamp + 5, np.zeros(3))
            others.observations.publish(Observation(state=[0.0] * 3, step=1))
            others.observations.publish(Observation(state=[0.0, np.nan], action=[0.0], step=1))
        early = others.save(folder, 4 * HORIZON + 1)
        late = others.save_when_there(folder, 4 * HORIZON)
        failed = others.save(folder / 'missing', 4 * HORIZON)
        others.probe.wait_for_count('alignment_node', 'bad embeddings', 4)
        others.probe.wait_for_count('alignment_node', 'bad observations', 8)
        others.probe.wait_for_count('alignment_node', 'scores in the past', 4)
        heads = list(others.heads)
    return SimpleNamespace(
        folder=folder,
        core=core,
        versions=versions,
        heads=heads,
        unready=unready,
        early=early,
        late=late,
        failed=failed,
        text=others.text,
    )


def test_versions_are_those_of_the_core(story):
    assert [h.transitions for h in story.heads] == list(range(0, 4 * HORIZON + 1, PUBLISH_EVERY))
    assert len(story.heads) == len(story.versions)
    for message, (version, image_head) in zip(story.heads, story.versions, strict=True):
        assert message.version == version
        np.testing.assert_array_equal(message.image_head, image_head)
    assert story.heads[-1].version > 0
    assert story.heads[-1].stage == 2
    assert list(story.heads[0].layer_sizes) == [WIDTH, 12, 5]


def test_the_save_service_says_when_it_cannot(story):
    response = SaveCheckpoint.Response
    assert story.unready.error_code == response.FAILED
    assert 'prompt_embedding' in story.unready.error_msg
    assert story.early.error_code == response.NOT_YET
    assert story.failed.error_code == response.FAILED
    assert str(story.folder / 'missing') in story.failed.error_msg


def test_what_is_saved_is_the_core(story):
    assert story.late.error_code == SaveCheckpoint.Response.OK
    assert story.late.transitions == 4 * HORIZON
    arrays, meta = load_tree(story.late.path)
    assert meta['transitions'] == story.core.transitions
    np.testing.assert_array_equal(arrays['image_head'], story.core.heads.flat()[0])
    for name in ('positives', 'negatives'):
        ring = getattr(story.core, name)
        np.testing.assert_array_equal(arrays[name]['embeddings'], ring.embeddings[: len(ring)])


def test_it_goes_on_from_a_checkpoint(story, tmp_path):
    (tmp_path / 'trainer.safetensors').touch()
    (tmp_path / 'alignment.safetensors').write_bytes(
        (story.folder / 'alignment.safetensors').read_bytes()
    )
    with alignment(resume=tmp_path) as others:
        others.text = story.text
        others.prompt()
        others.probe.wait(lambda: others.heads, 'the first heads')
        assert others.heads[0].version == story.core.version
        assert others.heads[0].transitions == 4 * HORIZON
        np.testing.assert_array_equal(others.heads[0].image_head, story.core.heads.flat()[0])


def test_a_checkpoint_of_another_model_is_refused(story, tmp_path):
    (tmp_path / 'trainer.safetensors').touch()
    (tmp_path / 'alignment.safetensors').write_bytes(
        (story.folder / 'alignment.safetensors').read_bytes()
    )
    domain = new_domain()
    with (
        Probe(domain) as probe,
        run_node(domain, 'alignment_node', resume=tmp_path, output_units=6) as command,
    ):
        others = Others(probe)
        others.prompt()
        assert command.finish() == 2
        assert 'Traceback' not in command.output
        assert 'error: the checkpoint' in command.output
