# SPDX-License-Identifier: Apache-2.0
"""Shapes and poses of a scene: the same as what MuJoCo draws."""

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sim.config import SimConfig
from sim.envs import make
from sim.scene import BOX, CYLINDER, MESH, MOST_FACES, SPHERE, Scene

MODEL = """
<mujoco>
  <asset>
    <texture name="grey" type="2d" builtin="flat" rgb1=".5 .5 .5" width="8" height="8"/>
    <material name="paint" texture="grey" rgba="1 0 .5 1"/>
    <mesh name="wedge" vertex="0 0 0  .1 0 0  0 .2 0  0 0 .3"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1"/>
    <geom name="tile" type="plane" size="1 2 1"/>
    <body name="cup" pos="1 2 3" euler="90 0 0">
      <joint type="slide" axis="1 0 0"/>
      <geom name="box" type="box" size=".1 .2 .3" pos="0 0 1" rgba="1 0 0 .5"/>
      <geom type="sphere" size=".1"/>
      <geom name="egg" type="ellipsoid" size=".1 .2 .3"/>
      <geom name="can" type="cylinder" size=".1 .2" material="paint"/>
      <geom name="pill" type="capsule" size=".1 .2"/>
      <geom name="wedge" type="mesh" mesh="wedge"/>
      <geom name="hull" type="box" size="1 1 1" group="3"/>
      <geom name="air" type="box" size="1 1 1" rgba="0 0 0 0"/>
      <site name="mark" type="sphere" size=".1"/>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope='module')
def simulation():
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.fixture(scope='module')
def shapes(simulation):
    return {shape.name: shape for shape in Scene(*simulation).shapes}


def volume(triangles):
    """Of a closed mesh; negative when its corners go round the wrong way."""
    one, two, three = np.moveaxis(triangles.astype(np.float64), 1, 0)
    return np.einsum('ij,ij->', one, np.cross(two, three)) / 6


def test_what_mujoco_shows_is_there_and_nothing_else(shapes):
    names = ['floor', 'tile', 'box', 'cup/3', 'egg', 'can', 'pill', 'wedge']
    assert list(shapes) == names


def test_kinds_and_sizes(shapes):
    sizes = {name: (shape.kind, *shape.size) for name, shape in shapes.items()}
    assert sizes['box'] == pytest.approx((BOX, 0.2, 0.4, 0.6))
    assert sizes['cup/3'] == pytest.approx((SPHERE, 0.2, 0.2, 0.2))
    assert sizes['egg'] == pytest.approx((SPHERE, 0.2, 0.4, 0.6))
    assert sizes['can'] == pytest.approx((CYLINDER, 0.2, 0.2, 0.4))
    assert sizes['tile'] == pytest.approx((BOX, 2, 4, 0.001))
    assert shapes['floor'].size[0] > 4
    for name, shape in shapes.items():
        is_mesh = name in ('pill', 'wedge')
        assert (shape.kind == MESH) == is_mesh == bool(len(shape.triangles))


def test_colours_are_those_of_the_material_and_its_texture(shapes):
    assert shapes['box'].colour == pytest.approx([1, 0, 0, 0.5])
    assert shapes['can'].colour == pytest.approx([0.5, 0, 0.25, 1], abs=0.01)


def test_meshes_are_closed_and_face_outwards(shapes):
    assert volume(shapes['wedge'].triangles) == pytest.approx(0.1 * 0.2 * 0.3 / 6)
    pill = shapes['pill'].triangles
    true = np.pi * 0.1**2 * 0.4 + 4 / 3 * np.pi * 0.1**3
    assert volume(pill) == pytest.approx(true, rel=0.05)
    np.testing.assert_allclose(np.abs(pill).max(axis=(0, 1)), [0.1, 0.1, 0.3], atol=1e-6)


def test_poses_follow_the_simulation(simulation):
    model, data = simulation
    scene = Scene(model, data)
    numbers = [model.geom(s.name).id if '/' not in s.name else 3 for s in scene.shapes]
    before = scene.poses()
    data.qpos[0] = 0.5
    mujoco.mj_forward(model, data)
    after = scene.poses()
    np.testing.assert_allclose(after.positions, data.geom_xpos[numbers])
    np.testing.assert_allclose(
        Rotation.from_quat(after.orientations).as_matrix(),
        data.geom_xmat[numbers].reshape(-1, 3, 3),
        atol=1e-9,
    )
    moved = (after.positions - before.positions)[2:]
    np.testing.assert_allclose(moved, np.tile([0.5, 0, 0], (6, 1)), atol=1e-9)


def test_fine_meshes_are_thinned_out_and_keep_their_size():
    env = make(SimConfig(task='drawer-close-v3', render=False))
    env.reset(0)
    model, data = env.model_and_data()
    scene = Scene(model, data)
    assert {shape.name for shape in scene.shapes} >= {'objGeom', 'rightpad_geom', 'floor'}
    thinned = 0
    for shape in scene.shapes:
        assert len(shape.triangles) <= MOST_FACES
        if shape.kind != MESH:
            continue
        number = int(shape.name.split('/')[1]) if '/' in shape.name else model.geom(shape.name).id
        mesh = model.geom_dataid[number]
        vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        thinned += len(shape.triangles) < model.mesh_facenum[mesh]
        sides = np.ptp(shape.triangles.reshape(-1, 3), axis=0)
        np.testing.assert_allclose(sides, np.ptp(vertices, axis=0), atol=0.03)
    assert thinned >= 10
    env.close()
