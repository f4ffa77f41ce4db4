# SPDX-License-Identifier: Apache-2.0
"""The annotated picture: what the robot sees, what the model thinks of it, and who is acting."""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

SIZE = (640, 400)
"""Width and height that the layout is made for; all larger and smaller ones are scaled from it."""
SMALLEST = (160, 100)
STRIP_HEIGHT = 94  # of the page

GROUND, PAPER, INK, FAINT = (18, 21, 27), (32, 37, 46), (236, 239, 244), (128, 136, 150)
RAW, ALIGNED, SUCCESS = (240, 168, 60), (84, 170, 255), (92, 204, 110)
AGENTS: dict[str, Colour] = {
    'random': (128, 136, 150),
    'relay': (190, 130, 240),
    'vlm': (84, 170, 255),
    'sac': (240, 110, 110),
    'eval': (92, 204, 110),
}
"""Colour of who acts; others are drawn like 'random'."""
SMALLEST_SPAN = 0.02  # of the strip's axis: noise of a constant reward stays small
FIRST_SPAN = 50  # steps that an empty strip has room for


class Moment(NamedTuple):
    """One step of the episode, as people see it.

    Attributes:
        step: of the episode; 0 right after the reset.
        cosine: of picture and prompt, in [-1, 1]; NaN where the frame could not be scored.
        reward: of the frame through the heads, in [-1, 1]; NaN likewise.
        success: the task is solved in this state.
        agent: who acts: 'random', 'relay', 'vlm', 'sac', 'eval'; '' where nobody knows.
        heads_version: of the heads that made the reward.
    """

    step: int
    cosine: float
    reward: float
    success: bool
    agent: str
    heads_version: int


def annotated(
    frame: np.ndarray, prompt: str, moments: Sequence[Moment], size: tuple[int, int] = SIZE
) -> np.ndarray:
    """Draw a frame with the prompt, its rewards as bars and the episode so far as a strip.

    The bars go from -1 to 1. The axis of the strip fits the rewards of the episode, since cosines
    of one scene are much alike, and says its ends.

    Args:
        frame: uint8 [H, W, 3], RGB.
        prompt: the task in words.
        moments: of the episode so far, the last one being that of the frame; may be empty.
        size: width and height of the result in pixels.

    Returns:
        uint8 [size[1], size[0], 3], RGB.

    Raises:
        ValueError: for a frame of another form, or a size below 160 x 100.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise ValueError(f'frame is {frame.dtype} {frame.shape}; accepted: uint8 [H, W, 3]')
    if size[0] < SMALLEST[0] or size[1] < SMALLEST[1]:
        raise ValueError(f'size is {size}; accepted: {SMALLEST} or more')
    page = _Page(size)
    width, height = page.width, page.height
    page.text((12, 6), prompt, 17, INK, width - 24)
    strip_top = height - STRIP_HEIGHT - 10
    camera = (12, 34, 12 + min(strip_top - 44, width / 2), strip_top - 10)
    page.picture(camera, frame)
    _draw_now(page, (camera[2] + 16, 34, width - 12), moments)
    span = _round_up(max(FIRST_SPAN, moments[-1].step if moments else 0))
    _draw_strip(page, (12, strip_top, width - 12, height - 10), moments, span)
    return np.asarray(page.image)


def strip(moments: Sequence[Moment], size: tuple[int, int]) -> np.ndarray:
    """The rewards of a whole episode alone, as ``annotated`` draws them below the frame.

    Args:
        moments: of the episode; may be empty.
        size: width and height of the result in pixels.

    Returns:
        uint8 [size[1], size[0], 3], RGB.
    """
    page = _Page(size, SIZE[1] / STRIP_HEIGHT)
    span = moments[-1].step if moments else FIRST_SPAN
    _draw_strip(page, (0, 0, page.width, page.height), moments, span)
    return np.asarray(page.image)


class _Page:
    """Draws in the units of a page that is 400 high.

    Args:
        size: width and height of the picture in pixels.
        share: how many times higher the whole page would be.
    """

    def __init__(self, size: tuple[int, int], share: float = 1.0) -> None:
        self.scale = min(size[0] / SIZE[0], share * size[1] / SIZE[1])
        self.width, self.height = size[0] / self.scale, size[1] / self.scale
        self.image = Image.new('RGB', size, GROUND)
        self._draw = ImageDraw.Draw(self.image)

    def _pixels(self, numbers: Sequence[float]) -> list[int]:
        return [round(number * self.scale) for number in numbers]

    def text(
        self, at: tuple[float, float], text: str, height: float, colour: Colour, room: float
    ) -> None:
        """Write one line from its upper left; what has no room is left out, and dots say so."""
        font = _font(max(6, round(height * self.scale)))
        text = ' '.join(text.split())
        if font.getlength(text) > room * self.scale:
            while text and font.getlength(text + '...') > room * self.scale:
                text = text[:-1]
            text += '...'
        self._draw.text(self._pixels(at), text, colour, font)

    def box(self, box: Sequence[float], colour: Colour) -> None:
        """Fill a rectangle: left, top, right, bottom."""
        left, top, right, bottom = self._pixels(box)
        self._draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), colour)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """Join points by lines; a single point becomes a dot."""
        if len(points) == 1:
            points = [points[0], (points[0][0] + width, points[0][1])]
        pixels = [(x * self.scale, y * self.scale) for x, y in points]
        self._draw.line(pixels, colour, max(1, round(width * self.scale)), 'curve')

    def picture(self, box: Sequence[float], frame: np.ndarray) -> None:
        """Put a picture into a box: as large as it fits, its shape kept."""
        left, top, right, bottom = self._pixels(box)
        scale = min((right - left) / frame.shape[1], (bottom - top) / frame.shape[0])
        size = [max(1, round(side * scale)) for side in frame.shape[1::-1]]
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        self.box(box, PAPER)
        self.image.paste(
            Image.fromarray(cv2.resize(frame, size, interpolation=kind)),
            ((left + right - size[0]) // 2, (top + bottom - size[1]) // 2),
        )


def _draw_now(page: _Page, place: tuple[float, float, float], moments: Sequence[Moment]) -> None:
    """The rewards of the newest frame as bars, and what else is known of it."""
    left, top, right = place
    room = right - left
    if not moments:
        page.text((left, top), 'no step yet', 16, FAINT, room)
        return
    now = moments[-1]
    for row, (label, value, colour) in enumerate(
        (('raw', now.cosine, RAW), ('aligned', now.reward, ALIGNED))
    ):
        y = top + 52 * row
        page.text((left, y), label, 15, colour, room / 2)
        number = f'{value:+.3f}' if math.isfinite(value) else 'not scored'
        page.text((left + room / 2, y), number, 15, INK, room / 2)
        middle = left + room / 2
        page.box((left, y + 22, right, y + 36), PAPER)
        if math.isfinite(value):
            end = middle + min(1, max(-1, value)) * room / 2
            page.box((min(middle, end), y + 22, max(middle, end), y + 36), colour)
        page.box((middle - 0.5, y + 20, middle + 0.5, y + 38), FAINT)
    y = top + 114
    page.box((left, y + 3, left + 14, y + 17), AGENTS.get(now.agent, FAINT))
    page.text((left + 22, y), f'{now.agent or "somebody"} acts', 16, INK, room - 22)
    so_far = any(moment.success for moment in moments)
    page.box((left, y + 31, left + 14, y + 45), SUCCESS if so_far else PAPER)
    said = 'success' if now.success else 'success before' if so_far else 'no success yet'
    page.text((left + 22, y + 28), said, 16, SUCCESS if so_far else FAINT, room - 22)
    page.text((left, y + 60), f'step {now.step:,}', 14, FAINT, room)
    page.text((left, y + 82), f'heads {now.heads_version:,}', 14, FAINT, room)


def _draw_strip(
    page: _Page,
    place: tuple[float, float, float, float],
    moments: Sequence[Moment],
    span: int,
) -> None:
    """The rewards of the episode so far as lines, above a band that says who acted.

    ``span`` is how many steps there is room for.
    """
    left, top, right, bottom = place
    label, band = 46, 8
    page.box((left, top, right, bottom - band - 3), PAPER)
    if not moments:
        return
    start, end = left + label, right
    span = max(1, span)
    values = np.array([(moment.cosine, moment.reward) for moment in moments], np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    slack = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    low, high = low - slack, high + slack
    upper, lower = top + 6, bottom - band - 9
    x = start + (end - start) * np.array([moment.step for moment in moments]) / span
    if finite.size:
        page.text((left + 3, upper - 4), f'{high:+.2f}', 12, FAINT, label)
        page.text((left + 3, lower - 12), f'{low:+.2f}', 12, FAINT, label)
    wide = max((end - start) / span, 1.0)
    for at, moment in zip(x, moments, strict=True):
        if moment.success:
            page.box((at, top, min(end, at + wide), bottom - band - 3), (38, 74, 48))
        colour = AGENTS.get(moment.agent, FAINT)
        page.box((at, bottom - band, min(end, at + wide), bottom), colour)
    for column, colour in ((0, RAW), (1, ALIGNED)):
        y = lower - (lower - upper) * (values[:, column] - low) / (high - low)
        for piece in np.ma.clump_unmasked(np.ma.masked_invalid(y)):
            page.line(list(zip(x[piece], y[piece], strict=True)), colour, 1.6)


def _round_up(steps: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ...: an axis that stands still most of the time."""
    decade = 10 ** (len(str(steps)) - 1)
    return next(n * decade for n in (1, 2, 5, 10) if n * decade >= steps)


@lru_cache(maxsize=32)
def _font(height: int) -> ImageFont.FreeTypeFont:
    # Prompts may be in any language: this one has more letters than Pillow's own.
    file = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
    return ImageFont.truetype(str(file), height)
