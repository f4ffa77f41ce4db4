# SPDX-License-Identifier: Apache-2.0
"""Fail, with the reason, where the environment that tools/setup has made cannot run the graph."""

import mujoco
import rclpy
import torch

import furl_interfaces.msg
import furl_ros

SCENE = (
    '<mujoco><worldbody><light pos="0 0 3"/><geom size="1" rgba="1 0 0 1"/></worldbody></mujoco>'
)


def check_rendering() -> None:
    """Render one frame headless, and see that the red ball is in it."""
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 32, 32) as renderer:
        renderer.update_scene(data)
        frame = renderer.render()
    if frame[..., 0].max() < 64:
        raise RuntimeError('MuJoCo renders black frames: is there a working EGL driver?')


def check_messages() -> None:
    """Make a publisher of a message of ours, which loads its type support and the middleware."""
    rclpy.init()
    node = rclpy.create_node('check_environment')
    node.create_publisher(furl_interfaces.msg.Action, 'action', 1)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    check_messages()
    check_rendering()
    print(f'{furl_ros.__path__[0]}: torch {torch.__version__}, MuJoCo {mujoco.__version__}')
