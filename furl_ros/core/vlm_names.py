# SPDX-License-Identifier: Apache-2.0
"""Names of vision-language models, checked without the libraries that load them.

A launch checks them, too, before it starts anything; torch and open_clip take seconds to import.
"""

import difflib
import importlib.util
import re
from pathlib import Path

from furl_ros.core.settings import SettingError

FURL_TINY = 'furl-tiny'
TINY_RANDOM = 'tiny-random'
OPEN_CLIP = 'open_clip'
LIV = 'liv'
HUB = 'hf-hub'
NAMES = re.compile(
    rf'{FURL_TINY}|{TINY_RANDOM}|{OPEN_CLIP}:[^/]+/.+|{LIV}:.+|{HUB}:[\w.-]+/[\w.-]+'
)
ACCEPTED = (
    f"'{FURL_TINY}', '{TINY_RANDOM}', '{OPEN_CLIP}:<model>/<pretrained tag, file or random>', "
    f"'{LIV}:<file>' or '{HUB}:<organisation>/<repository>'"
)
MODEL_CONFIGS = Path(__file__).parent / 'model_configs'
"""This package's own models, which are added to those of open_clip."""


def check_name(name: str) -> None:
    """Check the name of a model as far as that goes without loading anything.

    What is left to the loading: tags of weights, what files hold, and what must be downloaded.

    Raises:
        SettingError: a name of another form, a model that open_clip does not know, or a file that
            is not there.
    """
    if not NAMES.fullmatch(name):
        raise SettingError(f'vlm is {name!r}; accepted: {ACCEPTED}')
    kind, _, rest = name.partition(':')
    if kind == LIV:
        local_file(name, rest)
    elif kind == OPEN_CLIP:
        model, _, weights = rest.partition('/')
        if model not in open_clip_models():
            raise SettingError(
                f'vlm is {name!r}: open_clip has no model {model!r}; {_similar(model)}'
            )
        if is_file_name(weights):
            local_file(name, weights)


def open_clip_models() -> list[str]:
    """Names of the models that open_clip can build, as ``open_clip.list_models()`` gives them."""
    library = Path(importlib.util.find_spec('open_clip').origin).parent / 'model_configs'
    paths = [*library.glob('*.json'), *MODEL_CONFIGS.glob('*.json')]
    return sorted({path.stem for path in paths})


def is_file_name(weights: str) -> bool:
    """Whether weights of open_clip are meant to be a file, rather than a pretrained tag."""
    path = Path(weights).expanduser()
    return '/' in weights or bool(path.suffix) or path.is_file()


def local_file(name: str, file: str) -> Path:
    """Path of a file that somebody named in ``vlm``.

    Raises:
        SettingError: there is no such file.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise SettingError(
            f'vlm is {name!r}: there is no file {str(path)!r}; accepted: the path of a file'
        )
    return path


def _similar(model: str) -> str:
    names = open_clip_models()
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(model.lower(), lower, n=5, cutoff=0.5)
    if near:
        names = ', '.join(lower[name] for name in near)
        return f'accepted: a name of open_clip.list_models(), such as {names}'
    return f'accepted: the {len(names)} names of open_clip.list_models(), for example ViT-B-32'
