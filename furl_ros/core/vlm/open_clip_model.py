# SPDX-License-Identifier: Apache-2.0
"""Models built and loaded by open_clip."""

import contextlib
import difflib
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import torch
from huggingface_hub import constants as hub_constants

from furl_ros.core.settings import SettingError
from furl_ros.core.vlm import torchvision_operators
from furl_ros.core.vlm.preprocess import Preprocess

torchvision_operators.declare_if_missing()
import open_clip  # noqa: E402 (imports torchvision)
from open_clip.pretrained import (  # noqa: E402
    download_pretrained,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)

RANDOM = 'random'
# Random weights are the same in every process and on every machine with the same torch.
RANDOM_SEED = 0
# Prompts whose embedding is kept; a service may ask for any number of them.
KEPT_PROMPTS = 64
# A strip of pixels would become huge when its short side is resized to that of the model.
LONGEST_SIDE = 100
# What open_clip looks for in a repository of the hub, best first.
HUB_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')
# Seconds to wait for a first answer of the hub.
CONNECT_TIMEOUT = 10

open_clip.add_model_config(Path(__file__).parents[1] / 'model_configs')


class OpenClipVlm:
    """A frozen open_clip model behind the ``Vlm`` interface."""

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        tokenizer: Any,
        preprocess_config: dict[str, Any],
        embedding_dim: int,
        device: torch.device,
        micro_batch: int,
    ) -> None:
        """
        Args:
            name: how users call the model.
            model: with ``encode_image`` and ``encode_text``, as open_clip makes them.
            tokenizer: list of texts to token ids [B, context].
            preprocess_config: see ``Preprocess``.
            embedding_dim: E.
            device: where the model is put.
            micro_batch: most frames encoded at once.
        """
        self.name = name
        self.embedding_dim = embedding_dim
        self._device = device
        self._micro_batch = micro_batch
        self._tokenizer = tokenizer
        self._preprocess = Preprocess(preprocess_config, device)
        self.image_size = self._preprocess.size[0]
        model = model.eval().requires_grad_(False)
        self._model = model.to(device, memory_format=torch.channels_last)
        self._texts: dict[str, np.ndarray] = {}

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """See ``Vlm.encode_images``."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(
                f'frames are {frames.dtype} {list(frames.shape)}; accepted: uint8 [B, H, W, 3]'
            )
        short, long = sorted(frames.shape[1:3])
        if short < 1 or long > LONGEST_SIDE * short:
            raise ValueError(
                f'frames are {frames.shape[2]}x{frames.shape[1]}; accepted: at least 1x1, one side'
                f' at most {LONGEST_SIDE} times the other'
            )
        embeddings = np.empty((len(frames), self.embedding_dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(frames), self._micro_batch):
                part = slice(start, start + self._micro_batch)
                # torch warns about read-only arrays, which is what a ROS message gives.
                batch = torch.from_numpy(np.require(frames[part], requirements=['C', 'W']))
                images = self._preprocess(batch.to(self._device))
                embeddings[part] = self._model.encode_image(images).cpu().numpy()
        return embeddings

    def encode_text(self, text: str) -> np.ndarray:
        """See ``Vlm.encode_text``."""
        if text not in self._texts:
            with torch.inference_mode():
                tokens = self._tokenizer([text]).to(self._device)
                embedding = self._model.encode_text(tokens)[0].float().cpu().numpy()
            if len(self._texts) >= KEPT_PROMPTS:
                self._texts.pop(next(iter(self._texts)))
            self._texts[text] = embedding
        return self._texts[text].copy()


def load_open_clip(
    name: str, model: str, weights: str, device: torch.device, micro_batch: int
) -> OpenClipVlm:
    """Build an open_clip model.

    Args:
        name: how users call the whole, for messages.
        model: name of a model configuration of open_clip, or of one in ``model_configs``.
        weights: a pretrained tag of that model, a local file (safetensors, or a torch file of
            plain tensors: nothing in it is executed), or 'random'.
        device, micro_batch: see ``OpenClipVlm``.

    Raises:
        SettingError: unknown model or tag; a file that is missing, unreadable or of another model;
            weights or a tokenizer that are neither on this machine nor can be downloaded.
    """
    config = open_clip.get_model_config(model) if model in open_clip.list_models() else None
    if config is None:
        raise SettingError(f'vlm is {name!r}: open_clip has no model {model!r}; {_similar(model)}')
    tag_config = get_pretrained_cfg(model, weights)
    path = None if weights == RANDOM else _weights_path(name, model, weights, tag_config)
    with _explained(name, model, path), _own_random_numbers(), _quiet():
        built = open_clip.create_model(
            model,
            pretrained=path,
            force_preprocess_cfg=tag_config or None,
            # The tag knows which activation its weights were trained with.
            force_quick_gelu=tag_config.get('quick_gelu', False),
            pretrained_text=False,
        )
        tokenizer = open_clip.get_tokenizer(model)
    return OpenClipVlm(
        name,
        built,
        tokenizer,
        open_clip.get_model_preprocess_cfg(built),
        config['embed_dim'],
        device,
        micro_batch,
    )


def _similar(model: str) -> str:
    names = open_clip.list_models()
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(model.lower(), lower, n=5, cutoff=0.5)
    if near:
        names = ', '.join(lower[name] for name in near)
        return f'accepted: a name of open_clip.list_models(), such as {names}'
    return f'accepted: the {len(names)} names of open_clip.list_models(), for example ViT-B-32'


def _weights_path(name: str, model: str, weights: str, tag_config: dict[str, Any]) -> str:
    """Find the file of the weights; a pretrained tag is downloaded once."""
    if not tag_config:
        path = Path(weights).expanduser()
        if path.is_file():
            return str(path)
        if '/' in weights or path.suffix:
            raise SettingError(f'vlm is {name!r}: there is no file {str(path)!r}')
        tags = ', '.join([*list_pretrained_tags_by_model(model), RANDOM])
        raise SettingError(
            f'vlm is {name!r}: {model} has no weights {weights!r}; accepted: {tags}, or a file'
        )
    try:
        return _kept(tag_config) or _download(tag_config)
    except Exception as error:  # what the hub raises differs between its versions
        raise SettingError(
            f'vlm is {name!r}: these weights are not on this machine and cannot be downloaded. '
            f'Asked for: {_source(tag_config)}; looked in: {_cache(tag_config)}. '
            f'To use a file that you have: open_clip:{model}/<path of the file> '
            f'({_first_line(error)})'
        ) from error


def _kept(tag_config: dict[str, Any]) -> str | None:
    """Find earlier downloaded weights without asking the network."""
    repository, _, file = tag_config.get('hf_hub', '').rpartition('/')
    for candidate in [file] if file else HUB_FILES:
        path = huggingface_hub.try_to_load_from_cache(repository, candidate) if repository else None
        if isinstance(path, str):
            return path
    return None


def _download(tag_config: dict[str, Any]) -> str:
    if tag_config.get('hf_hub'):
        # The hub's own client tries for most of a minute before it says that there is no network.
        with contextlib.suppress(urllib.error.HTTPError):  # an answer all the same
            urllib.request.urlopen(hub_constants.ENDPOINT, timeout=CONNECT_TIMEOUT).close()
    with _quiet():
        return download_pretrained(tag_config)


def _source(tag_config: dict[str, Any]) -> str:
    hub = tag_config.get('hf_hub', '').strip('/')
    return f'{hub_constants.ENDPOINT}/{hub}' if hub else tag_config.get('url', '')


def _cache(tag_config: dict[str, Any]) -> str:
    if tag_config.get('hf_hub'):
        return hub_constants.HF_HUB_CACHE
    return str(Path('~/.cache/clip').expanduser())


@contextlib.contextmanager
def _explained(name: str, model: str, path: str | None) -> Iterator[None]:
    """Turn what open_clip raises while building a model into one line for people."""
    try:
        yield
    except Exception as error:  # pickles, safetensors, hubs and torch all have their own
        if path:
            text = f'{path!r} does not hold plain weights of {model}'
        else:
            text = f'{model} cannot be built here'
        raise SettingError(f'vlm is {name!r}: {text} ({_first_line(error)})') from error


@contextlib.contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Start from RANDOM_SEED and leave the process's random numbers where they were."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(RANDOM_SEED)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's remarks off the console; what matters arrives as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
