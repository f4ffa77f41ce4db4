# SPDX-License-Identifier: Apache-2.0
"""Meshes as files: viewers load one once, and then need only its pose."""

import os
from pathlib import Path

import numpy as np

_FACE = np.dtype([('normal', '<f4', 3), ('corners', '<f4', (3, 3)), ('attribute', '<u2')])


def write_stl(path: Path, triangles: np.ndarray) -> None:
    """Write a binary STL file, whole or not at all.

    Args:
        path: the file.
        triangles: float [T, 3, 3], metres: the corners of each, counter-clockwise from outside.
    """
    faces = np.zeros(len(triangles), _FACE)
    faces['corners'] = triangles
    one, two, three = np.moveaxis(np.asarray(triangles, np.float64), 1, 0)
    normals = np.cross(two - one, three - one)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    faces['normal'] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    new = path.with_suffix('.new')
    new.write_bytes(bytes(80) + len(faces).to_bytes(4, 'little') + faces.tobytes())
    os.replace(new, path)
