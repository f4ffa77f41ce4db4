# SPDX-License-Identifier: Apache-2.0
"""What is done to the pictures of a camera before they are scored."""

import numpy as np

from furl_ros.core.arm.profile import Camera


def view(camera: Camera, picture: np.ndarray) -> np.ndarray:
    """Cut out, turn, mirror: uint8 [H, W, 3] to uint8 [h, w, 3].

    Raises:
        ValueError: the part to cut out lies outside the picture.
    """
    if camera.roi:
        x, y, width, height = camera.roi
        if x + width > picture.shape[1] or y + height > picture.shape[0]:
            raise ValueError(
                f'roi is {list(camera.roi)}; accepted: a part of'
                f' {picture.shape[1]}x{picture.shape[0]}'
            )
        picture = picture[y : y + height, x : x + width]
    # rot90 turns the other way round.
    picture = np.rot90(picture, -camera.rotate // 90)
    if camera.flip in ('horizontal', 'both'):
        picture = picture[:, ::-1]
    if camera.flip in ('vertical', 'both'):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
