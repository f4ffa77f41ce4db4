# SPDX-License-Identifier: Apache-2.0
"""Environments behind one small interface: Meta-World v3 tasks and any Gymnasium id.

`make(config)` is the entry. What comes out has its own seeded generators, takes clipped actions,
tells termination from truncation, and returns one frame per step.
"""

import inspect
from typing import Any, NamedTuple

import cv2
import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box

from furl_ros.core.settings import SettingError, check
from sim.config import MINUS_ONE_ZERO, SimConfig
from sim.renderer import (
    CameraIntrinsics,
    CameraPose,
    Renderer,
    camera_names,
    usual_camera,
)
from sim.tasks import TASKS

HAND = (0, 1, 2, 3, 18, 19, 20, 21)
"""In Meta-World's states: place and opening of the gripper, now and one step before."""


class Step(NamedTuple):
    """What one reset or step gives.

    Attributes:
        state: float32 [S].
        action: float32 [A] as carried out, after clipping; empty after a reset.
        task_reward: success - 1, or success (see ``success_reward``); 0.0 after a reset.
            Environments without a success signal put their own reward here, summed over repeats.
        success: the task is solved in this state (of repeated actions: in the last one).
        terminated: the environment ended the episode; there is no value beyond this state.
        truncated: the time limit ended the episode; the value beyond this state counts.
        frame: uint8 [height, width, 3], RGB, upright, unmirrored, contiguous and not shared with
            later frames; None with ``render: false``.
    """

    state: np.ndarray
    action: np.ndarray
    task_reward: float
    success: bool
    terminated: bool
    truncated: bool
    frame: np.ndarray | None


class SimEnv:
    """One simulated environment; see `make`. Create, use and close it in one thread.

    Attributes:
        config: what it was made from.
        observation_space, action_space: flat float32 Box spaces.
        control_period: simulated seconds per action, repeats included.
        proprioception: indices of what the robot senses of itself in the state; empty: all of it.
        episode_seed: seed that the present episode was reset with (also when it was drawn).
    """

    def __init__(
        self,
        config: SimConfig,
        env: gymnasium.Env,
        observation_space: Box,
        action_space: Box,
        control_period: float,
        horizon: int,
        camera: str | mujoco.MjvCamera,
    ) -> None:
        self.config = config
        self.observation_space = observation_space
        self.action_space = action_space
        self.control_period = control_period * config.action_repeat
        self.proprioception: tuple[int, ...] = ()
        self.episode_seed = 0
        self._env = env
        self._horizon = horizon
        self._seeds = np.random.default_rng(config.seed)
        # Steps of the present episode; None when a reset is due.
        self._steps: int | None = None
        self._camera = camera
        self._renderer: Renderer | None = None
        self._model = getattr(env.unwrapped, 'model', None)
        if not isinstance(self._model, mujoco.MjModel):
            self._model = None
        elif config.render:
            self._open_renderer()
        self._joints = _scalar_joints(self._model)

    @property
    def joint_names(self) -> list[str]:
        """Names of the hinge and slide joints of a MuJoCo model, of its objects too; else []."""
        return [name for name, _ in self._joints]

    def joint_positions(self) -> np.ndarray:
        """Return float64 [J]: radians of hinges, metres of slides, in the order of the names."""
        if self._model is None:
            return np.zeros(0)
        return self._env.unwrapped.data.qpos[[address for _, address in self._joints]]

    @property
    def intrinsics(self) -> CameraIntrinsics | None:
        """Intrinsics of the frames; None when no MuJoCo camera draws them."""
        return self._renderer.intrinsics if self._renderer else None

    def camera_pose(self) -> CameraPose | None:
        """Return the camera's pose at the last frame; None when no MuJoCo camera draws."""
        return self._renderer.pose() if self._renderer else None

    def goal_position(self) -> np.ndarray | None:
        """Return the goal of the episode: float64 [3], metres, world frame; None without one."""
        return None

    def model_and_data(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return the simulation itself, for those who look at it with cameras of their own.

        Raises:
            ValueError: the environment is not simulated by MuJoCo.
        """
        if self._model is None:
            raise ValueError(f'{self.config.task} is not a MuJoCo environment')
        return self._model, self._env.unwrapped.data

    def reset(self, seed: int | None = None) -> Step:
        """Start an episode.

        Args:
            seed: 0 or more; fully determines the episode (a fixed goal stays as it is). None:
                the next seed of this environment's own generator.

        Raises:
            ValueError: for a negative seed.
        """
        if seed is None:
            seed = int(self._seeds.integers(2**31))
        elif seed < 0:
            raise ValueError(f'seed is {seed}; accepted: 0 or more')
        self.episode_seed = int(seed)
        state = self._reset(self.episode_seed)
        self._steps = 0
        return Step(
            state=_flat(state),
            action=np.zeros(0, np.float32),
            task_reward=0.0,
            success=False,
            terminated=False,
            truncated=False,
            frame=self.render() if self.config.render else None,
        )

    def step(self, action: np.ndarray) -> Step:
        """Carry out one action for one control period: as often as ``action_repeat`` says.

        Args:
            action: [A]; clipped to the action space.

        Raises:
            ValueError: for an action of the wrong size, or one that is not finite.
            RuntimeError: when the episode has ended, or none was started.
        """
        if self._steps is None:
            raise RuntimeError('no episode is running: call reset before step')
        action = np.asarray(action, np.float32)
        if action.shape != self.action_space.shape:
            raise ValueError(
                f'action has shape {action.shape}; accepted: {self.action_space.shape}'
            )
        if not np.isfinite(action).all():
            raise ValueError(f'action is {action.tolist()}; accepted: finite numbers')
        action = np.clip(action, self.action_space.low, self.action_space.high)
        own_reward = 0.0
        for _ in range(self.config.action_repeat):
            state, reward, terminated, truncated, info = self._env.step(
                action.reshape(self._env.action_space.shape)
            )
            own_reward += float(reward)
            self._steps += 1
            success = info.get('success', info.get('is_success'))
            terminated = bool(terminated or (self.config.end_at_success and success))
            truncated = bool(truncated or self._steps == self._horizon)
            if terminated or truncated:
                self._steps = None
                break
        return Step(
            state=_flat(state),
            action=action,
            task_reward=own_reward if success is None else self._success_reward(success),
            success=bool(success),
            terminated=terminated,
            truncated=truncated,
            frame=self.render() if self.config.render else None,
        )

    def render(self) -> np.ndarray:
        """Draw the present state: a frame as in `Step`; MuJoCo environments do so at any time.

        Raises:
            SettingError: when frames cannot be drawn on this machine.
            RuntimeError: with ``render: false``, where no MuJoCo camera draws.
        """
        if self._model is not None:
            if self._renderer is None:
                self._open_renderer()
            return self._renderer.frame()
        if not self.config.render:
            raise RuntimeError(f'{self.config.task} was made with render: false')
        frame = self._env.render()
        size = (self.config.width, self.config.height)
        if frame.shape[1::-1] != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(frame)

    def close(self) -> None:
        """Free the renderer and the environment."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self._env.close()

    def _reset(self, seed: int) -> np.ndarray:
        return self._env.reset(seed=seed)[0]

    def _success_reward(self, success: bool) -> float:
        return float(bool(success)) - (self.config.success_reward == MINUS_ONE_ZERO)

    def _open_renderer(self) -> None:
        config, data = self.config, self._env.unwrapped.data
        _locate(self._model, data)
        self._renderer = Renderer(
            self._model, data, self._camera, config.width, config.height, config.quality
        )


class MetaWorldEnv(SimEnv):
    """A Meta-World v3 task with a sparse reward and a fixed or a random goal.

    The goal of a fixed-goal environment is the one that Meta-World's own
    ``ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[...](seed=config.seed)`` draws.
    """

    def __init__(self, config: SimConfig) -> None:
        # Imported here: it costs half a second that other environments need not pay.
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        env = ALL_V3_ENVIRONMENTS[config.task]()
        fixed = config.goal == 'fixed'
        env._set_task_called = True
        env._partially_observable = fixed
        # Cached by the constructor for the other observability.
        del env.sawyer_observation_space
        # Without this Meta-World draws from NumPy's global generator. Its own construction seeds
        # that one; the same legacy generator, private, gives the same goals and shares nothing.
        env.seeded_rand_vec = True
        env.np_random = np.random.RandomState(config.seed)
        env._freeze_rand_vec = False
        env.reset()
        env._freeze_rand_vec = fixed
        horizon = config.horizon or env.max_path_length
        # Meta-World raises past its own limit; ours counts instead.
        env.max_path_length = horizon + 1
        space = env.sawyer_observation_space
        camera = _camera(config, env.model, TASKS[config.task].camera)
        super().__init__(
            config,
            env,
            Box(space.low.astype(np.float32), space.high.astype(np.float32)),
            env.action_space,
            env.dt,
            horizon,
            camera,
        )

        self.proprioception = HAND

    def goal_position(self) -> np.ndarray:
        """Return the goal of the episode: float64 [3], metres, world frame."""
        return np.array(self._env._get_pos_goal(), np.float64)

    def _reset(self, seed: int) -> np.ndarray:
        env = self._env
        if self.config.goal == 'random':
            # reset(seed=...) is ignored by Meta-World.
            env.seed(seed)
        env.reset()
        # Meta-World moves bodies after it has computed where they are: its first observation can
        # be 20 cm off, and so would be the picture. Positions only: a whole mj_forward would
        # change the solver's warm start and with it the trajectory's last digits.
        _locate(env.model, env.data)
        env._prev_obs = env._get_curr_obs_combined_no_goal()
        return env._get_obs()


class GymEnv(SimEnv):
    """Any Gymnasium environment with a Box state and a Box action."""

    def __init__(self, config: SimConfig) -> None:
        env = _gym_make(config)
        for role, space in (('observation', env.observation_space), ('action', env.action_space)):
            if not isinstance(space, Box):
                env.close()
                raise SettingError(
                    f'task is {config.task!r}, whose {role} space is {type(space).__name__}; '
                    'accepted: environments with a Box observation and a Box action'
                )
        inner = env.unwrapped
        model = getattr(inner, 'model', None)
        if isinstance(model, mujoco.MjModel):
            viewer = getattr(inner, 'mujoco_renderer', None)
            camera = _camera(
                config, model, usual_camera(model, getattr(viewer, 'default_cam_config', None))
            )
        elif config.camera != 'auto':
            raise SettingError(
                f'camera is {config.camera!r}; accepted: auto ({config.task} has no named cameras)'
            )
        else:
            camera = 'auto'
            if config.render:
                _try_drawing(config)
        super().__init__(
            config,
            env,
            _flat_box(env.observation_space),
            _flat_box(env.action_space),
            _period(inner),
            config.horizon,
            camera,
        )


def make(config: SimConfig) -> SimEnv:
    """Build the environment that a configuration describes.

    Raises:
        SettingError: one line that names the value and what is accepted: a setting out of range,
            an unknown task or camera, a Gymnasium environment of an unsupported kind, or frames
            wanted where OpenGL does not work.
    """
    check(config)
    return MetaWorldEnv(config) if config.task in TASKS else GymEnv(config)


def _gym_make(config: SimConfig) -> gymnasium.Env:
    try:
        spec = gymnasium.spec(config.task)
        kwargs: dict[str, Any] = {}
        if config.render:
            kwargs['render_mode'] = 'rgb_array'
            kwargs.update(_size_arguments(spec, config))
        if config.horizon:
            kwargs['max_episode_steps'] = config.horizon
        return gymnasium.make(config.task, disable_env_checker=True, **kwargs)
    # Gymnasium hands on whatever the environment's own constructor and imports raise.
    except Exception as error:
        reason = ' '.join(str(error).split())[:200]
        raise SettingError(
            f'task is {config.task!r} ({type(error).__name__}: {reason}); accepted: '
            f'the id of a Gymnasium environment, or one of {", ".join(TASKS)}'
        ) from error


def _size_arguments(spec: Any, config: SimConfig) -> dict[str, int]:
    """Return width and height if the environment draws at any size, so that none is rescaled."""
    entry = spec.entry_point
    if isinstance(entry, str):
        entry = gymnasium.envs.registration.load_env_creator(entry)
    names = inspect.signature(entry).parameters
    wanted = {'width': config.width, 'height': config.height}
    return wanted if wanted.keys() <= names.keys() else {}


def _try_drawing(config: SimConfig) -> None:
    """Find out now whether an environment draws; on a copy, whose steps count for nothing."""
    env = _gym_make(config)
    try:
        env.reset(seed=config.seed)
        frame = env.render()
    except gymnasium.error.Error as error:
        reason = ' '.join(str(error).split())
        raise SettingError(f'cannot render {config.task}: {reason}') from error
    finally:
        env.close()
    if not (isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.dtype == np.uint8):
        raise SettingError(f'cannot render {config.task}: it does not draw rgb_array pictures')


def _camera(config: SimConfig, model: mujoco.MjModel, usual: Any) -> Any:
    if config.camera == 'auto':
        return usual
    names = camera_names(model)
    if config.camera not in names:
        accepted = ', '.join(['auto', *names])
        raise SettingError(f'camera is {config.camera!r}; accepted for {config.task}: {accepted}')
    return config.camera


def _locate(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Compute where bodies, sites and cameras are, and nothing else."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)


def _scalar_joints(model: mujoco.MjModel | None) -> list[tuple[str, int]]:
    """Return name and address in qpos of each hinge and slide joint."""
    if model is None:
        return []
    joints = (model.joint(i) for i in range(model.njnt))
    scalar = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    return [
        (joint.name or f'joint_{joint.id}', int(joint.qposadr[0]))
        for joint in joints
        if joint.type[0] in scalar
    ]


def _period(env: gymnasium.Env) -> float:
    """Return the seconds per step as far as an environment tells them, else 1/30."""
    period = getattr(env, 'dt', None)
    if isinstance(period, (int, float)) and period > 0:
        return float(period)
    return 1.0 / float(env.metadata.get('render_fps') or 30.0)


def _flat(state: np.ndarray) -> np.ndarray:
    return np.array(state, np.float32).ravel()


def _flat_box(space: Box) -> Box:
    return Box(space.low.astype(np.float32).ravel(), space.high.astype(np.float32).ravel())
