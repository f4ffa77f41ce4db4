# SPDX-License-Identifier: Apache-2.0
"""The alignment node alone; the test plays robot, reward node and learner."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from graph_support import Probe, hosted, load_tree, new_domain, run_node

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
RUN, PLACE = 'ours', 'checkpoints/new'
SETTINGS = {'head_batch_size': 8, 'head_hidden_units': 12, 'output_units': 5, 'lag': 3}


class Others:
    """What the rest of the graph would send."""

    NOT_YET = SaveCheckpoint.Response.NOT_YET

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

    def interfere(self):
        """What must change nothing: of another run, stamped in the future, of another width."""
        state, action = np.zeros(2, np.float32), np.zeros(1, np.float32)
        later = self.stamp + 10**15

        def sensed(stamp, previous, episode, step):
            senses = state, action[: min(step, 1)], -1.0, True, False, True
            return Sensed(stamp, previous, episode, step, *senses)

        self.observe(sensed(self.stamp + 10, self.stamp + 10, 7, 0), run='theirs')
        self.score(self.stamp + 10, np.ones(WIDTH), run='theirs')
        self.prompts.publish(PromptEmbedding(run='theirs', text_embedding=[1.0] * WIDTH))
        self.prompts.publish(PromptEmbedding(run=RUN, text_embedding=[1.0] * 3))
        self.observe(sensed(later, later, 8, 0))
        self.observe(sensed(later + 1, later - 10, 8, 4))
        self.score(later + 2, np.ones(WIDTH))

    def begin(self):
        """Send the prompt, and wait for what the node makes of it."""
        self.prompt()
        self.probe.wait(lambda: self.heads, 'the first heads')

    def prompt(self):
        self.infos.publish(SourceInfo(state_size=2, action_low=[-1.0], action_high=[1.0]))
        self.prompts.publish(PromptEmbedding(run=RUN, text_embedding=to_float_field(self.text)))

    def episode(self, success, score_first=False, evaluation=False, steps=HORIZON):
        """Send an episode, or the beginning of one; returns its embeddings and flags."""
        embeddings = self.generator.normal(size=(steps + 1, WIDTH)).astype(np.float32)
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
                evaluation,
            )
            sends = [
                lambda sensed=sensed: self.observe(sensed),
                lambda embedding=embedding: self.score(self.stamp, embedding),
            ]
            for send in reversed(sends) if score_first else sends:
                send()
        return embeddings[1:], [success and step >= HORIZON - 3 for step in range(1, steps + 1)]

    def observe(self, sensed, run=RUN):
        message = to_observation(sensed, '', 0)
        message.run = run
        self.observations.publish(message)

    def score(self, stamp, embedding, run=RUN):
        message = FrameScore(run=run, embedding=to_float_field(np.asarray(embedding)))
        message.header.stamp = to_time(stamp)
        self.scores.publish(message)

    def save(self, path, stamp=0, run=RUN, give_up=False):
        newest = [to_time(stamp)]
        fields = {'path': str(path), 'newest': newest, 'run': run, 'give_up': give_up}
        return self.call(**fields)

    def call(self, **fields):
        return self.probe.call(SaveCheckpoint, SAVE, **fields)

    def wait_for_count(self, name, least=1):
        self.probe.wait(lambda: self.probe.command.counts[name] >= least, name)

    def save_when_there(self, path, stamp):
        answers = []

        def saved():
            answers.append(self.save(path, stamp))
            return answers[-1].error_code != SaveCheckpoint.Response.NOT_YET

        self.probe.wait(saved, f'the observation {stamp}')
        return answers[-1]


@contextlib.contextmanager
def alignment(**parameters):
    """Run the node; where it has a run folder there is a place for a checkpoint."""
    if 'run_folder' in parameters:
        (parameters['run_folder'] / PLACE).mkdir(parents=True)
    settings = {'run_id': RUN, 'seed': SEED, 'warmup_steps': WARMUP}
    settings |= {'publish_every': PUBLISH_EVERY} | SETTINGS
    with hosted('alignment_node', **settings | parameters) as probe:
        yield Others(probe)


@pytest.fixture(scope='module')
def story(tmp_path_factory):
    """Four episodes with bad messages between them, and the same ones given to the core."""
    run = tmp_path_factory.mktemp('alignment')
    folder = run / PLACE
    with alignment(run_folder=run) as others:
        unready = others.save(PLACE)
        others.begin()
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
            others.score(others.stamp - 10, np.zeros(WIDTH))
            others.score(others.stamp - 5, np.zeros(WIDTH))
            others.score(others.stamp + 5, np.zeros(3))
            others.score(others.stamp + 10**15, np.full(WIDTH, 1e30))
            others.observations.publish(Observation(run=RUN, state=[0.0] * 3, step=1))
            others.observations.publish(
                Observation(run=RUN, state=[0.0, np.nan], action=[0.0], step=1)
            )
            others.interfere()
        early = others.save(PLACE, others.stamp + 10)
        late = others.save_when_there(PLACE, others.stamp)
        refused = [
            others.save('checkpoints/missing', others.stamp),
            others.save('..', others.stamp),
            others.save('.', others.stamp),
            others.save(tmp_path_factory.mktemp('elsewhere'), others.stamp),
            others.save(folder, others.stamp, run='theirs'),
            others.call(path=PLACE, newest=[Time(sec=1, nanosec=2**32 - 1)], run=RUN, give_up=True),
        ]
        others.wait_for_count('bad embeddings', 8)
        others.wait_for_count('bad observations', 8)
        others.wait_for_count('bad prompt embeddings')
        others.wait_for_count('scores in the past', 4)
        others.wait_for_count('messages of another run', 8)
        heads = list(others.heads)
    return SimpleNamespace(
        folder=folder,
        core=core,
        versions=versions,
        heads=heads,
        unready=unready,
        early=early,
        late=late,
        refused=refused,
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
    assert [answer.error_code for answer in story.refused] == [response.FAILED] * 6
    *places, theirs, stamp = (answer.error_msg for answer in story.refused)
    for text in places:
        assert 'accepted: the name of a folder that exists in' in text
    assert stamp.startswith('stamp has ')
    assert theirs == "run is 'theirs'; accepted: 'ours'"


def test_what_is_saved_is_the_core(story):
    assert story.late.error_code == SaveCheckpoint.Response.OK
    assert story.late.transitions == 4 * HORIZON
    arrays, meta = load_tree(story.late.path)
    assert meta['transitions'] == story.core.transitions
    np.testing.assert_array_equal(arrays['image_head'], story.core.heads.flat()[0])
    for name in ('positives', 'negatives'):
        ring = getattr(story.core, name)
        np.testing.assert_array_equal(arrays[name]['embeddings'], ring.embeddings[: len(ring)])


def test_nothing_is_learned_from_evaluations(tmp_path):
    with alignment(run_folder=tmp_path) as others:
        others.begin()
        others.episode(False)
        others.episode(True, evaluation=True)
        embeddings, _ = others.episode(False)
        answer = others.save_when_there(PLACE, others.stamp)
    arrays, meta = load_tree(answer.path)
    assert meta['transitions'] == 2 * HORIZON
    assert len(arrays['positives']['embeddings']) == 0
    negatives = arrays['negatives']['embeddings']
    assert len(negatives) == 2 * HORIZON
    np.testing.assert_array_equal(negatives[HORIZON:], embeddings.astype(np.float16))


def test_a_robot_that_starts_anew_with_the_same_number_begins_another_episode(tmp_path):
    """What it had begun is neither a success nor a failure."""
    with alignment(run_folder=tmp_path) as others:
        others.begin()
        others.episode(False, steps=HORIZON // 2)
        embeddings, _ = others.episode(False)
        others.episode(True, steps=HORIZON - 1)
        successful, _ = others.episode(True)
        answer = others.save_when_there(PLACE, others.stamp)
    arrays, meta = load_tree(answer.path)
    assert meta['transitions'] == HORIZON // 2 + HORIZON - 1 + 2 * HORIZON
    negatives, positives = (arrays[name]['embeddings'] for name in ('negatives', 'positives'))
    np.testing.assert_array_equal(negatives, embeddings.astype(np.float16))
    assert len(positives) > 0
    np.testing.assert_array_equal(positives, successful[: len(positives)].astype(np.float16))


def test_what_never_came_whole_is_named_and_given_up(tmp_path):
    with alignment(run_folder=tmp_path) as others:
        others.begin()
        others.episode(False)
        score, others.score = others.score, lambda *_: None
        first = others.stamp + 10
        others.episode(False)
        others.score = score
        others.save_when_there(PLACE, first - 10)
        assert others.save(PLACE, others.stamp).error_code == others.NOT_YET
        others.probe.wait(
            lambda: others.save(PLACE, others.stamp, give_up=True).lacking,
            'the stamps that it lacks',
        )
        # It goes on with what comes next, and can be saved again.
        others.episode(True)
        answer = others.save_when_there(PLACE, others.stamp)
        assert (answer.transitions, list(answer.lacking)) == (2 * HORIZON, [])
        others.wait_for_count('steps given up')


@pytest.fixture(scope='module')
def checkpoint(story):
    """What it has saved, beside the learner's part."""
    (story.folder / 'trainer.safetensors').touch()
    return story.folder


def test_it_goes_on_from_a_checkpoint(story, checkpoint):
    with alignment(resume=checkpoint) as others:
        others.text = story.text
        others.begin()
        assert others.heads[0].version == story.core.version
        assert others.heads[0].transitions == 4 * HORIZON
        np.testing.assert_array_equal(others.heads[0].image_head, story.core.heads.flat()[0])


def test_a_checkpoint_of_another_model_is_refused(checkpoint):
    settings = {'resume': checkpoint, 'output_units': 6, 'run_id': RUN}
    with (
        Probe(new_domain()) as probe,
        run_node(probe.domain, 'alignment_node', **settings) as command,
    ):
        Others(probe).prompt()
        command.expect_end(2)
        assert 'error: the checkpoint' in command.output
