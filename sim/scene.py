# SPDX-License-Identifier: Apache-2.0
"""The scene of a MuJoCo model as shapes and poses, for viewers that know nothing of MuJoCo."""

from typing import NamedTuple

import mujoco
import numpy as np

BOX, SPHERE, CYLINDER, MESH = 'box', 'sphere', 'cylinder', 'mesh'

MOST_FACES = 1_500
"""Of a mesh; finer ones are thinned out: a viewer gets 22,000 of a Meta-World scene's 68,000."""

_GEOM = mujoco.mjtGeom
_RINGS, _SEGMENTS = 4, 16  # of half a capsule's end, and around it
_THIN = 0.001  # metres that a plane is thick
_ENDLESS = 4  # an infinite plane is this many times as wide as the model


class Shape(NamedTuple):
    """What one visible geom looks like, in a frame of its own.

    Attributes:
        name: of the geom, or of its body and its number where it has none.
        kind: 'box', 'sphere', 'cylinder' (along z) or 'mesh'.
        size: float64 [3], metres: full extents along x, y and z (of a sphere these may differ: an
            ellipsoid); ones for a mesh.
        colour: float64 [4], red, green, blue, opacity in [0, 1]; a texture is its mean colour.
        triangles: float32 [T, 3, 3], metres: the corners of a mesh's faces, counter-clockwise seen
            from outside; empty for the other kinds.
    """

    name: str
    kind: str
    size: np.ndarray
    colour: np.ndarray
    triangles: np.ndarray


class Poses(NamedTuple):
    """Where the shapes are, in the world frame.

    Attributes:
        positions: float64 [N, 3], metres.
        orientations: float64 [N, 4], unit quaternions x, y, z, w.
    """

    positions: np.ndarray
    orientations: np.ndarray


class Scene:
    """What of a model MuJoCo's own viewer shows by default: no collision geoms, no sites.

    Args:
        model, data: of the simulation; positions must have been computed (a reset does so).

    Attributes:
        shapes: of the visible geoms, in the order of their numbers. Height fields and signed
            distance fields are left out.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        view = mujoco.MjvScene(model, maxgeom=4 * model.ngeom + 1_000)
        options, camera = mujoco.MjvOption(), mujoco.MjvCamera()
        mask = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, options, None, camera, mask, view)
        found = {
            geom.objid: _shape(model, geom)
            for geom in view.geoms[: view.ngeom]
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM
        }
        self._ids = [number for number in sorted(found) if found[number] is not None]
        self.shapes: list[Shape] = [found[number] for number in self._ids]

    def poses(self) -> Poses:
        """Where the shapes are now, in their order."""
        orientations = np.empty((len(self._ids), 4))
        for row, number in zip(orientations, self._ids, strict=True):
            mujoco.mju_mat2Quat(row, self._data.geom_xmat[number])
        return Poses(self._data.geom_xpos[self._ids], orientations[:, [1, 2, 3, 0]])


def _shape(model: mujoco.MjModel, geom: mujoco.MjvGeom) -> Shape | None:
    number = geom.objid
    kind, size, triangles = _form(model, number)
    if kind is None:
        return None
    colour = np.array(geom.rgba, np.float64)
    colour[:3] *= _mean_colour(model, model.geom_matid[number])
    body = model.body(model.geom_bodyid[number]).name
    name = model.geom(number).name or f'{body}/{number}'
    return Shape(name, kind, np.array(size, np.float64), colour, triangles)


def _form(model: mujoco.MjModel, number: int) -> tuple[str | None, tuple[float, ...], np.ndarray]:
    """Kind, size and triangles of a geom; kind is None for what is not shown."""
    x, y, z = (float(side) for side in model.geom_size[number])
    none, unit = np.zeros((0, 3, 3), np.float32), (1.0, 1.0, 1.0)
    match model.geom_type[number]:
        case _GEOM.mjGEOM_PLANE:
            endless = _ENDLESS * model.stat.extent
            return BOX, (2 * x or endless, 2 * y or endless, _THIN), none
        case _GEOM.mjGEOM_BOX:
            return BOX, (2 * x, 2 * y, 2 * z), none
        case _GEOM.mjGEOM_SPHERE:
            return SPHERE, (2 * x, 2 * x, 2 * x), none
        case _GEOM.mjGEOM_ELLIPSOID:
            return SPHERE, (2 * x, 2 * y, 2 * z), none
        case _GEOM.mjGEOM_CYLINDER:
            return CYLINDER, (2 * x, 2 * x, 2 * y), none
        case _GEOM.mjGEOM_CAPSULE:
            return MESH, unit, _capsule(x, y)
        case _GEOM.mjGEOM_MESH:
            return MESH, unit, _mesh(model, model.geom_dataid[number])
        case _:
            return None, unit, none


def _mesh(model: mujoco.MjModel, mesh: int) -> np.ndarray:
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
    faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
    cells = 64
    thin_vertices, thin_faces = vertices, faces
    while len(thin_faces) > MOST_FACES:
        thin_vertices, thin_faces = _thinned(vertices, faces, cells)
        cells = cells * 7 // 8
    return np.ascontiguousarray(thin_vertices[thin_faces], np.float32)


def _thinned(vertices: np.ndarray, faces: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge the vertices within each cell of a grid, and drop the faces that this closes.

    Args:
        cells: along the longest side of the mesh.
    """
    low = vertices.min(axis=0)
    at = ((vertices - low) * (cells / np.ptp(vertices, axis=0).max())).astype(np.int64)
    _, merged = np.unique(at @ [(cells + 1) ** 2, cells + 1, 1], return_inverse=True)
    counts = np.bincount(merged)
    means = np.stack([np.bincount(merged, column) / counts for column in vertices.T], axis=1)
    faces = merged[faces]
    a, b, c = faces.T
    return means, faces[(a != b) & (b != c) & (c != a)]


def _capsule(radius: float, half_length: float) -> np.ndarray:
    """A cylinder along z with round ends: float32 [T, 3, 3]."""
    quarter = np.linspace(0, np.pi / 2, _RINGS + 1)
    angles = np.concatenate([quarter - np.pi / 2, quarter])
    z = radius * np.sin(angles) + np.repeat([-half_length, half_length], _RINGS + 1)
    around = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    out = radius * np.cos(angles)[:, None]
    rings = np.stack(
        np.broadcast_arrays(out * np.cos(around), out * np.sin(around), z[:, None]), axis=-1
    )
    low, high = rings[:-1], rings[1:]
    first = np.stack([low[:, :-1], low[:, 1:], high[:, 1:]], axis=2)
    second = np.stack([low[:, :-1], high[:, 1:], high[:, :-1]], axis=2)
    return np.concatenate([first.reshape(-1, 3, 3), second.reshape(-1, 3, 3)]).astype(np.float32)


def _mean_colour(model: mujoco.MjModel, material: int) -> np.ndarray:
    """Mean of a material's texture: float64 [3]; ones without one."""
    texture = -1 if material < 0 else model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]
    if texture < 0:
        return np.ones(3)
    channels = model.tex_nchannel[texture]
    count = model.tex_width[texture] * model.tex_height[texture] * channels
    pixels = model.tex_data[model.tex_adr[texture] :][:count].reshape(-1, channels)
    return pixels[:, :3].mean(axis=0) / 255 * np.ones(3)
