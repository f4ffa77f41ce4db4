# SPDX-License-Identifier: Apache-2.0
"""The sweep file: which runs there are, with all their settings, checked before any starts."""

import dataclasses
import json
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import yaml

import furl_ros
from furl_ros.bridge import graph
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.run import load_config
from furl_ros.core.settings import SettingError
from sim.config import SimConfig
from sim.tasks import TASKS

KEYS = (
    'params_file',
    'settings',
    'task_settings',
    'variants',
    'tasks',
    'seeds',
    'runs',
    'results',
    'log_every',
)
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,99}')
NAME_TEXT = "up to 100 letters, digits, '.', '_', '-', a letter or digit first"
# What the sweep decides for each run.
OWN = ('task', 'seed')
# A finished run goes on nowhere.
KEEP_ONE = {'keep_checkpoints': 1}
LOG_EVERY = 1_000


def _names(*kinds: type) -> set[str]:
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


# What the local runner reads; width and height are image_size, and the method decides on rendering.
LOCAL = (
    _names(SimConfig, VlmConfig, ScoringConfig, TrainConfig, AlignConfig)
    | {'prompt', 'baseline_prompt', 'image_size'}
) - {'width', 'height', 'render'}
# Another value of these makes no other result.
HARMLESS = {'checkpoint_every', 'keep_checkpoints'}


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One run of a sweep.

    Attributes:
        values: settings of the whole graph, from ``graph.settings_of_run``.
        run: its folder, with checkpoints.
        typed_run: the same as the file says it, for another machine.
        results: where its small files lie once it is finished.
        log_every: steps between rows of the curves.
    """

    task: str
    variant: str
    seed: int
    values: dict[str, Any]
    run: Path
    typed_run: str
    results: Path
    log_every: int = LOG_EVERY

    @property
    def name(self) -> str:
        """Task, variant and seed, for people."""
        return f'{self.task} {self.variant} s{self.seed}'

    def chosen(self) -> dict[str, Any]:
        """The settings that are not the default, and the method."""
        known = graph.defaults()
        names = sorted(LOCAL - HARMLESS - {*OWN})
        values = {name: self.values[name] for name in names}
        return {k: v for k, v in values.items() if v != known[k] or k == 'method'}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A whole sweep; ``jobs`` in the order in which they are begun."""

    jobs: tuple[Job, ...]
    tasks: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: Path
    results: Path


class _Loader(yaml.SafeLoader):
    """Takes no mapping that has a key twice: YAML's own loader would drop the first one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.tag != 'tag:yaml.org,2002:merge' and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise SettingError(f'{key.value!r} is there twice (line {line})')
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read(path: str | Path) -> Plan:
    """Read a sweep file.

    ``runs`` and ``results`` are relative to the current folder, like any run folder;
    ``params_file`` to the sweep file, or it is a name in ``config/``.

    Raises:
        SettingError: one line that names what is wrong and what is accepted.
    """
    path = Path(path).expanduser()
    try:
        return _plan(_content(path), path)
    except SettingError as error:
        raise SettingError(f'{path}: {error}') from None


def check_unchanged(folder: Path, values: Mapping[str, Any]) -> None:
    """Check that a run was begun (or finished) with these settings; without one there is no rule.

    Args:
        folder: a run folder or the results of a run.
        values: settings that it would go on with.

    Raises:
        SettingError: names the first setting that differs.
    """
    try:
        stored = load_config(folder)
    except SettingError:
        return
    for name in sorted(LOCAL - HARMLESS):
        # A setting that was not there yet did what it does by default now.
        before = stored.get(name, graph.defaults()[name])
        if before != values[name]:
            raise SettingError(
                f'{name} is {values[name]!r}, but {folder} was begun with {before!r};'
                f' accepted: {before!r}, or other folders for runs and results (or delete this one)'
            )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise SettingError(f'not a readable YAML file ({reason})') from None
    if not isinstance(content, dict):
        raise SettingError(f'not a mapping; accepted: {", ".join(KEYS)}')
    for key in content:
        if key not in KEYS:
            raise SettingError(f'there is no key {key!r}; accepted: {", ".join(KEYS)}')
    for key in ('variants', 'tasks', 'seeds', 'runs', 'results'):
        if content.get(key) is None:
            raise SettingError(f'{key} is missing')
    return content


def _plan(content: dict[str, Any], path: Path) -> Plan:
    runs, results = (_folder(content[key], key) for key in ('runs', 'results'))
    if runs == results:
        raise SettingError(f'runs and results are both {runs}; accepted: two folders')
    log_every = content.get('log_every', LOG_EVERY)
    if type(log_every) is not int or log_every < 1:
        raise SettingError(f'log_every is {log_every!r}; accepted: 1 or more')
    variants = _mapping(content['variants'], 'variants')
    _check_names(variants)
    tasks = _list(content['tasks'], 'tasks', str)
    seeds = _list(content['seeds'], 'seeds', int)
    folders = task_folders(tasks)
    common = _settings(content.get('settings'), 'settings')
    by_task = _mapping(content.get('task_settings') or {}, 'task_settings', empty=True)
    for task in by_task:
        if task not in tasks:
            raise SettingError(f'task_settings has {task!r}; accepted: {", ".join(tasks)}')
    by_task = {task: _settings(by_task.get(task), f'task_settings.{task}') for task in tasks}
    by_variant = {name: _settings(given, f'variants.{name}') for name, given in variants.items()}
    for name, given in by_variant.items():
        if 'method' not in given and 'method' not in common:
            raise SettingError(
                f'variants.{name} has no method; accepted: {", ".join(graph.METHODS)}'
            )
    params_file = _params_file(content.get('params_file') or '', path)

    def job(seed: int, task: str, variant: str) -> Job:
        place = Path(folders[task], variant, f's{seed}')
        given = KEEP_ONE | common | by_task[task] | by_variant[variant]
        given |= {'task': task, 'seed': seed, 'run_folder': str(runs / place), 'resume': ''}
        try:
            values = graph.settings_of_run({k: _text(v) for k, v in given.items()}, params_file)
        except SettingError as error:
            raise SettingError(f'{task} {variant} s{seed}: {error}') from None
        typed_run = str(Path(content['runs']) / place)
        run, kept = runs / place, results / place
        return Job(task, variant, seed, values, run, typed_run, kept, log_every)

    jobs = (job(seed, task, name) for seed in seeds for task in tasks for name in variants)
    return Plan(tuple(jobs), tuple(tasks), tuple(variants), tuple(seeds), runs, results)


def _folder(value: Any, key: str) -> Path:
    if not isinstance(value, str) or not value:
        raise SettingError(f'{key} is {value!r}; accepted: the name of a folder')
    return Path(value).expanduser().absolute()


def _mapping(value: Any, key: str, empty: bool = False) -> dict[Any, Any]:
    if not isinstance(value, dict) or not (value or empty):
        raise SettingError(f'{key} is {value!r}; accepted: a mapping from names to settings')
    return value


def _list(value: Any, key: str, kind: type) -> list[Any]:
    what = {str: 'texts', int: 'whole numbers'}[kind]
    if not isinstance(value, list) or not value or any(type(item) is not kind for item in value):
        raise SettingError(f'{key} is {value!r}; accepted: a list of {what}')
    for index, item in enumerate(value):
        if item in value[:index]:
            raise SettingError(f'{key} has {item!r} twice')
    return value


def _check_names(names: Collection[Any]) -> None:
    """Check names of folders: safe on any file system, no two alike but for capitals."""
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise SettingError(f'variants has {name!r}; accepted: {NAME_TEXT}')
        if name.casefold() in seen:
            raise SettingError(
                f'variants has {seen[name.casefold()]!r} and {name!r}; accepted: names that differ'
                ' in more than capitals'
            )
        seen[name.casefold()] = name


def task_folders(tasks: Collection[str]) -> dict[str, str]:
    """Folder of each task: its name, without what no file name has.

    Raises:
        SettingError: neither Meta-World nor Gymnasium has a task of that name, or two would share
            a folder.
    """
    folders: dict[str, str] = {}
    for task in tasks:
        if task not in TASKS:
            try:
                gymnasium.spec(task)
            # Gymnasium hands on whatever the import of an environment's module raises.
            except Exception:
                raise SettingError(
                    f'tasks has {task!r}; accepted: the id of a Gymnasium environment, or one of'
                    f' {", ".join(TASKS)}'
                ) from None
        folder = re.sub(r'[^A-Za-z0-9._-]', '_', task)
        if folder in folders.values():
            raise SettingError(f'tasks has two that would share the folder {folder!r}')
        folders[task] = folder
    return folders


def _settings(given: Any, key: str) -> dict[str, Any]:
    """Check the names of some settings; their values are checked with the whole run's."""
    given = _mapping({} if given is None else given, key, empty=True)
    accepted = LOCAL - {*OWN}
    for name, value in given.items():
        if name in OWN:
            raise SettingError(f'{key} has {name!r}; accepted: it is named under {name}s alone')
        if name not in accepted:
            raise SettingError(
                f'{key}: there is no setting {name!r} of the local runner; accepted:'
                f' {", ".join(sorted(accepted))}'
            )
        if value is None:
            raise SettingError(f"{key}: {name} has no value ('' for an empty text)")
    return given


def _text(value: Any) -> str:
    """A value of the file as one that is typed; JSON is YAML, too."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _params_file(name: Any, sweep: Path) -> str:
    if not isinstance(name, str):
        raise SettingError(f'params_file is {name!r}; accepted: the name of a file')
    if not name:
        return ''
    places = [sweep.parent / Path(name).expanduser(), *(place / name for place in _config())]
    for place in places:
        if place.is_file():
            return str(place)
    looked = ', '.join(str(place) for place in places)
    raise SettingError(f'params_file is {name!r}, which is not there (looked for {looked})')


def _config() -> Iterator[Path]:
    """Folders of the settings that come with the package: in the sources, and installed."""
    yield Path(furl_ros.__file__).resolve().parents[1] / 'config'
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        yield Path(prefix) / 'share' / 'furl_ros' / 'config'
