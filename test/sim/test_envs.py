# SPDX-License-Identifier: Apache-2.0
"""The contract that every simulated environment keeps, and what is particular to Meta-World."""

import gymnasium
import numpy as np
import pytest

from furl_ros.core.settings import SettingError
from sim.config import SimConfig
from sim.envs import Step, make
from sim.oracle import goal_image, oracle, rollout
from sim.tasks import MT10, TASKS, prompt_for

COUNTER = 'furl/StampCounter-v0'
# Pendulum needs a package to draw that its simulation does not need.
OTHERS = ('InvertedPendulum-v5', 'Pendulum-v1', COUNTER)
# All of Meta-World is simulated by the same code; test_oracle.py plays each of these tasks.
FEW = ('drawer-close-v3', 'peg-insert-side-v3')
SOME_OF_MT10 = [
    pytest.param(task, marks=() if task in FEW else pytest.mark.campaign) for task in MT10
]


@pytest.fixture
def build():
    """Make environments that are closed after the test."""
    made = []

    def factory(**settings):
        settings.setdefault('render', False)
        made.append(make(SimConfig(**settings)))
        return made[-1]

    yield factory
    for env in made:
        env.close()


def actions(env, count, seed=0):
    space = env.action_space
    low, high = np.maximum(space.low, -1), np.minimum(space.high, 1)
    return np.random.default_rng(seed).uniform(low, high, (count, *space.shape)).astype(np.float32)


def play(env, count=15, seed=None, action_seed=0):
    steps = [env.reset(seed)]
    for action in actions(env, count, action_seed):
        if not steps[-1].terminated:
            steps.append(env.step(action))
    return steps


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


class TestContract:
    """Every environment, whatever simulates it."""

    @pytest.fixture(params=[*SOME_OF_MT10, *OTHERS])
    def task(self, request):
        return request.param

    def test_steps_have_the_promised_form(self, build, task):
        env = build(task=task)
        for index, step in enumerate(play(env, 3)):
            assert isinstance(step, Step)
            assert step.state.dtype == np.float32
            assert step.state.shape == env.observation_space.shape
            assert np.isfinite(step.state).all()
            assert step.action.dtype == np.float32
            assert step.action.shape == ((0,) if index == 0 else env.action_space.shape)
            assert type(step.task_reward) is float
            assert {type(flag) for flag in step[3:6]} == {bool}
            assert step.frame is None
        assert env.observation_space.dtype == env.action_space.dtype == np.float32
        assert 0 < env.control_period < 1
        assert env.joint_positions().shape == (len(env.joint_names),)

    @pytest.mark.parametrize('goal', ['fixed', 'random'])
    def test_the_configuration_determines_a_run(self, build, task, goal):
        first, second = (build(task=task, goal=goal, seed=3) for _ in range(2))
        assert same(play(first) + play(first), play(second) + play(second))

    def test_a_seed_determines_the_episode(self, build, task):
        if task == COUNTER:
            pytest.skip('counts over its whole life')
        first = build(task=task, goal='random', seed=1)
        second = build(task=task, goal='random', seed=2)
        play(second, seed=7)
        play(second)
        assert same(play(first, seed=5), play(second, seed=5))
        assert first.episode_seed == second.episode_seed == 5
        assert not np.array_equal(first.reset(6).state, first.reset(7).state)

    def test_environments_share_no_generator(self, build, task):
        before = np.random.get_state()
        alone = build(task=task, goal='random', seed=4)
        expected = play(alone) + play(alone)
        one, other = (build(task=task, goal='random', seed=seed) for seed in (4, 9))
        mixed = []
        for _ in range(2):
            mixed.append(one.reset())
            for index, action in enumerate(actions(one, 15)):
                if index % 5 == 0:
                    other.reset()
                if not mixed[-1].terminated:
                    mixed.append(one.step(action))
        assert same(expected, mixed)
        after = np.random.get_state()
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    def test_a_given_seed_does_not_move_the_own_stream(self, build, task):
        first, second = (build(task=task, goal='random') for _ in range(2))
        first.reset()
        first.reset(123)
        second.reset()
        second.reset(456)
        first.reset()
        second.reset()
        assert first.episode_seed == second.episode_seed

    def test_the_horizon_truncates_and_then_a_reset_is_due(self, build, task):
        env = build(task=task, horizon=4)
        with pytest.raises(RuntimeError, match='call reset'):
            env.step(actions(env, 1)[0])
        for _ in range(2):
            steps = [env.reset()] + [env.step(np.zeros(env.action_space.shape)) for _ in range(4)]
            assert [step.truncated for step in steps] == [False] * 4 + [True]
            assert not any(step.terminated for step in steps)
            with pytest.raises(RuntimeError, match='call reset'):
                env.step(actions(env, 1)[0])

    def test_actions_are_clipped_to_the_box(self, build, task):
        env = build(task=task)
        env.reset()
        step = env.step(np.full(env.action_space.shape, 1e6))
        assert np.array_equal(step.action, env.action_space.high)

    def test_bad_actions_are_named(self, build, task):
        env = build(task=task)
        env.reset()
        size = env.action_space.shape[0]
        with pytest.raises(ValueError, match=rf'shape \({size + 1},\); accepted: \({size},\)'):
            env.step(np.zeros(size + 1))
        for bad in (np.nan, np.inf):
            with pytest.raises(ValueError, match='finite'):
                env.step(np.full(size, bad))
        with pytest.raises(ValueError, match='seed is -1'):
            env.reset(-1)


class TestRepeatedActions:
    @pytest.fixture(params=['reach-v3', 'Pendulum-v1'])
    def task(self, request):
        return request.param

    def test_an_action_is_held_and_only_its_end_is_seen(self, build, task):
        single, double = build(task=task), build(task=task, action_repeat=2)
        assert double.control_period == 2 * single.control_period
        single.reset(3)
        double.reset(3)
        for action in actions(single, 10):
            steps = [single.step(action), single.step(action)]
            step = double.step(action)
            assert np.array_equal(step.state, steps[1].state)
            assert step.success == steps[1].success
            own = task == 'Pendulum-v1'
            expected = sum(one.task_reward for one in steps) if own else step.success - 1.0
            assert step.task_reward == pytest.approx(expected)

    def test_the_time_limit_counts_simulation_steps(self, build, task):
        env = build(task=task, action_repeat=3, horizon=7)
        env.reset()
        steps = [env.step(action) for action in actions(env, 3)]
        assert [step.truncated for step in steps] == [False, False, True]

    def test_the_goal_image_does_not_depend_on_it(self):
        one, two = (goal_image(SimConfig(task='reach-v3', action_repeat=n)) for n in (1, 2))
        assert np.array_equal(one, two)


def test_success_may_count_from_zero(build):
    env = build(task='drawer-close-v3', success_reward='0/1')
    steps = list(rollout(env, oracle(env)))
    assert {step.success for step in steps} == {False, True}
    assert all(step.task_reward == step.success for step in steps)


def test_the_first_success_may_end_the_episode(build):
    env = build(task='drawer-close-v3', end_at_success=True, action_repeat=3)
    steps = list(rollout(env, oracle(env)))
    assert [step.success for step in steps] == [False] * (len(steps) - 1) + [True]
    assert [step.terminated for step in steps] == [step.success for step in steps]
    with pytest.raises(RuntimeError, match='call reset'):
        env.step(actions(env, 1)[0])


class TestMetaWorld:
    @pytest.fixture(params=SOME_OF_MT10)
    def task(self, request):
        return request.param

    def test_a_fixed_goal_stays_and_is_hidden(self, build, task):
        env = build(task=task, seed=1)
        first = play(env)
        goal = env.goal_position()
        assert same(first, play(env))
        assert same(first, play(env, seed=8))
        assert np.array_equal(goal, env.goal_position())
        assert all(not step.state[-3:].any() for step in first)
        assert not np.array_equal(goal, build(task=task, seed=2).goal_position())

    def test_a_random_goal_changes_and_is_visible(self, build, task):
        env = build(task=task, goal='random')
        goals = []
        for _ in range(3):
            step = env.reset()
            goals.append(env.goal_position())
            np.testing.assert_allclose(step.state[-3:], goals[-1], rtol=1e-6)
        assert not np.array_equal(goals[0], goals[1])
        assert not np.array_equal(goals[1], goals[2])

    def test_a_fixed_goal_is_the_one_that_meta_world_draws(self, build, task):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_HIDDEN

        original = ALL_V3_ENVIRONMENTS_GOAL_HIDDEN[f'{task}-goal-hidden'](seed=6)
        original.reset()
        env = build(task=task, seed=6)
        steps = [original.step(action)[0] for action in actions(env, 15)]
        original.close()
        # From the second step on: Meta-World's first observation, which the one after it repeats,
        # can show objects where they were before.
        np.testing.assert_array_equal(
            np.array(steps[1:], np.float32), [step.state for step in play(env)[2:]]
        )

    def test_the_first_state_shows_where_things_are(self, build, task):
        env = build(task=task, goal='random')
        for _ in range(3):
            first = env.reset()
            second = env.step(np.zeros(4))
            # Half a centimetre: what falls or settles within one period.
            np.testing.assert_allclose(first.state[4:7], second.state[4:7], atol=5e-3)
            np.testing.assert_array_equal(first.state[:18], first.state[18:36])
            np.testing.assert_array_equal(first.state[:18], second.state[18:36])

    @pytest.mark.parametrize(('given', 'horizon'), [({}, 500), ({'horizon': 510}, 510)])
    def test_its_own_horizon_is_500_and_can_be_longer(self, build, given, horizon):
        env = build(task='reach-v3', **given)
        env.reset()
        steps = [env.step(np.zeros(4)) for _ in range(horizon)]
        assert [step.truncated for step in steps] == [False] * (horizon - 1) + [True]
        assert all(step.task_reward == step.success - 1.0 for step in steps)

    def test_every_task_is_there_with_a_prompt_of_its_own(self):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS, MT10_V3
        from metaworld.policies import ENV_POLICY_MAP

        assert set(TASKS) == set(ALL_V3_ENVIRONMENTS) == set(ENV_POLICY_MAP)
        assert tuple(MT10_V3) == MT10
        assert len({task.prompt for task in TASKS.values()}) == len(TASKS)


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        ({'task': 'drawer-shut-v3'}, "task is 'drawer-shut-v3'.*drawer-close-v3"),
        ({'task': 'CartPole-v1'}, 'action space is Discrete; accepted:.*Box'),
        ({'task': 'Blackjack-v1'}, 'observation space is Tuple; accepted:.*Box'),
        ({'camera': 'corner9'}, "camera is 'corner9'; accepted for drawer-close-v3: auto, topview"),
        ({'task': COUNTER, 'camera': 'corner2'}, "camera is 'corner2'; accepted: auto"),
        ({'goal': 'none'}, "goal is 'none'; accepted: fixed, random"),
        ({'quality': 'best'}, "quality is 'best'; accepted: fast, full"),
        ({'width': 8}, 'width is 8; accepted: 32 to 2048'),
        ({'seed': -1}, 'seed is -1'),
    ],
)
def test_bad_settings_are_named_in_one_line(settings, text):
    with pytest.raises(SettingError, match=text) as caught:
        make(SimConfig(render=False, **settings))
    assert '\n' not in str(caught.value)


def test_an_environment_that_cannot_draw_is_refused_at_once():
    class Blind(gymnasium.Env):
        metadata = {'render_modes': ['rgb_array']}  # noqa: RUF012
        observation_space = action_space = gymnasium.spaces.Box(-1, 1, (2,))
        render_mode = 'rgb_array'

        def __init__(self, render_mode=None):
            pass

        def reset(self, *, seed=None, options=None):
            return np.zeros(2, np.float32), {}

        def render(self):
            return None

    gymnasium.register(id='furl/Blind-v0', entry_point=Blind)
    try:
        with pytest.raises(SettingError, match='cannot render furl/Blind-v0'):
            make(SimConfig(task='furl/Blind-v0'))
        with pytest.raises(RuntimeError, match='render: false'):
            make(SimConfig(task='furl/Blind-v0', render=False)).render()
    finally:
        del gymnasium.registry['furl/Blind-v0']


def test_a_gym_environment_keeps_its_own_reward_and_end(build):
    env = build(task='InvertedPendulum-v5')
    env.reset(0)
    step = env.step(np.zeros(1))
    assert step.task_reward == 1.0
    while not step.terminated:
        step = env.step(np.ones(1))
    assert not step.truncated
    with pytest.raises(RuntimeError, match='call reset'):
        env.step(np.zeros(1))


def test_prompts():
    assert prompt_for('drawer-close-v3') == 'push and close a drawer'
    assert prompt_for('InvertedPendulum-v5') == 'solve the inverted pendulum task'
    assert prompt_for('module:space/My-env_two-v0') == 'solve the my env two task'
