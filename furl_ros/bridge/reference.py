# SPDX-License-Identifier: Apache-2.0
"""docs/parameters.md, made from the settings: ``python -m furl_ros.bridge.reference``."""

import dataclasses

from furl_ros.bridge.config import (
    AlignmentNodeConfig,
    LearnerNodeConfig,
    RewardNodeConfig,
    SimNodeConfig,
)
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.settings import accepted
from sim.config import SimConfig
from sim.mock_arm.config import ArmConfig, CameraConfig, FaultConfig

NODES = {
    'sim_node': (SimConfig, SimNodeConfig),
    'reward_node': (VlmConfig, ScoringConfig, RewardNodeConfig),
    'alignment_node': (AlignmentNodeConfig, AlignConfig),
    'learner_node': (LearnerNodeConfig, TrainConfig, ScoringConfig),
    'mock_arm_node': (ArmConfig, CameraConfig, FaultConfig),
}
HEAD = """\
<!-- SPDX-License-Identifier: Apache-2.0 -->
# Parameters

Made by `python -m furl_ros.bridge.reference > docs/parameters.md`. Parameters are read at the
start of a node (read-only afterwards); `ros2 param describe` shows the same texts and ranges. In
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
            values = accepted(field) or f'any {type(field.default).__name__}'
            lines.append(f'| `{field.name}` | `{default!r}` | {values} | {text} |')
    return '\n'.join(lines) + '\n'


def reference() -> str:
    """The whole page."""
    return HEAD + ''.join(f'\n## {node}\n\n{table(*kinds)}' for node, kinds in NODES.items())


if __name__ == '__main__':
    print(reference(), end='')
