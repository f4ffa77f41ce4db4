# SPDX-License-Identifier: Apache-2.0
"""Fewer faces: a robot for a software renderer."""

import mujoco
import numpy as np

CELL = 0.008
"""Size of what vanishes, metres: a tenth of the faces remains, and 640x480 shows no difference."""
FEW = 500
"""Meshes with fewer faces stay as they are."""


def merge_vertices(
    vertices: np.ndarray, faces: np.ndarray, cell: float
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the vertices in each cell of a grid, and drop the faces that collapse.

    Args:
        vertices: float [V, 3], metres.
        faces: int [F, 3].
        cell: edge of the cells, metres.

    Returns:
        The same with fewer rows.
    """
    cells = np.floor(vertices / cell).astype(np.int64)
    _, merged = np.unique(cells, axis=0, return_inverse=True)
    merged = merged.ravel()
    counts = np.bincount(merged)
    means = [np.bincount(merged, vertices[:, axis]) / counts for axis in range(3)]
    faces = merged[faces]
    a, b, c = faces.T
    return np.stack(means, 1), np.unique(faces[(a != b) & (b != c) & (c != a)], axis=0)


def lighten(spec: mujoco.MjSpec) -> None:
    """Let the visual geoms (group 2) of a model show light copies of their meshes."""
    model = spec.compile()
    made = set()
    for geom in spec.geoms:
        if geom.group != 2 or not geom.meshname:
            continue
        mesh, name = model.mesh(geom.meshname).id, f'{geom.meshname}_light'
        if model.mesh_facenum[mesh] < FEW:
            continue
        if name not in made:
            made.add(name)
            vertices, faces = merge_vertices(*_as_written(model, mesh), CELL)
            spec.add_mesh(
                name=name, uservert=vertices.ravel().tolist(), userface=faces.ravel().tolist()
            )
        geom.meshname = name


def _as_written(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a mesh in the frame of its file: MuJoCo turns them to their inertia."""
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.mesh_quat[mesh])
    vertices = model.mesh_vert[first : first + count] @ rotation.reshape(3, 3).T
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    return vertices + model.mesh_pos[mesh], model.mesh_face[first : first + count]
