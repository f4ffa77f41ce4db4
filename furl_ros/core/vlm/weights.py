# SPDX-License-Identifier: Apache-2.0
"""Files with weights: where they lie, how they are downloaded, whether they are the right ones.

Nothing in a file is executed. open_clip downloads its tags from the Hugging Face hub over HTTPS and
knows no checksum of what lies there; OpenAI's own files have theirs in their address.
"""

import contextlib
import hashlib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub import constants as hub_constants

from furl_ros.core.settings import SettingError, why
from furl_ros.core.vlm.open_clip_library import pretrained

# What open_clip looks for in a repository of the hub: the weights, best first, and the model.
HUB_WEIGHTS = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')
HUB_CONFIG = 'open_clip_config.json'
# Seconds to wait for a first answer of the hub.
CONNECT_TIMEOUT = 10
# Where open_clip and OpenAI's own package put what does not come from the hub.
OPENAI_CACHE = Path('~/.cache/clip')


def tag_file(name: str, model: str, tag_config: dict[str, Any]) -> Path:
    """File of a pretrained tag of open_clip; downloaded once.

    Raises:
        SettingError: it is not on this machine and cannot be downloaded.
    """
    repository, _, file = tag_config.get('hf_hub', '').rpartition('/')
    places = [hub_constants.HF_HUB_CACHE] if repository else []
    if _openai_sha256(tag_config) or not repository:
        places.append(str(OPENAI_CACHE.expanduser()))
    try:
        path = _kept(repository, [file] if file else HUB_WEIGHTS) or _kept_openai(tag_config)
        if path is None:
            _reach_hub(repository)
            path = Path(pretrained.download_pretrained(tag_config))
        return path
    except Exception as error:  # what the hub raises differs between its versions
        asked = f'{hub_constants.ENDPOINT}/{repository}' if repository else tag_config.get('url')
        raise SettingError(
            f'vlm is {name!r}: these weights are not on this machine and cannot be downloaded. '
            f'Asked for: {asked}; looked in: {", ".join(places)}. '
            f'To use a file that you have: open_clip:{model}/<path of the file> ({why(error)})'
        ) from error


def hub_files(name: str, repository: str) -> tuple[Path, Path]:
    """Folder with the configuration and file with the weights of a model of the hub.

    Both are downloaded once; later the network is not asked.

    Raises:
        SettingError: they are not on this machine and cannot be downloaded.
    """
    try:
        config = _kept(repository, [HUB_CONFIG])
        path = _kept(repository, HUB_WEIGHTS)
        if config is None or path is None:
            _reach_hub(repository)
            config = Path(pretrained.download_pretrained_from_hf(repository, HUB_CONFIG))
            path = Path(pretrained.download_pretrained_from_hf(repository))
        return config.parent, path
    except Exception as error:  # as above
        raise SettingError(
            f'vlm is {name!r}: this model is not on this machine and cannot be downloaded. '
            f'Asked for: {hub_constants.ENDPOINT}/{repository} ({HUB_CONFIG}, and '
            f'{" or ".join(HUB_WEIGHTS)}); looked in: {hub_constants.HF_HUB_CACHE}. '
            f'To use a file that you have: open_clip:<model>/<path of the file> ({why(error)})'
        ) from error


def check_sha256(name: str, path: Path, expected: str) -> None:
    """Check that a file is, to the byte, the one that was published.

    Raises:
        SettingError: it is another one.
    """
    found = _sha256(path)
    if found != expected:
        raise SettingError(
            f'vlm is {name!r}: {str(path)!r} is damaged or of another version; its sha256 is '
            f'{found}, accepted: {expected}'
        )


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive: a program with its weights."""
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any(member.endswith('/constants.pkl') for member in archive.namelist())
    return False


def check_torchscript(name: str, path: Path, tag: dict[str, Any]) -> None:
    """Accept a TorchScript archive only where it is, to the byte, the one that OpenAI published.

    Args:
        name: how users call the model.
        path: the archive.
        tag: open_clip's description of the model's weights by OpenAI; empty where there are none.

    Raises:
        SettingError: it is another one; says how to get its weights out.
    """
    if _sha256(path) != _openai_sha256(tag):
        plain = path.with_name(path.stem + '-plain.pt')
        raise SettingError(
            f'vlm is {name!r}: {str(path)!r} is a TorchScript archive, and loading it would run '
            'the code in it; accepted: plain weights. To convert an archive that you trust: '
            f'python -c "import torch; torch.save(torch.jit.load({str(path)!r}, '
            f"map_location='cpu').state_dict(), {str(plain)!r})\""
        )


def load_plain(path: Path) -> Any:
    """Read a file of ``torch.save`` that holds tensors and plain containers only.

    Raises:
        Exception: whatever torch raises for a file that is anything else; see ``settings.why``.
    """
    if is_torchscript(path):
        raise ValueError('it is a TorchScript archive, and loading it would run the code in it')
    # Mapped, an optimizer beside the weights (twice their size) is not read.
    mmap = zipfile.is_zipfile(path)
    return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)


def _kept(repository: str, files: Sequence[str]) -> Path | None:
    """Find the first of these files that an earlier download left; the network is not asked."""
    for file in files if repository else ():
        path = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(path, str):
            return Path(path)
    return None


def _kept_openai(tag_config: dict[str, Any]) -> Path | None:
    path = OPENAI_CACHE.expanduser() / Path(tag_config.get('url', '')).name
    if path.is_file() and _sha256(path) == _openai_sha256(tag_config):
        return path
    return None


def _openai_sha256(tag_config: dict[str, Any]) -> str | None:
    """Checksum of OpenAI's own file of a tag: the last folder of its address."""
    url = tag_config.get('url', '')
    return url.split('/')[-2] if 'openaipublic' in url else None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _reach_hub(repository: str) -> None:
    """Raise an OSError soon where there is no network; the hub's own client tries for long."""
    if repository:
        with contextlib.suppress(urllib.error.HTTPError):  # an answer all the same
            urllib.request.urlopen(hub_constants.ENDPOINT, timeout=CONNECT_TIMEOUT).close()
