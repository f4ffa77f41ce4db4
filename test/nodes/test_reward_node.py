# SPDX-License-Identifier: Apache-2.0
"""The reward node, from the outside."""

import contextlib
import itertools
import math
import queue
from array import array
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from graph_support import Probe, new_domain, run_node, run_process
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64

from furl_interfaces.msg import FrameScore, PromptEmbedding, RewardHeads
from furl_interfaces.srv import ScoreFrames
from furl_ros.bridge import convert
from furl_ros.bridge.config import RewardNodeConfig
from furl_ros.bridge.qos import EVENTS, LATCHED, LOCKSTEP, SENSOR
from furl_ros.core import heads as core_heads
from furl_ros.core.config import VlmConfig
from furl_ros.core.reward import goal_baseline
from furl_ros.core.vlm import cosine, load_vlm
from furl_ros.nodes.reward_node import Frame, RewardNode

PROMPT = 'open a drawer'


@pytest.fixture(scope='module')
def vlm():
    torch.set_num_threads(1)
    return load_vlm(VlmConfig(device='cpu'))


class Client:
    """Sends pictures to the reward node and keeps what it answers."""

    stamps = itertools.count(1_000_000_007, 1_000_000_007)

    def __init__(self, probe, source='', compressed=False):
        self.probe, self.wait = probe, probe.wait
        prefix = f'{source}/' if source else ''
        topic = f'{prefix}camera/image_raw' + ('/compressed' if compressed else '')
        kind = CompressedImage if compressed else Image
        self.camera = probe.node.create_publisher(kind, topic, LOCKSTEP)
        self.goal = probe.node.create_publisher(Image, 'goal_image', LATCHED)
        self.heads = probe.node.create_publisher(RewardHeads, 'reward_heads', LATCHED)
        self.scores = probe.record(FrameScore, f'{prefix}frame_score', LOCKSTEP)
        self.rewards = probe.record(Float64, f'{prefix}vlm_reward', EVENTS)
        self.prompts = probe.record(PromptEmbedding, 'prompt_embedding', LATCHED)

    @property
    def counts(self):
        """What the node has counted."""
        return self.probe.command.counts

    def reach(self, publish):
        """Publish until a score comes: a best-effort reader may match later than its writer."""
        count = self.probe.node.count_publishers
        self.wait(lambda: self.prompts or count('frame_score'), 'the node')

        def answered():
            if not self.scores:
                publish()
            return self.scores

        self.wait(answered, 'a score')

    def send(self, *messages):
        """Stamp and send pictures; returns their scores, which must come in the same order."""
        self.wait(self.camera.get_subscription_count, 'a reader')
        for message in messages:
            message.header.stamp = convert.to_time(next(self.stamps))
            message.header.frame_id = f'camera_{message.header.stamp.sec}'
            self.camera.publish(message)
        # Whoever comes late is also told of earlier frames.
        first = messages[0].header.stamp
        scores = []

        def complete():
            stamps = [score.header.stamp for score in list(self.scores)]
            scores[:] = self.scores[stamps.index(first) :] if first in stamps else []
            return len(scores) >= len(messages)

        self.wait(complete, 'the scores')
        assert [s.header for s in scores] == [m.header for m in messages]
        return scores

    def call(self, **fields):
        return self.probe.call(ScoreFrames, 'score_frames', **fields)


@contextlib.contextmanager
def reward_node(start=run_node, probe=None, **values):
    """A client of a node that must end with code 0 on Ctrl-C."""
    values = {'device': 'cpu', 'prompt': PROMPT} | values
    with contextlib.ExitStack() as stack:
        probe = probe or stack.enter_context(Probe(new_domain()))
        with start(probe.domain, 'reward_node', **values) as command:
            probe.command = command
            yield Client(probe, compressed=values.get('compressed', False))
            command.end()


@pytest.fixture(scope='module')
def robot():
    """The node that most tests look at."""
    with reward_node(sources="['', second]") as client:
        yield client


def picture(encoding='rgb8', channels=3, height=112, width=112, padding=0, seed=0):
    generator = np.random.default_rng(seed)
    step = width * channels + padding
    message = Image(height=height, width=width, encoding=encoding, step=step)
    message.data = array('B', generator.integers(0, 256, height * step, np.uint8).tobytes())
    return message


def same(embedding, expected):
    return np.allclose(embedding, expected, atol=2e-4)


def test_prompt_is_published_at_the_start(robot, vlm):
    robot.wait(lambda: robot.prompts, 'the prompt')
    message = robot.prompts[0]
    assert (message.vlm, message.prompt) == ('furl-tiny', PROMPT)
    assert same(message.text_embedding, vlm.encode_text(PROMPT))
    assert len(message.goal_embedding) == 0
    assert (message.scoring, message.baseline_prompt) == ('cosine', '')
    assert len(message.baseline_embedding) == 0


def test_every_encoding_and_size_is_scored(robot, vlm):
    messages = [
        picture('rgb8', 3, seed=1),
        picture('bgr8', 3, padding=8, seed=2),
        picture('rgba8', 4, height=90, width=120, seed=3),
        picture('bgra8', 4, padding=1, seed=4),
        picture('mono8', 1, height=90, width=120, padding=40, seed=5),
        picture('rgb8', 3, height=240, width=320, seed=6),
        picture('bayer_rggb8', 1, seed=7),
    ]
    scores = robot.send(*messages)
    text = vlm.encode_text(PROMPT)
    for message, score in zip(messages, scores, strict=True):
        expected = vlm.encode_images(convert.from_image_msg(message)[None])[0]
        assert score.status == FrameScore.OK
        assert same(score.embedding, expected)
        assert score.cosine == pytest.approx(float(cosine(expected, text)), abs=1e-5)
        if score.heads_version == 0:
            assert score.reward == score.cosine
    rewards = [score.reward for score in scores]
    robot.wait(lambda: [m.data for m in robot.rewards[-len(rewards) :]] == rewards, 'the rewards')


def test_each_source_gets_its_own_scores(robot, vlm):
    ours = robot.send(picture(seed=1))[0]
    theirs = Client(robot.probe, source='second').send(picture(seed=2))[0]
    assert same(theirs.embedding, vlm.encode_images(convert.from_image_msg(picture(seed=2))[None]))
    assert not same(ours.embedding, theirs.embedding)


def test_bad_frames_are_answered_and_counted(robot):
    short = picture()
    short.data = short.data[:-1]
    good = picture(seed=9)
    scores = robot.send(
        picture('16UC1', 2), good, short, picture(height=0), picture(height=1, width=112)
    )
    bad, ok = FrameScore.BAD_FRAME, FrameScore.OK
    assert [s.status for s in scores] == [bad, ok, bad, bad, bad]
    assert len(scores[0].embedding) == 0
    assert math.isnan(scores[0].reward)
    assert math.isnan(scores[0].cosine)
    # camera_node sends it where there was none.
    assert robot.send(Image(encoding='rgb8'))[0].status == FrameScore.BAD_FRAME
    assert robot.counts['empty frames'] == 1
    robot.probe.wait_for_count('reward_node', 'bad frames', 4)
    told = robot.probe.diagnostics['reward_node']
    assert told['model'] == 'furl-tiny'
    assert float(told['latency_p50_ms']) > 0


def nasty_pictures():
    """Pictures that say what cannot be, or what nobody reads."""
    sizes = [(0, 8), (8, 0), (2**32 - 1, 2**32 - 1)]
    for encoding in ('rgb8', 'mono16', 'rgb16', 'bgr16', 'rgba16', 'bgra16', 'bayer_rggb8', 'uyvy'):
        for (height, width), is_bigendian in itertools.product(sizes, (0, 1)):
            message = picture(encoding, 8, height=8, width=8)
            message.height, message.width, message.is_bigendian = height, width, is_bigendian
            yield message
    for encoding in ('', 'grün', '\U0001f916', 'rgb8\n', 'x' * 100_000):
        yield picture(encoding)
    for step in (0, 1, 2**32 - 1):
        message = picture('rgb16', 6)
        message.step = step
        yield message
    message = picture('bgr16', 6)
    message.data = message.data[:-1]
    yield message


def test_nasty_pictures_stop_nothing(vlm):
    """Nor as goal images, the first of which is latched before the node starts."""
    bad = list(nasty_pictures())
    # mono16 and rgb16, both orders of bytes, without height, without width, too large; no data.
    goals = [bad[9], bad[6], bad[10], bad[12], bad[15], bad[-1]]
    with Probe(new_domain()) as probe:
        early = probe.node.create_publisher(Image, 'goal_image', LATCHED)
        early.publish(goals[0])
        with reward_node(probe=probe, expect_goal_image=True) as robot:
            for number, goal in enumerate(goals, start=1):
                # Of latched messages the newest replaces the others: one at a time.
                if number > 1:
                    early.publish(goal)
                robot.wait(lambda n=number: robot.counts['bad goal images'] >= n, 'a count')
            scores = robot.send(*bad)
            assert {score.status for score in scores} == {FrameScore.BAD_FRAME}
            assert robot.counts['bad frames'] == len(bad)
            assert not robot.prompts
            good = [picture('mono16', 2, padding=3, seed=70), picture('bgr16', 6, seed=71)]
            good[1].is_bigendian = 1
            for message, score in zip(good, robot.send(*good), strict=True):
                expected = vlm.encode_images(convert.from_image_msg(message)[None])[0]
                assert score.status == FrameScore.OK
                assert same(score.embedding, expected)
            early.publish(good[0])
            robot.wait(lambda: robot.prompts, 'the prompt')
            assert robot.counts['bad goal images'] == len(goals)


def test_files_that_unpack_to_too_much_stop_nothing(robot):
    """Refused before they are decoded; the good one beside them is scored."""
    good = convert.to_compressed_msg(np.zeros((112, 112, 3), np.uint8), 0, '', 'png')
    size, claim = (bytes(good.data).index(word) for word in (b'IHDR', b'IDAT'))
    large, claims = (CompressedImage(data=good.data[:]) for _ in range(2))
    large.data[size + 4 : size + 12] = array('B', 2 * (20_000).to_bytes(4, 'big'))
    claims.data[claim - 4 : claim] = array('B', (2**31 - 1).to_bytes(4, 'big'))
    answer = robot.call(compressed=[large, good, claims])
    bad, ok = FrameScore.BAD_FRAME, FrameScore.OK
    assert [score.status for score in answer.scores] == [bad, ok, bad]
    assert answer.error_code == ScoreFrames.Response.BAD_FRAME


def test_nothing_is_lost_when_frames_come_faster_than_they_are_scored(robot, vlm):
    messages = [picture(seed=seed) for seed in range(60)]
    scores = robot.send(*messages)
    for message, score in zip(messages, scores, strict=True):
        expected = vlm.encode_images(convert.from_image_msg(message)[None])[0]
        assert same(score.embedding, expected)


def heads_message(version, seed, sizes=(256, 16, 8)):
    heads = core_heads.RewardHeads(sizes, seed=seed)
    message = convert.to_heads_msg(heads.layer_sizes, *heads.flat())
    message.version = version
    return heads, message


def send_heads_until_used(robot, message):
    robot.wait(robot.heads.get_subscription_count, 'a reader')
    robot.heads.publish(message)
    robot.wait(lambda: robot.send(picture())[0].heads_version == message.version, 'the heads')


def test_heads_are_swapped_and_bad_ones_refused(robot, vlm):
    text = vlm.encode_text(PROMPT)
    for version, seed in ((3, 5), (4, 6)):
        heads, message = heads_message(version, seed)
        send_heads_until_used(robot, message)
        score = robot.send(picture(seed=11))[0]
        embedding = convert.from_float_field(score.embedding)
        assert score.heads_version == version
        assert score.reward == pytest.approx(float(heads.score(embedding[None], text)[0]), abs=1e-5)
        assert score.cosine == pytest.approx(float(cosine(embedding, text)), abs=1e-5)
    refused = robot.counts['heads refused']
    _, other_width = heads_message(5, 0, sizes=(128, 16, 8))
    _, not_finite = heads_message(6, 0)
    not_finite.image_head[3] = math.nan
    _, too_short = heads_message(7, 0)
    too_short.text_head = too_short.text_head[:-1]
    for number, message in enumerate((other_width, not_finite, too_short), start=refused + 1):
        robot.heads.publish(message)
        robot.wait(lambda n=number: robot.counts['heads refused'] >= n, 'the refusal')
    after = robot.send(picture(seed=11))[0]
    assert (after.heads_version, after.reward) == (4, pytest.approx(score.reward, abs=1e-6))


def test_goal_image_joins_the_prompt(robot, vlm):
    goal = picture(seed=21)
    goal.header.stamp = convert.to_time(77)
    robot.wait(robot.goal.get_subscription_count, 'a reader')
    robot.goal.publish(goal)
    robot.wait(lambda: robot.prompts and len(robot.prompts[-1].goal_embedding), 'the prompt')
    message = robot.prompts[-1]
    assert convert.to_ns(message.header.stamp) == 77
    assert same(message.text_embedding, vlm.encode_text(PROMPT))
    expected = vlm.encode_images(convert.from_image_msg(goal)[None])[0]
    assert same(message.goal_embedding, expected)


def test_score_frames_service(robot, vlm):
    frame = convert.from_image_msg(picture(seed=30))
    answer = robot.call(
        images=[picture(seed=30), picture('mono8', 1, height=50, width=60, seed=31)],
        compressed=[convert.to_compressed_msg(frame, 5, 'c', 'png')],
        prompt='push and close a drawer',
    )
    assert (answer.error_code, answer.error_msg) == (ScoreFrames.Response.OK, '')
    first, _, third = answer.scores
    expected = vlm.encode_images(frame[None])[0]
    assert same(first.embedding, expected)
    assert same(third.embedding, expected)
    assert convert.to_ns(third.header.stamp) == 5
    text = vlm.encode_text('push and close a drawer')
    assert first.cosine == pytest.approx(float(cosine(expected, text)), abs=1e-5)
    own = robot.call(images=[picture(seed=30)]).scores[0]
    text = vlm.encode_text(PROMPT)
    assert own.cosine == pytest.approx(float(cosine(expected, text)), abs=1e-5)


def test_score_frames_says_what_is_wrong(robot):
    assert robot.call().error_code == ScoreFrames.Response.NO_FRAMES
    answer = robot.call(images=[picture(), picture('32FC1', 4)])
    assert answer.error_code == ScoreFrames.Response.BAD_FRAME
    assert '[1]' in answer.error_msg
    assert [s.status for s in answer.scores] == [FrameScore.OK, FrameScore.BAD_FRAME]


def test_a_waiting_service_call_does_not_hold_up_the_camera(robot):
    service = robot.probe.node.create_client(ScoreFrames, 'score_frames')
    robot.wait(service.service_is_ready, 'the service')
    calls = [
        service.call_async(ScoreFrames.Request(images=[picture(seed=s) for s in range(20)]))
        for _ in range(3)
    ]
    scores = robot.send(*[picture(seed=seed) for seed in range(10)])
    robot.wait(lambda: all(call.done() for call in calls), 'the answers')
    assert all(len(call.result().scores) == 20 for call in calls)
    assert all(score.status == FrameScore.OK for score in scores)


def test_a_cameras_pictures_come_through():
    """Best effort, each larger than the shared memory that Fast DDS takes by default."""
    # Within one process nothing would go through shared memory.
    with reward_node(start=run_process, image_qos='sensor') as robot:
        camera = robot.probe.node.create_publisher(Image, 'camera/image_raw', SENSOR)
        frame = np.zeros((480, 640, 3), np.uint8)

        def publish(stamp):
            camera.publish(convert.to_image_msg(frame, stamp, 'camera'))

        robot.reach(lambda: publish(1))
        for stamp in range(2, 42):
            publish(stamp)
            # No faster than they are scored: what is tested is the way there.
            robot.wait(lambda n=stamp: robot.scores[-1].header.stamp.nanosec == n, 'its score')


@pytest.mark.parametrize(
    ('image_qos', 'kept'), [('lockstep', [0, 1, 2]), ('views', [4, 5, 6]), ('sensor', [4, 5, 6])]
)
def test_only_a_free_running_camera_drops_frames(image_qos, kept):
    """Seven frames wait for a model that takes three at once; those dropped are answered so."""
    answers = []
    node = SimpleNamespace(
        jobs=queue.SimpleQueue(),
        vlm_config=VlmConfig(micro_batch=3),
        config=RewardNodeConfig(image_qos=image_qos),
        counts=Counter(),
        outputs={'': (SimpleNamespace(publish=answers.append), None)},
        no_score=lambda picture, status: (picture, status),
    )
    for number in range(7):
        node.jobs.put(Frame(number, '', 0.0))
    jobs = RewardNode.take(node)
    assert [job.picture for job in jobs] == kept
    dropped = range(0 if image_qos == 'lockstep' else 4)
    assert answers == [(number, FrameScore.DROPPED) for number in dropped]
    assert node.counts['frames dropped'] == len(dropped)
    assert node.jobs.qsize() == 4 - len(dropped)


def test_compressed_deterministic_and_only_with_a_goal(vlm):
    settings = {'deterministic': True, 'expect_goal_image': True, 'image_qos': 'sensor'}
    frames = [convert.from_image_msg(picture(seed=seed)) for seed in range(3)]
    messages = [convert.to_compressed_msg(frame, 0, '', 'png') for frame in frames[:2]]
    messages.append(convert.to_compressed_msg(frames[2], 0, '', 'jpeg'))
    with reward_node(compressed=True, **settings) as robot:
        robot.reach(lambda: robot.camera.publish(messages[0]))
        for message in messages:
            score = robot.send(message)[0]
            alone = vlm.encode_images(convert.from_compressed_msg(message)[None])[0]
            assert np.array_equal(score.embedding, alone), 'bit by bit'
        broken = CompressedImage(format='jpeg', data=array('B', b'\xff\xd8\xff nothing'))
        assert robot.send(broken)[0].status == FrameScore.BAD_FRAME
        assert not robot.prompts
        robot.goal.publish(picture(seed=40))
        robot.wait(lambda: robot.prompts, 'the prompt')
        expected = vlm.encode_images(convert.from_image_msg(picture(seed=40))[None])[0]
        assert np.array_equal(robot.prompts[0].goal_embedding, expected)


def test_goal_baseline(vlm):
    """The methods that take it have no heads: those that come are for others."""
    settings = {
        'method': 'vlm',
        'scoring': 'goal_baseline',
        'baseline_alpha': 0.75,
        'baseline_prompt': 'a drawer',
    }
    with reward_node(**settings) as robot:
        robot.wait(lambda: robot.prompts, 'the prompt')
        message = robot.prompts[-1]
        assert (message.scoring, message.baseline_prompt) == ('goal_baseline', 'a drawer')
        assert same(message.baseline_embedding, vlm.encode_text('a drawer'))
        score = robot.send(picture(seed=50))[0]
        assert robot.heads.get_subscription_count() == 0
        text, baseline = (torch.from_numpy(vlm.encode_text(p)) for p in (PROMPT, 'a drawer'))
        expected = goal_baseline(torch.tensor(score.embedding), text, baseline, 0.75)
        assert score.reward == pytest.approx(float(expected), abs=1e-5)
        assert abs(score.reward - score.cosine) > 1e-3
        assert score.heads_version == 0


def test_goal_image(vlm):
    """It waits for the goal image, whatever is expected, and compares with the newest."""
    with reward_node(method='relay', scoring='goal_image') as robot:
        early = robot.send(picture(seed=60))[0]
        assert early.status == FrameScore.NO_GOAL
        assert math.isnan(early.reward)
        assert len(early.embedding) == 0
        assert robot.call(images=[picture()]).scores[0].status == FrameScore.NO_GOAL
        assert robot.counts['frames before the goal image'] == 2
        assert not robot.prompts
        for number, seed in enumerate((61, 62), start=1):
            robot.goal.publish(picture(seed=seed))
            robot.wait(lambda n=number: len(robot.prompts) == n, 'the prompt')
            goal = vlm.encode_images(convert.from_image_msg(picture(seed=seed))[None])[0]
            assert same(robot.prompts[-1].goal_embedding, goal)
            score = robot.send(picture(seed=60))[0]
            assert score.status == FrameScore.OK
            embedding = convert.from_float_field(score.embedding)
            assert score.reward == pytest.approx(float(cosine(embedding, goal)), abs=1e-5)
        # An empty one takes nothing away.
        robot.goal.publish(Image(encoding='rgb8'))
        robot.wait(lambda: robot.counts['bad goal images'], 'the count')
        assert robot.send(picture(seed=60))[0].reward == pytest.approx(score.reward, abs=1e-6)
        assert len(robot.prompts) == 2


def test_a_task_without_the_goal_image_that_is_needed_is_one_line():
    with Probe(new_domain()) as probe:
        goal = probe.node.create_publisher(Image, 'alone/goal_image', LATCHED)
        goal.publish(Image(encoding='rgb8'))
        settings = {'device': 'cpu', 'method': 'vlm', 'scoring': 'goal_image', 'prompt': 'x'}
        with run_node(probe.domain, 'reward_node', sources='[alone]', **settings) as command:
            command.expect_end(2)
    text = "error: scoring is 'goal_image', but the task has no goal image"
    assert text in command.output
