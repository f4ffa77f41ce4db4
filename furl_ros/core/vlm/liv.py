# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of LIV (arXiv 2306.00958): CLIP RN50 with both towers trained further.

LIV's training saves ``{'liv': state dict, 'optimizer': ..., 'global_step': ...}``. All its weights
are those of OpenAI's CLIP class, its attribute ``model``: ``model.visual.conv1.weight`` and so on,
in float16 where it was trained on a GPU. The published file was saved from within DataParallel,
which puts ``module.`` before each name.
"""

import logging
from pathlib import Path

import torch

from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import explained
from furl_ros.core.vlm import weights
from furl_ros.core.vlm.open_clip_model import OpenClipVlm, build
from furl_ros.core.vlm_names import local_file

# OpenAI's RN50 with OpenAI's activation; 224 pixels, CLIP's mean and deviation, embeddings 1024-d.
MODEL = 'RN50-quickgelu'
ENTRY = 'liv'
PREFIXES = ('module.model.', 'model.')
LAYOUT = (
    f"a file of torch.save with {{'{ENTRY}': state dict}}, whose keys are those of CLIP after "
    f'{" or ".join(map(repr, PREFIXES))}'
)

_logger = logging.getLogger(__name__)


def load_liv(file: str, config: VlmConfig) -> OpenClipVlm:
    """Build LIV from a checkpoint; nothing in the file is executed.

    Args:
        file: path of the checkpoint.
        config: see ``OpenClipVlm``.

    Raises:
        SettingError: the file is missing, cannot be read without running code, or holds something
            else.
    """
    name = config.vlm
    path = local_file(name, file)
    state = clip_weights(name, path)

    def load(model: torch.nn.Module) -> None:
        text = f'vlm is {name!r}: {str(path)!r} does not fit {MODEL}; accepted: all of its weights'
        with explained(text):
            model.load_state_dict(state)

    return build(MODEL, load, config, {})


def clip_weights(name: str, path: Path) -> dict[str, torch.Tensor]:
    """Read CLIP's part of a checkpoint of LIV, by CLIP's names.

    The optimizer and the step beside it are of no use here. Other weights beside CLIP's (LIV has
    none; a model derived from it might, for example in a head) have no part in the embeddings of
    pictures and texts: they are left out, and a log line says so.

    Raises:
        SettingError: the file has another layout, or cannot be read without running code.
    """
    refused = f'vlm is {name!r}: {str(path)!r} is no checkpoint of LIV; accepted: {LAYOUT}'
    with explained(refused):
        checkpoint = weights.load_plain(path)
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(ENTRY), dict):
            raise ValueError(f'it has no state dict {ENTRY!r}')
        saved = {str(key): value for key, value in checkpoint[ENTRY].items()}
        found = [prefix for prefix in PREFIXES if any(key.startswith(prefix) for key in saved)]
        if not found:
            raise ValueError(f'its keys are such as {next(iter(saved), None)!r}')
    beside = [key for key in saved if not key.startswith(found[0])]
    if beside:
        _logger.warning('%s: %d weights beside CLIP are not used: %s', name, len(beside), beside[0])
    return {key.removeprefix(found[0]): value for key, value in saved.items() if key not in beside}
