# SPDX-License-Identifier: Apache-2.0
"""A robot that knows nothing of rclpy: rosless, a client with a DDS stack of its own, plays it.

It moves its tool by the twists that come, and tells joint states, the tool's pose and pictures of
a camera, 50, 50 and 30 times a second, until it is ended. Run as ``rosless_robot.py <domain>
<width> <joint position> ...``; it prints 'served' once a twist has come.
"""

import sys
import time

import numpy as np
import rosless

domain, width, positions = int(sys.argv[1]), int(sys.argv[2]), [float(w) for w in sys.argv[3:]]
names = [
    f'{name}_joint'
    for name in ('shoulder_pan', 'shoulder_lift', 'elbow', 'wrist_1', 'wrist_2', 'wrist_3')
]
node = rosless.Node(domain)
joints = node.advertise('/joint_states', 'sensor_msgs/msg/JointState')
poses = node.advertise('/tool_pose', 'geometry_msgs/msg/PoseStamped')
camera = node.advertise('/camera/image_raw', 'sensor_msgs/msg/Image', reliability='best_effort')
twists = node.subscribe('/twist', 'geometry_msgs/msg/TwistStamped', reliability='reliable')
ways = node.subscribe('/joint_trajectory', 'trajectory_msgs/msg/JointTrajectory')

tool, served, frame = np.array([0.4, 0.0, 0.25]), False, 0
picture = np.zeros((width, width, 3), np.uint8)
while True:
    now = time.time()
    header = {'stamp': {'sec': int(now), 'nanosec': int(now % 1 * 1e9)}, 'frame_id': 'base_link'}
    joints.send({'header': header, 'name': names, 'position': positions})
    x, y, z = map(float, tool)
    pose = {'position': {'x': x, 'y': y, 'z': z}, 'orientation': {'w': 1.0}}
    poses.send({'header': header, 'pose': pose})
    while (twist := twists.read(timeout=0.0)) is not None:
        linear = twist.twist.linear
        tool += 0.02 * np.array([linear.x, linear.y, linear.z])
        if not served:
            print('served', flush=True)
            served = True
    if now * 30 >= frame:
        frame = int(now * 30) + 1
        picture[:] = frame % 256
        camera.send(
            {
                'header': header,
                'height': width,
                'width': width,
                'encoding': 'rgb8',
                'step': 3 * width,
                'data': picture.tobytes(),
            }
        )
    time.sleep(0.02)
