# SPDX-License-Identifier: Apache-2.0
"""Pages of the reference that are made from the code, and the help of each node.

``python -m furl_ros.bridge.reference PAGE > docs/PAGE.md``; without PAGE, that of the parameters.
"""

import ast
import dataclasses
import importlib.util
import inspect
import json
import math
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from furl_ros.bridge.config import (
    AlignmentNodeConfig,
    ArmNodeConfig,
    CameraNodeConfig,
    EvaluateNodeConfig,
    LearnerNodeConfig,
    MonitorNodeConfig,
    PolicyNodeConfig,
    RecordNodeConfig,
    RewardNodeConfig,
    RunConfig,
    SimNodeConfig,
    VideoNodeConfig,
    WebNodeConfig,
)
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.health import EVERYWHERE, RULES, WINDOW_S, Rule
from furl_ros.core.settings import accepted
from sim.config import SimConfig
from sim.mock_arm.config import ArmConfig, CameraConfig, FaultConfig

if TYPE_CHECKING:
    from launch.actions import DeclareLaunchArgument

    from launch import LaunchContext

NODES = {
    'sim_node': (SimConfig, SimNodeConfig, RunConfig),
    'reward_node': (VlmConfig, ScoringConfig, RewardNodeConfig, RunConfig),
    'alignment_node': (AlignmentNodeConfig, AlignConfig, RunConfig),
    'learner_node': (LearnerNodeConfig, TrainConfig, ScoringConfig, RunConfig),
    'evaluate_node': (EvaluateNodeConfig, RunConfig),
    'arm_node': (ArmNodeConfig, RunConfig),
    'camera_node': (CameraNodeConfig, RunConfig),
    'monitor_node': (MonitorNodeConfig, RunConfig),
    'web_node': (WebNodeConfig, RunConfig),
    'video_node': (VideoNodeConfig, RunConfig),
    'record_node': (RecordNodeConfig, RunConfig),
    'policy_node': (PolicyNodeConfig, RunConfig),
    'mock_arm_node': (ArmConfig, CameraConfig, FaultConfig, RunConfig),
}
USAGE = """\
usage: ros2 run furl_ros {node} [--ros-args -p NAME:=VALUE ... --params-file FILE]

Values are written as in YAML; FILE is one such as config/quick.yaml. Parameters are read at the
start; those that are live may be changed afterwards by `ros2 param set`.
{launch}
"""
LAUNCH = """\
A whole graph is started by `ros2 launch furl_ros train.launch.py`, which takes each of them
as an argument, NAME:=VALUE, and works out those that nodes must agree on."""
LAUNCH_ROBOT = '`ros2 launch furl_ros robot.launch.py` starts a whole graph with a physical arm.'
LAUNCH_ALONE = {
    'evaluate_node': '`ros2 launch furl_ros evaluate.launch.py checkpoint:=RUN` starts it.',
    'arm_node': LAUNCH_ROBOT,
    'camera_node': LAUNCH_ROBOT,
    'monitor_node': '`ros2 launch furl_ros monitor.launch.py` starts it, too.',
    'web_node': '`ros2 launch furl_ros monitor.launch.py viewer:=web` starts it, too.',
    'policy_node': '`ros2 launch furl_ros robot.launch.py policy:=FILE` starts it, and the arm.',
    'mock_arm_node': '`ros2 launch furl_ros mock_arm.launch.py NAME:=VALUE ...` does the same.',
}
WIDTH = 80  # columns of a description in the help
HEAD = """\
<!-- SPDX-License-Identifier: Apache-2.0 -->
# Parameters

Made by `python -m furl_ros.bridge.reference > docs/parameters.md`. Parameters are read at the
start of a node. Those that are live may be changed afterwards ([live control](control.md)); the
others refuse, and say why. `ros2 param describe` shows the same texts and ranges. In
`train.launch.py` each is also a launch argument (`gamma:=0.98`) and a setting of `params_file`;
those that the launch file works out itself (sources, threads, names) are better left to it.
Those of `mock_arm_node` are launch arguments of `mock_arm.launch.py`.
"""
LAUNCH_HEAD = """\
<!-- SPDX-License-Identifier: Apache-2.0 -->
# Launch files

Made by `python -m furl_ros.bridge.reference launch-files > docs/launch-files.md`.

`ros2 launch furl_ros <file> <argument>:=<value> ...`; with `--show-args` each tells the same. In
those that take `params_file`, every [parameter](parameters.md) of the graph is an argument, too;
the most used ones are listed here. `tools/train` is `train.launch.py` after a set-up."""
DIAGNOSTICS_HEAD = f"""\
<!-- SPDX-License-Identifier: Apache-2.0 -->
# Diagnostics

Made by `python -m furl_ros.bridge.reference diagnostics > docs/diagnostics.md`.

Once a second every node says in `/diagnostics` how it is: OK, WARN or ERROR, one line with the
reasons, and its values. rqt's runtime monitor shows them; so does `ros2 topic echo /diagnostics`.
It is

- WARN while something that is counted has grown in the last {WINDOW_S:.0f} seconds: messages that
  could not be used, frames that were dropped, steps without a fresh action. The line says how many
  of what ([what bad messages do](topics.md#what-bad-messages-do)); the totals stay in the values.
- WARN or ERROR while a value is beyond a limit of the tables below. When it gets there, the log
  says so, too.
- ERROR while a training has failed, or an arm is stopped ([a real robot](real-robot.md)).

When the cause is over, so is the warning. A node of which nothing comes at all stands still or has
gone.

All nodes also tell `cpu_s` and `uptime_s` (seconds), `memory_mb` (what the process holds), and
`stage/<name>_s` and `_calls` (where the time went). Rates (`frames_per_s`, `steps_per_s`) are those
of the last {WINDOW_S:.0f} seconds, `heads_age_s` is how long the heads in use have been the same.
"""


def cell(text: str) -> str:
    """Plain text, in one line, as a cell of a Markdown table."""
    return ' '.join(text.split()).replace('|', '\\|').replace('<', '&lt;').replace('**', '\\*\\*')


def table(*kinds: type) -> str:
    """A Markdown table of the fields of settings dataclasses."""
    lines = ['| parameter | default | accepted | meaning |', '|---|---|---|---|']
    for kind in kinds:
        for field in dataclasses.fields(kind):
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            text = cell(field.metadata['doc'] + (' Live.' if field.metadata['live'] else ''))
            values = accepted(field) or f'any {type(field.default).__name__}'
            lines.append(f'| `{field.name}` | `{default!r}` | {values} | {text} |')
    return '\n'.join(lines) + '\n'


def reference() -> str:
    """The whole page."""
    return HEAD + ''.join(f'\n## {node}\n\n{table(*kinds)}' for node, kinds in NODES.items())


def limits(rules: Iterable[Rule]) -> str:
    """A Markdown table of the limits of values."""
    lines = ['| value | WARN | ERROR | meaning |', '|---|---|---|---|']
    for rule in rules:
        side = 'under' if rule.low_is_bad else 'over'
        bounds = [f'{side} {x:,g}' if math.isfinite(x) else '' for x in (rule.warn, rule.error)]
        lines.append(f'| `{rule.value}` | {bounds[0]} | {bounds[1]} | {cell(rule.meaning)} |')
    return '\n'.join(lines) + '\n'


def diagnostics() -> str:
    """The page of the limits in /diagnostics."""
    parts = {'Every node': EVERYWHERE} | {node: rules for node, rules in RULES.items() if rules}
    return DIAGNOSTICS_HEAD + ''.join(f'\n## {n}\n\n{limits(rules)}' for n, rules in parts.items())


def default_of(argument: 'DeclareLaunchArgument', context: 'LaunchContext') -> str:
    """What a launch argument is when it is not given; '' where it must be, or nothing is meant."""
    if argument.default_value is None:
        return ''
    from ament_index_python.packages import get_package_share_directory

    words = [word.perform(context) for word in argument.default_value]
    return ''.join(words).replace(f'{get_package_share_directory("furl_ros")}/', '')


def launch_files() -> str:
    """The page of launch files and their arguments."""
    from launch import LaunchContext

    lines = [LAUNCH_HEAD]
    for path in sorted((Path(__file__).resolve().parents[2] / 'launch').glob('*.launch.py')):
        spec = importlib.util.spec_from_file_location(path.name.partition('.')[0], path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        about = inspect.cleandoc(module.__doc__).replace('``', '`')
        lines += [f'\n## {path.name}\n', f'{about}\n']
        lines += ['| argument | default | meaning |', '|---|---|---|']
        for argument in module.generate_launch_description().get_launch_arguments():
            default = default_of(argument, LaunchContext())
            default = f'`{default}`' if default else ''
            lines.append(f'| `{argument.name}` | {default} | {cell(argument.description)} |')
    return '\n'.join(lines) + '\n'


def node_help(node: str) -> str:
    """What a node is, how it is started, and its parameters, for people at a terminal.

    The node's module is read, not imported.
    """
    source = Path(importlib.util.find_spec(f'furl_ros.nodes.{node}').origin).read_text()
    about = ast.get_docstring(ast.parse(source))
    lines = [
        f'{node}: {about}\n',
        USAGE.format(node=node, launch=LAUNCH_ALONE.get(node, LAUNCH)),
        'Parameters:\n',
    ]
    for field in (field for kind in NODES[node] for field in dataclasses.fields(kind)):
        default = field.default
        kind = 'list of str' if isinstance(default, tuple) else type(default).__name__
        text = field.metadata['doc']
        if accepted(field):
            text += f' Accepted: {accepted(field)}.'
        if field.metadata['live']:
            text += ' Live.'
        lines.append(f'  {field.name} ({kind}, default: {json.dumps(default)})')
        lines.append(textwrap.indent(textwrap.fill(text, WIDTH, break_on_hyphens=False), ' ' * 6))
    return '\n'.join(lines) + '\n'


PAGES = {'parameters': reference, 'diagnostics': diagnostics, 'launch-files': launch_files}

if __name__ == '__main__':
    print(PAGES[sys.argv[1] if sys.argv[1:] else 'parameters'](), end='')
