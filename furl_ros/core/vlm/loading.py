# SPDX-License-Identifier: Apache-2.0
"""From the name of a model to the model."""

import dataclasses
from pathlib import Path

import torch

from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import SettingError, check
from furl_ros.core.vlm.interface import Vlm
from furl_ros.core.vlm_names import (
    FURL_TINY,
    HUB,
    LIV,
    OPEN_CLIP,
    TINY_RANDOM,
    check_name,
    local_file,
)

FURL_TINY_WEIGHTS = Path(__file__).parents[1] / 'weights' / 'furl-tiny.safetensors'
# Checksum of that file: no other weights go by this name.
FURL_TINY_SHA256 = '52b38db9f6433f1d83dc436252336dd0337eb1fcd706c85bb520356d9511e2c1'


def load_vlm(config: VlmConfig) -> Vlm:
    """Load the model that a configuration names, on the device it names.

    Raises:
        SettingError: a name, tag or file that is not accepted, weights that cannot be had, or a
            device that this machine lacks.
    """
    check(config)
    name = config.vlm
    # Checked before the imports: open_clip takes seconds.
    check_name(name)
    config = dataclasses.replace(config, device=_device(config.device))

    from furl_ros.core.vlm.liv import load_liv
    from furl_ros.core.vlm.open_clip_model import RANDOM, load_hub, load_open_clip
    from furl_ros.core.vlm.weights import check_sha256

    kind, _, rest = name.partition(':')
    if kind == LIV:
        return load_liv(rest, config)
    if kind == HUB:
        return load_hub(rest, config)
    if kind == OPEN_CLIP:
        model, _, weights = rest.partition('/')
    elif name == FURL_TINY:
        path = local_file(name, str(FURL_TINY_WEIGHTS))
        check_sha256(name, path, FURL_TINY_SHA256)
        model, weights = FURL_TINY, str(path)
    else:
        model, weights = TINY_RANDOM, RANDOM
    return load_open_clip(model, weights, config)


def _device(name: str) -> str:
    if name == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise SettingError("device is 'cuda', but torch finds none here; accepted: auto, cpu")
    return name
