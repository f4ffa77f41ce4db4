# SPDX-License-Identifier: Apache-2.0
"""From the name of a model to the model."""

import torch

from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import SettingError, check
from furl_ros.core.vlm.interface import Vlm

TINY_RANDOM = 'tiny-random'
OPEN_CLIP = 'open_clip:'
ACCEPTED = f"'{TINY_RANDOM}' or '{OPEN_CLIP}<model>/<pretrained tag, file or random>'"


def load_vlm(config: VlmConfig) -> Vlm:
    """Load the model that a configuration names, on the device it names.

    Raises:
        SettingError: a name, tag or file that is not accepted, weights that cannot be had, or a
            device that this machine lacks.
    """
    check(config)
    device = _device(config.device)
    # Checked before the import: open_clip takes seconds.
    if config.vlm == TINY_RANDOM:
        model, weights = TINY_RANDOM, 'random'
    elif config.vlm.startswith(OPEN_CLIP):
        model, _, weights = config.vlm.removeprefix(OPEN_CLIP).partition('/')
        if not model or not weights:
            raise SettingError(f'vlm is {config.vlm!r}; accepted: {ACCEPTED}')
    else:
        raise SettingError(f'vlm is {config.vlm!r}; accepted: {ACCEPTED}')

    from furl_ros.core.vlm.open_clip_model import load_open_clip

    return load_open_clip(config.vlm, model, weights, device, config.micro_batch)


def _device(name: str) -> torch.device:
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if name == 'cuda' and not torch.cuda.is_available():
        raise SettingError("device is 'cuda', but torch finds none here; accepted: auto, cpu")
    return torch.device(name)
