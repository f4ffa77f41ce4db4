# SPDX-License-Identifier: Apache-2.0
"""The learner alone; a test plays its robot, reward and alignment nodes."""

import contextlib

import numpy as np
from graph_support import Probe, new_domain, run_node

from furl_interfaces.msg import (
    Action,
    FrameScore,
    Observation,
    PromptEmbedding,
    RewardHeads,
    SourceInfo,
)
from furl_interfaces.srv import Reset, SaveCheckpoint
from furl_ros.bridge.convert import to_float_field, to_heads_msg, to_ns, to_time
from furl_ros.bridge.join import Sensed
from furl_ros.bridge.qos import LATCHED, LOCKSTEP
from furl_ros.bridge.steps import to_observation
from furl_ros.core.heads import RewardHeads as Heads

LENGTH, SEED, WARMUP = 10, 9, 30
WIDTH = 4
STALL_S = 300.0  # the clock of a test that wants a stall is put forward
LOW, HIGH = np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32)
SETTINGS = {
    'method': 'sac',
    'seed': SEED,
    'warmup_steps': WARMUP,
    'batch_size': 8,
    'hidden_units': 16,
    'eval_every': 0,
    'stall_timeout': STALL_S,
    'log_every': 0.5,
}


class Robot:
    """Answers each action with the next observation; every third episode is terminated.

    Attributes:
        deaf_to: numbers of actions (from 0) that get no answer.
        fails: the reset service reports an error.
        refusals: how many resets are still refused, since another run is served.
        run: what its messages name as theirs.
    """

    group = None  # of its service; None: that of all others
    fails = False

    def __init__(self, probe):
        self.stamp, self.episode = 1_000, -1
        self.deaf_to = set()
        self.resets, self.refusals = [], 0
        self.seeds, self.answered, self.sent = [], [], []
        self.now = None
        self.run = ''
        node = probe.node
        self.infos = node.create_publisher(SourceInfo, 'source_info', LATCHED)
        self.observations = node.create_publisher(Observation, 'observation', LOCKSTEP)
        probe.listen(Action, 'action', LOCKSTEP, self.on_action)
        node.create_service(Reset, 'reset', self.on_reset, callback_group=self.group)
        self.introduce()

    def special(self):
        """What differs in what it tells of itself."""
        return {}

    def introduce(self):
        bounds = {'action_low': to_float_field(LOW), 'action_high': to_float_field(HIGH)}
        self.infos.publish(
            SourceInfo(**{'state_size': 3, 'lockstep': True} | bounds | self.special())
        )

    def on_reset(self, request, response):
        self.resets.append(request)
        if self.refusals:
            self.refusals -= 1
            response.error_code, response.error_msg = Reset.Response.OTHER_RUN, 'it serves others'
            return response
        if self.fails:
            response.error_code, response.error_msg = Reset.Response.FAILED, 'the arm is stuck'
            return response
        self.seeds.append(request.seed)
        self.evaluation = request.evaluation
        self.episode += 1
        self.sense(0, np.zeros(0, np.float32))
        response.stamp = to_time(self.now.stamp)
        return response

    def on_action(self, message):
        number = len(self.answered)
        self.answered.append(message)
        if number not in self.deaf_to and to_ns(message.header.stamp) == self.now.stamp:
            self.sense(self.now.step + 1, np.asarray(message.action, np.float32))

    def sense(self, step, action):
        self.stamp += 7
        last, terminates = step == LENGTH, self.episode % 3 == 2
        self.now = Sensed(
            self.stamp,
            self.now.stamp if step else self.stamp,
            self.episode,
            step,
            np.array([self.stamp, step, self.episode], np.float32),
            action,
            -0.25 * step,
            False,
            last and terminates,
            last and not terminates,
            self.evaluation,
        )
        if step:
            self.sent.append(self.now)
        self.send(self.now)
        self.on_sense()

    def send(self, sensed, run=None):
        message = to_observation(sensed, '', 0)
        message.run = self.run if run is None else run
        self.observations.publish(message)

    def on_sense(self):
        """For those who score frames."""


@contextlib.contextmanager
def learner(folder, robot=Robot, **parameters):
    """Run the node beside a robot."""
    domain = new_domain()
    parameters = SETTINGS | {'run_folder': folder / 'run'} | parameters
    with Probe(domain) as probe, run_node(domain, 'learner_node', **parameters) as command:
        probe.command = command
        yield probe, robot(probe), command


class Scored:
    """Reward and alignment nodes beside a robot: every frame has an embedding and a score.

    Attributes:
        bad: stamps of frames that cannot be scored.
        saves: what the alignment was asked to save.
    """

    def __init__(self, probe, robot, **prompt):
        self.robot, self.bad, self.saves = robot, set(), []
        self.run = prompt.get('run', '')
        node = probe.node
        self.scores = node.create_publisher(FrameScore, 'frame_score', LOCKSTEP)
        self.prompts = node.create_publisher(PromptEmbedding, 'prompt_embedding', LATCHED)
        self.heads = node.create_publisher(RewardHeads, 'reward_heads', LATCHED)
        node.create_service(SaveCheckpoint, 'alignment_node/save_checkpoint', self.on_save)
        robot.on_sense = self.score
        self.prompts.publish(PromptEmbedding(text_embedding=self.embedding(0).tolist(), **prompt))
        self.publish_heads()

    def publish_heads(self, run=None, factor=1.0, transitions=0, newest=()):
        heads = Heads((WIDTH, 3))
        message = to_heads_msg(heads.layer_sizes, *(factor * part for part in heads.flat()))
        message.run = self.run if run is None else run
        message.transitions = transitions
        message.newest = [to_time(stamp) for stamp in newest]
        self.heads.publish(message)

    @staticmethod
    def embedding(stamp):
        return np.cos(np.arange(1, WIDTH + 1) * stamp).astype(np.float32)

    @staticmethod
    def reward(stamp):
        return float(np.sin(stamp))

    def on_save(self, request, response):
        self.saves.append(request)
        return response

    def score(self):
        self.send_score(self.robot.now.stamp)

    def send_score(self, stamp):
        bad = stamp in self.bad
        status = FrameScore.BAD_FRAME if bad else FrameScore.OK
        message = FrameScore(run=self.run, status=status)
        message.header.stamp = to_time(stamp)
        if not bad:
            message.embedding = to_float_field(self.embedding(stamp))
            message.reward = self.reward(stamp)
        self.scores.publish(message)
