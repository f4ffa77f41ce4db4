# SPDX-License-Identifier: Apache-2.0
"""open_clip's picture preprocessing for inference, on whole batches of tensors.

open_clip resizes PIL pictures one by one. Here a batch of uint8 frames goes through torch's
antialiased resize, which rounds as PIL does: pixels differ by at most two of 255 levels.
"""

from typing import Any

import torch
import torch.nn.functional as F

PIXEL_MAX = 255


def resize_by_floats(pixels: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """What torch's resize of bytes gives on the CPU, for devices that can only resize floats.

    As there, rows are resized before columns, and what lies between them is bytes, too: without
    that, pixels of sharp pictures differ by up to 20 levels.

    Args:
        pixels: bytes [B, C, H, W].
        size: height and width to resize to.
        mode: 'bicubic' or 'bilinear'.

    Returns:
        Whole numbers 0 to 255, float32 [B, C, h, w].
    """
    for target in ((pixels.shape[2], size[1]), size):
        pixels = F.interpolate(pixels.float(), target, mode=mode, antialias=True)
        # Halves up, as there; torch.round takes them to even numbers.
        pixels = pixels.add_(0.5).floor_().clamp_(0, PIXEL_MAX)
    return pixels


class Preprocess:
    """Frames uint8 [B, H, W, 3] to what a model expects: float32 [B, 3, h, w], channels last."""

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        """
        Args:
            config: open_clip's preprocess configuration of the model: size (int or height, width),
                mean and std (of colours in 0 to 1), interpolation ('bicubic' or 'bilinear'),
                resize_mode ('shortest', 'longest' or 'squash'), fill_color (0 to 255).
            device: where the frames will be.
        """
        size = config['size']
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)
        self._resize_mode = config['resize_mode']
        self._interpolation = 'bilinear' if config['interpolation'] == 'bilinear' else 'bicubic'
        self._fill_color = config['fill_color']
        mean = torch.tensor(config['mean'], device=device).view(3, 1, 1)
        std = torch.tensor(config['std'], device=device).view(3, 1, 1)
        # (x / 255 - mean) / std as one multiplication and one addition.
        self._scale = 1 / (PIXEL_MAX * std)
        self._shift = -mean / std

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        # NHWC seen as NCHW is channels last as it lies in memory: nothing is copied.
        pixels = frames.permute(0, 3, 1, 2)
        if pixels.shape[2:] != self.size:
            pixels = self._fit(self._resize(pixels))
        pixels = pixels.to(torch.float32, memory_format=torch.channels_last)
        return pixels.mul_(self._scale).add_(self._shift)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize, before cropping or padding to the final size."""
        to_height, to_width = self.size
        if self._resize_mode == 'squash':
            return self.size
        if self._resize_mode == 'shortest' and to_height == to_width:
            # Rounded down, as torchvision's Resize does, which open_clip uses for square models.
            short = min(height, width)
            return to_height * height // short, to_width * width // short
        choose = max if self._resize_mode == 'longest' else min
        ratio = choose(height / to_height, width / to_width)
        return round(height / ratio), round(width / ratio)

    def _resize(self, pixels: torch.Tensor) -> torch.Tensor:
        size = self._resized(*pixels.shape[2:])
        if pixels.shape[2:] == size:
            return pixels
        if pixels.device.type == 'cpu':
            return F.interpolate(pixels, size, mode=self._interpolation, antialias=True)
        return resize_by_floats(pixels, size, self._interpolation)

    def _fit(self, pixels: torch.Tensor) -> torch.Tensor:
        """Cut the centre out of what is too large, fill up what is too small."""
        height, width = self.size
        missing_y = max(0, height - pixels.shape[2])
        missing_x = max(0, width - pixels.shape[3])
        if missing_y or missing_x:
            edges = (
                missing_x // 2,
                missing_x - missing_x // 2,
                missing_y // 2,
                missing_y - missing_y // 2,
            )
            pixels = F.pad(pixels, edges, value=self._fill_color)
        top = round((pixels.shape[2] - height) / 2)
        left = round((pixels.shape[3] - width) / 2)
        return pixels[:, :, top : top + height, left : left + width]
