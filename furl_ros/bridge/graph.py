# SPDX-License-Identifier: Apache-2.0
"""What a launch file decides: the settings of the whole graph, checked before anything starts."""

import contextlib
import dataclasses
import datetime
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from furl_ros.bridge.config import (
    AlignmentNodeConfig,
    LearnerNodeConfig,
    RecordConfig,
    RewardNodeConfig,
    RunConfig,
    SimNodeConfig,
)
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.kinds import HEADS
from furl_ros.core.methods import METHODS
from furl_ros.core.observe import STATE, check_observe
from furl_ros.core.run import check_fit, config_at, find_checkpoint, run_of
from furl_ros.core.scorings import (
    GOAL_IMAGE,
    accepted_scorings,
    check_baseline,
    check_n_step,
    check_scoring,
)
from furl_ros.core.settings import SettingError, from_mapping, setting
from furl_ros.core.sharing import check_wandb
from furl_ros.core.vlm_names import check_name
from sim.config import SimConfig
from sim.tasks import TASKS, prompt_for


@dataclasses.dataclass(frozen=True)
class GraphConfig:
    """Settings of the graph that belong to no single node."""

    num_sims: int = setting(1, 'Simulators that feed the learner.', low=1, high=64)
    local_sims: int = setting(
        -1,
        'How many of the simulators are started here, the first ones; the others are awaited, from'
        ' other machines. -1: all.',
        low=-1,
        high=64,
    )
    image_size: int = setting(112, 'Width and height of the frames in pixels.', low=32, high=2048)
    videos: bool = setting(
        False,
        'Film an episode of each evaluation, with its rewards: videos/first.mp4, best.mp4 and'
        ' last.mp4 in the run folder, strips in TensorBoard. Evaluations are then drawn, which'
        ' makes them slower.',
    )
    pin_learner: bool = setting(
        True,
        'Keep the learner on as many of the last processor cores as it has threads; false where'
        ' several runs share a machine.',
    )
    # In lock-step simulation and learner set the pace; frames that wait are encoded together, which
    # costs less for each. A robot that does not wait wants its frames scored at once.
    background_niceness: int = setting(
        10,
        'How far reward and alignment stand back behind simulator and learner (nice). In real time,'
        ' and with an arm, the learner stands back, too.',
        low=0,
        high=19,
    )


KINDS = (
    GraphConfig,
    RecordConfig,
    RunConfig,
    SimConfig,
    SimNodeConfig,
    VlmConfig,
    ScoringConfig,
    RewardNodeConfig,
    TrainConfig,
    AlignConfig,
    AlignmentNodeConfig,
    LearnerNodeConfig,
)
# With a fixed goal a deterministic policy repeats one episode; with random goals this many count.
RANDOM_GOAL_EPISODES = 20
MOST_THREADS = 4  # of the learner
ROBOT = 'robot'  # what a parameter file may hold beside settings
# One arm, whose pace is real time, and which has no twin to evaluate on. camera_node decodes its
# pictures, and each is wanted at once.
WITH_A_ROBOT = {
    'num_sims': 1,
    'real_time': True,
    'deterministic': False,
    'eval_every': 0,
    'videos': False,
    'compressed': False,
    'gather': 0.0,
}
# In config: what is taken where no params_file is given.
PARAMS_FILE = 'quick.yaml'
EMPTY = ("''", '""')


def defaults() -> dict[str, Any]:
    """Every setting of the graph with its default."""
    values: dict[str, Any] = {}
    for kind in KINDS:
        values |= {field.name: field.default for field in dataclasses.fields(kind)}
    return values


def read_params_file(path: str | Path) -> dict[str, Any]:
    """Settings under ``/**: ros__parameters:`` of a ROS parameter file.

    Raises:
        SettingError: the file is missing or of another form.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
        return dict(content['/**']['ros__parameters'] or {})
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise SettingError(
            f"params_file is '{path}'; accepted: a YAML file with '/**: ros__parameters:'"
            f' ({type(error).__name__}: {reason})'
        ) from None


def read_robot(params_file: str) -> dict[str, Any]:
    """The description of the robot in a parameter file, checked.

    Raises:
        SettingError: there is none, or it is not accepted.
    """
    robot = read_params_file(params_file).get(ROBOT) if params_file else None
    if robot is None:
        raise SettingError(
            f"params_file is '{params_file}'; accepted: a file with the description of a robot"
            f' ({ROBOT}:) among its settings, such as config/robot.yaml'
        )
    try:
        read_profile(robot)
    except SettingError as error:
        raise SettingError(f'{params_file}: {ROBOT}: {error}') from None
    return robot


def parse_text(text: str) -> str:
    """Read a launch argument that is a text: a pair of quotes stands for the empty one.

    ``ros2 launch`` takes no argument without a value.
    """
    return '' if text in EMPTY else text


def parse(name: str, text: str, known: Mapping[str, Any] | None = None) -> Any:
    """Read a launch argument as the type of the setting with that name.

    Args:
        known: all settings with their defaults; by default those of the graph.

    Raises:
        SettingError: there is no such setting, or the text is not of its type.
    """
    known = defaults() if known is None else known
    if name not in known:
        raise SettingError(f'there is no argument {name!r}; accepted: {", ".join(sorted(known))}')
    kind = type(known[name])
    if kind is str:
        return parse_text(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if kind is float and type(value) is str:
        # YAML 1.1 reads 1e-4 as a word.
        with contextlib.suppress(ValueError):
            value = float(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise SettingError(f'{name} is {text!r}; accepted: a value of type {kind.__name__}')
    return value


def settings_of_run(given: dict[str, str], params_file: str, robot: str = '') -> dict[str, Any]:
    """The settings of a whole graph: defaults, then the file, the run to resume, the command line.

    Args:
        given: arguments that were typed, as text.
        params_file: ROS parameter file; '' for none. A robot that it describes is left alone.
        robot: name of the physical arm that takes the simulator's place; '' for none.

    Raises:
        SettingError: a name or a value is not accepted, or does not fit the run to resume.
    """
    known = defaults()
    from_file = read_params_file(params_file) if params_file else {}
    from_file.pop(ROBOT, None)
    for name in from_file:
        if name not in known:
            raise SettingError(
                f'{params_file}: there is no setting {name!r}; accepted: {", ".join(sorted(known))}'
            )
    typed = {name: parse(name, text) for name, text in given.items()}
    if robot:
        typed |= _fixed_by(robot, typed)
    from_file, typed = _with_heads_file(from_file), _with_heads_file(typed)
    chosen = from_file | typed
    _check(known | chosen)
    if chosen.get('resume'):
        checkpoint = find_checkpoint(chosen['resume'])
        stored = config_at(checkpoint)
        chosen |= {name: value for name, value in stored.items() if name in known} | typed
        chosen['resume'] = str(checkpoint)
        # The checkpoint has what was learned since.
        chosen['heads_file'] = chosen['demonstrations'] = ''
        check_fit(checkpoint, known | chosen)
        if 'run_folder' not in typed:
            chosen['run_folder'] = str(run_of(checkpoint))
    values = known | chosen
    if values['goal'] == 'random' and 'eval_episodes' not in chosen:
        values['eval_episodes'] = RANDOM_GOAL_EPISODES
    if not robot:
        values['prompt'] = values['prompt'] or prompt_for(values['task'])
    elif uses_vlm(values) and not values['prompt'].strip():
        raise SettingError("prompt is ''; accepted with a robot: the task in words")
    values['width'] = values['height'] = values['image_size']
    _check(values)
    _check_scoring(values)
    check_observe(values['observe'], uses_vlm(values), values['method'])
    _check_heads_file(values)
    values = _with_demonstrations(values)
    if values['scoring'] == GOAL_IMAGE and not robot and values['task'] not in TASKS:
        others = ', '.join(n for n in accepted_scorings(values['method']) if n != GOAL_IMAGE)
        raise SettingError(
            f'scoring is {GOAL_IMAGE!r}, but {values["task"]} has no goal image; accepted:'
            f' {others}, or a Meta-World task'
        )
    check_wandb(values['wandb'])
    if values['videos'] and not values['eval_every']:
        raise SettingError(
            'videos is True with eval_every 0: nothing is evaluated; accepted: False, or'
            ' evaluations (eval_every:=10000)'
        )
    check_pattern(values['record_topics'])
    if values['deterministic'] and values['num_sims'] > 1:
        raise SettingError(
            f'num_sims is {values["num_sims"]} with deterministic:=true; accepted: 1'
        )
    if values['local_sims'] > values['num_sims']:
        raise SettingError(
            f'local_sims is {values["local_sims"]}; accepted: at most num_sims'
            f' ({values["num_sims"]}), or -1 for all'
        )
    if values['deterministic'] and values['real_time']:
        raise SettingError('real_time is True with deterministic:=true; accepted: False')
    if values['deterministic']:
        # One step after the other: nothing would come together.
        values['gather'] = 0.0
    if sees(values):
        # Each action waits for the frame before it.
        values['gather'] = 0.0
    if values['run_folder'] in ('', known['run_folder']):
        stamp = time.strftime('%Y%m%d-%H%M%S')
        task = values['task'].replace('/', '_').replace(':', '_')
        name = f'{task}-{values["method"]}-s{values["seed"]}-{stamp}'
        values['run_folder'] = str(Path('runs').absolute() / name)
    return values


def check_pattern(text: str) -> None:
    """Check which topics are to be recorded.

    Raises:
        SettingError: it is no regular expression.
    """
    try:
        re.compile(text)
    except re.error as error:
        raise SettingError(
            f'record_topics is {text!r}; accepted: a regular expression ({error})'
        ) from None


def _with_heads_file(values: dict[str, Any]) -> dict[str, Any]:
    """Settings in which heads may be a file: the kind of the heads in it, and heads_file.

    Raises:
        SettingError: there is no such file, or it holds no heads.
    """
    heads, path = values.get('heads', HEADS[0]), values.get('heads_file')
    if heads not in HEADS:
        if not isinstance(heads, str) or not Path(heads).expanduser().is_file():
            raise SettingError(
                f'heads is {heads!r}; accepted: {", ".join(HEADS)}, or a file of align_bag'
            )
        path = heads
    if not path:
        return values | {'heads_file': ''} if 'heads' in values else values
    # Imported here: it takes torch, and few runs begin so.
    from furl_ros.core.alignment import read_heads

    path = str(Path(path).expanduser().resolve())
    return values | {'heads': read_heads(Path(path)).kind, 'heads_file': path}


def _with_demonstrations(values: dict[str, Any]) -> dict[str, Any]:
    """Settings with the full name of the file of demonstrations, which has to fit them.

    Raises:
        SettingError: there is no such file, or it is of another task or model.
    """
    if not values['demonstrations']:
        return values
    # Imported here: it takes torch, and few runs begin so.
    from furl_ros.core.demonstrations import check_demonstrations, load_demonstrations

    path = Path(values['demonstrations']).expanduser().resolve()
    check_demonstrations(load_demonstrations(path), values)
    return values | {'demonstrations': str(path)}


def _check_heads_file(values: dict[str, Any]) -> None:
    """Check that the heads that a run begins with are of its model."""
    if not values['heads_file']:
        return
    from furl_ros.core.alignment import read_heads

    made_for = read_heads(Path(values['heads_file'])).about.get('vlm')
    if made_for and made_for != values['vlm']:
        raise SettingError(
            f'vlm is {values["vlm"]!r}; accepted with the heads of {values["heads_file"]}:'
            f' {made_for!r}'
        )


def _fixed_by(robot: str, typed: Mapping[str, Any]) -> dict[str, Any]:
    """What is not to be chosen with a robot; raises SettingError where it was, otherwise."""
    fixed = WITH_A_ROBOT | {'task': robot}
    for name, value in fixed.items():
        if typed.get(name, value) != value:
            raise SettingError(f'{name} is {typed[name]!r}; accepted with a robot: {value!r}')
    return fixed


def _check(values: dict[str, Any]) -> None:
    for kind in KINDS:
        part = {field.name: values[field.name] for field in dataclasses.fields(kind)}
        from_mapping(kind, {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()})


def _check_scoring(values: dict[str, Any]) -> None:
    method, scoring = values['method'], values['scoring']
    check_scoring(method, scoring)
    check_n_step(method, scoring, values['n_step'])
    check_baseline(scoring, values['prompt'], values['baseline_prompt'])


def for_node(values: dict[str, Any], *kinds: type) -> dict[str, Any]:
    """The part of the settings that belongs to these dataclasses, in types that ROS knows."""
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k in names}


def new_run_id() -> str:
    """A name that no other run has; it grows with the time of the start."""
    now = datetime.datetime.now(datetime.UTC)
    return f'{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}'


def sources_of(num_sims: int) -> tuple[str, ...]:
    """Namespaces of the robots: the graph's own for one, sim0, sim1, ... for several."""
    return ('',) if num_sims == 1 else tuple(f'sim{index}' for index in range(num_sims))


def learner_threads(deterministic: bool) -> int:
    """Torch threads of the learner.

    Half of the cores, since simulation, reward and alignment together take as much as the learner;
    at most four, since products of 256 x 256 are too small for more and half of an update is not
    products.
    """
    return 1 if deterministic else max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)) // 2))


def learner_cores(threads: int) -> list[int]:
    """Cores to keep the learner on, so that it is not moved about between the other nodes.

    The last ones that this process may use, one per thread; none (anywhere) when no other is left.
    """
    cores = sorted(os.sched_getaffinity(0))
    return cores[-threads:] if threads < len(cores) else []


def check_model(values: dict[str, Any]) -> None:
    """Check, without loading it, that this machine can have the model that the run uses, if any.

    Raises:
        SettingError: see ``check_name``.
    """
    if uses_vlm(values):
        check_name(values['vlm'])


def uses_vlm(values: dict[str, Any]) -> bool:
    """Whether frames are rendered and scored at all with this method."""
    return METHODS[values['method']].vlm


def sees(values: dict[str, Any]) -> bool:
    """Whether the policy looks at frames."""
    return values['observe'] != STATE


def uses_goal_image(values: dict[str, Any]) -> bool:
    """Whether a goal image is drawn and waited for."""
    return METHODS[values['method']].goal_image or values['scoring'] == GOAL_IMAGE
