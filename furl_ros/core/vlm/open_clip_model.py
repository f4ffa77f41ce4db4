# SPDX-License-Identifier: Apache-2.0
"""Models built and loaded by open_clip."""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import SettingError, explained
from furl_ros.core.vlm import weights as weight_files
from furl_ros.core.vlm.frozen import freeze, pack
from furl_ros.core.vlm.open_clip_library import open_clip, pretrained
from furl_ros.core.vlm.preprocess import Preprocess
from furl_ros.core.vlm_names import is_file_name, local_file

RANDOM = 'random'
# Random weights are the same in every process and on every machine with the same torch.
RANDOM_SEED = 0
# Prompts whose embedding is kept; a service may ask for any number of them.
KEPT_PROMPTS = 64
# A strip of pixels would become huge when its short side is resized to that of the model.
LONGEST_SIDE = 100
# Numbers that OpenAI's state dicts carry beside the weights; they follow from the weights' shapes.
OPENAI_NUMBERS = ('input_resolution', 'context_length', 'vocab_size')
# Random numbers, logging and warnings are the whole process's: one model is built at a time.
_BUILDING = threading.Lock()


class OpenClipVlm:
    """A frozen open_clip model behind the ``Vlm`` interface."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        preprocess_config: dict[str, Any],
        embedding_dim: int,
        config: VlmConfig,
    ) -> None:
        """
        Args:
            model: with ``encode_image`` and ``encode_text``, as open_clip makes them; it is
                rewritten for inference (see ``freeze``).
            tokenizer: list of texts to token ids [B, context].
            preprocess_config: see ``Preprocess``.
            embedding_dim: E.
            config: how users call the model, where it is put ('cpu' or 'cuda'), what it computes
                with, and how many frames at once.
        """
        self.name = config.vlm
        self.embedding_dim = embedding_dim
        self.device = config.device
        self._dtype = getattr(torch, config.precision)
        self._micro_batch = config.micro_batch
        self._tokenizer = tokenizer
        self._preprocess = Preprocess(preprocess_config, torch.device(config.device))
        self.image_size = self._preprocess.size[0]
        freeze(model)
        # A GPU convolves float32 faster by planes: 15 % of the time of CLIP's residual networks.
        planes = config.device == 'cuda' and self._dtype == torch.float32
        self._layout = torch.contiguous_format if planes else torch.channels_last
        self._model = model.to(config.device, memory_format=self._layout)
        # For the whole process: a GPU would otherwise round the convolutions of float32 to TF32.
        torch.backends.cudnn.allow_tf32 = False
        # The text is encoded once a prompt: nothing is to be gained there.
        self._model.visual.to(self._dtype)
        if config.device == 'cpu' and self._dtype == torch.float32:
            pack(self._model, self._preprocess.size)
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
                images = self._preprocess(batch.to(self.device))
                images = images.to(self._dtype, memory_format=self._layout)
                embeddings[part] = self._model.encode_image(images).float().cpu().numpy()
        return embeddings

    def encode_text(self, text: str) -> np.ndarray:
        """See ``Vlm.encode_text``."""
        if text not in self._texts:
            with torch.inference_mode():
                tokens = self._tokenizer([text]).to(self.device)
                embedding = self._model.encode_text(tokens)[0].float().cpu().numpy()
            if len(self._texts) >= KEPT_PROMPTS:
                self._texts.pop(next(iter(self._texts)))
            self._texts[text] = embedding
        return self._texts[text].copy()


def load_open_clip(model: str, weights: str, config: VlmConfig) -> OpenClipVlm:
    """Build a model that open_clip knows by name.

    Args:
        model: name of a model configuration of open_clip, or of one in ``model_configs``.
        weights: a pretrained tag of that model, a local file (safetensors, or a torch file of
            plain tensors: nothing in it is executed), or 'random'.
        config: see ``OpenClipVlm``.

    Raises:
        SettingError: unknown tag; a file that is missing, unreadable or of another model;
            weights or a tokenizer that are neither on this machine nor can be downloaded.
    """
    name = config.vlm
    if weights == RANDOM:
        return build(model, lambda built: None, config, {})
    tag = pretrained.get_pretrained_cfg(model, weights)
    if tag:
        path = weight_files.tag_file(name, _with_activation(model, tag), tag)
    else:
        _check_names_file(name, model, weights)
        path = local_file(name, weights)
    if weight_files.is_torchscript(path):
        # Whatever name the file came by, it is OpenAI's or it will be refused.
        tag = pretrained.get_pretrained_cfg(model, 'openai')

    def load(built: torch.nn.Module) -> None:
        load_weights(name, model, built, path, tag)

    return build(model, load, config, tag)


def load_hub(repository: str, config: VlmConfig) -> OpenClipVlm:
    """Build a model of the Hugging Face hub that was published for open_clip.

    Args:
        repository: '<organisation>/<repository>'.
        config: see ``OpenClipVlm``; its ``vlm`` is 'hf-hub:' and the repository, which open_clip
            accepts too.

    Raises:
        SettingError: it is neither on this machine nor can be downloaded, or cannot be built.
    """
    name = config.vlm
    folder, path = weight_files.hub_files(name, repository)
    # The same model by another name, by which open_clip need not ask the network again.
    model = f'local-dir:{folder}'

    def load(built: torch.nn.Module) -> None:
        load_weights(name, name, built, path, {})

    return build(model, load, config, {})


def build(
    model: str, load: Callable[[torch.nn.Module], None], config: VlmConfig, tag: dict[str, Any]
) -> OpenClipVlm:
    """Build a model with random weights and load its own into it.

    Args:
        model: by which open_clip finds its configuration.
        load: puts the weights into the model.
        config: see ``OpenClipVlm``.
        tag: open_clip's description of the weights, with the preprocessing and the activation that
            they were trained with; empty where those are the model's own.

    Raises:
        SettingError: the model or its tokenizer cannot be built here, or what ``load`` raises.
    """
    name = config.vlm
    with _BUILDING, _own_random_numbers(), _quiet():
        with explained(f'vlm is {name!r}: it cannot be built here'):
            layout = open_clip.get_model_config(model)
            built = open_clip.create_model(
                model,
                load_weights=False,
                force_preprocess_cfg=tag or None,
                force_quick_gelu=tag.get('quick_gelu', False),
                pretrained_text=False,
            )
            # In a local folder open_clip looks for a tokenizer of the hub too; it lies elsewhere.
            on_hub = name.startswith(open_clip.factory.HF_HUB_PREFIX)
            elsewhere = on_hub and layout['text_cfg'].get('hf_tokenizer_name')
            tokenizer = open_clip.get_tokenizer(name if elsewhere else model)
        quick_gelu = layout.get('quick_gelu', False) or tag.get('quick_gelu', False)
        hook = built.register_load_state_dict_pre_hook(_drop_openai_numbers(name, quick_gelu))
        load(built)
        hook.remove()
    preprocess_config = open_clip.get_model_preprocess_cfg(built)
    return OpenClipVlm(built, tokenizer, preprocess_config, layout['embed_dim'], config)


def load_weights(
    name: str, model: str, built: torch.nn.Module, path: Path, tag: dict[str, Any]
) -> None:
    """Load a file of weights into a model, strictly; float16 is widened.

    Args:
        name: how users call the whole, for messages.
        model: what the weights should be of, for messages.
        built: the model.
        path: safetensors, or a torch file of plain tensors; OpenAI's own TorchScript archive.
        tag: open_clip's description of the weights; it knows the checksum of that archive.

    Raises:
        SettingError: the file cannot be read without running code, or is of another model.
    """
    refused = f'vlm is {name!r}: {str(path)!r} does not hold plain weights of {model}'
    with explained(f'{refused}; accepted: its state dict, safetensors or torch.save'):
        if weight_files.is_torchscript(path):
            weight_files.check_torchscript(name, path, tag)
            built.load_state_dict(torch.jit.load(path, map_location='cpu').state_dict())
        else:
            open_clip.load_checkpoint(built, str(path))


def _drop_openai_numbers(name: str, quick_gelu: bool) -> Callable[..., None]:
    """Make a hook that takes OPENAI_NUMBERS out of a state dict that is about to be loaded.

    They show who made the weights: OpenAI trained with an activation of its own, which must be that
    of the model, or the embeddings would be wrong without a word.
    """

    def hook(module: torch.nn.Module, state: dict[str, Any], *rest: object) -> None:
        numbers = [key for key in OPENAI_NUMBERS if key in state]
        if numbers and not quick_gelu:
            raise SettingError(
                f'vlm is {name!r}: these are weights of OpenAI, trained with QuickGELU, which this '
                'model lacks; accepted: open_clip:<model>-quickgelu/<file>'
            )
        for key in numbers:
            del state[key]

    return hook


def _with_activation(model: str, tag: dict[str, Any]) -> str:
    """Name of the model to load a tag's file into: a file does not tell its activation."""
    variant = f'{model}-quickgelu'
    return variant if tag.get('quick_gelu') and variant in open_clip.list_models() else model


def _check_names_file(name: str, model: str, weights: str) -> None:
    """Refuse what looks like a mistyped tag rather than like a file."""
    if not is_file_name(weights):
        tags = ', '.join([*pretrained.list_pretrained_tags_by_model(model), RANDOM])
        raise SettingError(
            f'vlm is {name!r}: {model} has no weights {weights!r}; accepted: {tags}, or a file'
        )


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
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
