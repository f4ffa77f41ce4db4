# SPDX-License-Identifier: Apache-2.0
"""What is said about the nodes' parameters, made from the settings.

docs/parameters.md (``python -m furl_ros.bridge.reference``) and the help of each node.
"""

import ast
import dataclasses
import importlib.util
import json
import textwrap
from pathlib import Path

from furl_ros.bridge.config import (
    AlignmentNodeConfig,
    ArmNodeConfig,
    CameraNodeConfig,
    EvaluateNodeConfig,
    LearnerNodeConfig,
    RewardNodeConfig,
    RunConfig,
    SimNodeConfig,
)
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.settings import accepted
from sim.config import SimConfig
from sim.mock_arm.config import ArmConfig, CameraConfig, FaultConfig

NODES = {
    'sim_node': (SimConfig, SimNodeConfig, RunConfig),
    'reward_node': (VlmConfig, ScoringConfig, RewardNodeConfig, RunConfig),
    'alignment_node': (AlignmentNodeConfig, AlignConfig, RunConfig),
    'learner_node': (LearnerNodeConfig, TrainConfig, ScoringConfig, RunConfig),
    'evaluate_node': (EvaluateNodeConfig, RunConfig),
    'arm_node': (ArmNodeConfig, RunConfig),
    'camera_node': (CameraNodeConfig, RunConfig),
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


def table(*kinds: type) -> str:
    """A Markdown table of the fields of settings dataclasses."""
    lines = ['| parameter | default | accepted | meaning |', '|---|---|---|---|']
    for kind in kinds:
        for field in dataclasses.fields(kind):
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            text = field.metadata['doc'].replace('|', '\\|')
            if field.metadata['live']:
                text += ' Live.'
            values = accepted(field) or f'any {type(field.default).__name__}'
            lines.append(f'| `{field.name}` | `{default!r}` | {values} | {text} |')
    return '\n'.join(lines) + '\n'


def reference() -> str:
    """The whole page."""
    return HEAD + ''.join(f'\n## {node}\n\n{table(*kinds)}' for node, kinds in NODES.items())


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


if __name__ == '__main__':
    print(reference(), end='')
