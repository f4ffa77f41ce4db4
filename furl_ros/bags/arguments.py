# SPDX-License-Identifier: Apache-2.0
"""What the commands that look at bags share: their arguments, the model, its heads."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from furl_ros.bags.reading import Bag
from furl_ros.core.alignment import SavedHeads, read_heads
from furl_ros.core.arm.profile import Camera
from furl_ros.core.config import VlmConfig
from furl_ros.core.run import ALIGNMENT_FILE, config_at, find_checkpoint
from furl_ros.core.settings import SettingError, from_mapping
from furl_ros.core.vlm import Scorer, load_vlm

BATCH = 16  # frames that are scored at once
TURNS, FLIPS = (0, 90, 180, 270), ('none', 'horizontal', 'vertical', 'both')


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pictures of a bag, and what is done to them first."""
    add = parser.add_argument
    add('--topic', default='', help='Topic of the pictures. Default: the only one there is.')
    add('--every', type=int, default=1, help='Take each so-many-th picture. Default: 1, all.')
    add(
        '--roi',
        type=int,
        nargs=4,
        metavar=('X', 'Y', 'WIDTH', 'HEIGHT'),
        help='Part to cut out, pixels. Default: all.',
    )
    add('--rotate', type=int, choices=TURNS, default=0, help='Degrees, clockwise. Default: 0.')
    add('--flip', choices=FLIPS, default='none', help='How to mirror. Default: none.')


def camera_of(options: argparse.Namespace) -> Camera:
    """What is done to each picture.

    Raises:
        SettingError: a value is not accepted.
    """
    if options.every < 1:
        raise SettingError(f'every is {options.every}; accepted: 1 or more')
    given = {'roi': options.roi or (), 'rotate': options.rotate, 'flip': options.flip}
    return from_mapping(Camera, given)


class Aligned:
    """Heads to score with, and what they were made for.

    Args:
        path: a run folder, one of its checkpoints, or a file that align_bag wrote.

    Raises:
        SettingError: it is none of these.
    """

    def __init__(self, path: Path) -> None:
        path = path.expanduser()
        if path.is_file():
            self.heads: SavedHeads = read_heads(path)
            about = self.heads.about
        else:
            checkpoint = find_checkpoint(path, 'heads')
            self.heads = read_heads(checkpoint / ALIGNMENT_FILE)
            about = config_at(checkpoint)
        self.prompt, self.vlm = (str(about.get(name, '')) for name in ('prompt', 'vlm'))


def load_scorer(prompt: str, vlm: str, device: str, aligned: Aligned | None) -> Scorer:
    """The model that scores, with the heads if there are any.

    Args:
        prompt, vlm: as typed; '' for those that the heads were made for.
        device: where it runs.
        aligned: the heads.

    Raises:
        SettingError: there is no prompt, the model cannot be loaded, or the heads do not fit it.
    """
    prompt = prompt or (aligned.prompt if aligned else '')
    made_for = aligned.vlm if aligned else ''
    if vlm and made_for and vlm != made_for:
        raise SettingError(f'vlm is {vlm!r}; accepted with heads made for it: {made_for!r}')
    vlm = vlm or made_for or VlmConfig.vlm
    if not prompt.strip():
        raise SettingError("prompt is ''; accepted: the task in words (--prompt)")
    scorer = Scorer(load_vlm(from_mapping(VlmConfig, {'vlm': vlm, 'device': device})), prompt)
    if aligned is not None:
        try:
            scorer.use_heads(aligned.heads.version, **aligned.heads.values)
        except ValueError as error:
            raise SettingError(f'the heads do not fit the model: {error}') from None
    return scorer


def tell_damage(bag: Bag, bad: Counter[str], read: int) -> None:
    """Say in one line what could not be read."""
    parts = list(bag.damage)
    if bad:
        reason, _ = bad.most_common(1)[0]
        parts.append(f'{bad.total()} pictures cannot be read ({reason})')
    if parts:
        more = f' and {len(parts) - 1} more' if len(parts) > 1 else ''
        print(
            f'damaged: {bag.path}: {parts[0]}{more}; {read:,} pictures were read', file=sys.stderr
        )
