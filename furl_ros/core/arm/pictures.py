# SPDX-License-Identifier: Apache-2.0
"""What is done to the pictures of a robot's cameras before they are scored."""

from collections.abc import Sequence

import cv2
import numpy as np

from furl_ros.core.arm.profile import Camera


def view(camera: Camera, picture: np.ndarray) -> np.ndarray:
    """Cut out, make smaller, turn, mirror: uint8 [H, W, 3] to uint8 [h, w, 3].

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
    height, width = picture.shape[:2]
    factor = camera.shrink_to / min(height, width)
    if factor < 1:
        size = round(factor * width), round(factor * height)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    # rot90 turns the other way round.
    picture = np.rot90(picture, -camera.rotate // 90)
    if camera.flip in ('horizontal', 'both'):
        picture = picture[:, ::-1]
    if camera.flip in ('vertical', 'both'):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def stack(views: Sequence[np.ndarray]) -> np.ndarray:
    """One picture of several, one below the other: uint8 [h, w, 3] each, to uint8 [n * h, w, 3].

    Raises:
        ValueError: they differ in size.
    """
    sizes = {picture.shape for picture in views}
    if len(sizes) > 1:
        texts = ', '.join(f'{width}x{height}' for height, width, _ in sorted(sizes))
        raise ValueError(
            f'views are {texts}; accepted: one size, after roi, shrink_to and rotate of each camera'
        )
    return views[0] if len(views) == 1 else np.concatenate(views)
