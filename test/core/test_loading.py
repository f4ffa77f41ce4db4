# SPDX-License-Identifier: Apache-2.0
"""Names of models, and the files, downloads and checksums behind them."""

import copy
import functools
import hashlib
import io
import json
import os
import pickle
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import SettingError
from furl_ros.core.vlm import cosine, load_vlm, loading, open_clip_model, weights
from furl_ros.core.vlm.open_clip_library import open_clip

PROMPT = 'open a drawer'
# Of TorchScript.
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')


def load(name):
    return load_vlm(VlmConfig(vlm=name, device='cpu'))


def refused(name, text):
    """Loading it is refused in one line, which names it and matches the text."""
    with pytest.raises(SettingError, match=text) as caught:
        load(name)
    assert name in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def pictures(count, height, width):
    """Smooth random pictures: resizing noise would compare roundings only."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height))) for c in coarse])


def random_model(name='tiny-random', **options):
    torch.manual_seed(1)
    return open_clip.create_model(name, **options).eval()


def images_of(model, frames):
    """Embeddings that open_clip alone computes."""
    config = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    with torch.no_grad():
        batch = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
        return model.encode_image(batch).numpy()


def assert_same(vlm, model, tokenizer='tiny-random'):
    """The embeddings are those that open_clip alone computes from a picture of the model's size."""
    frames = pictures(2, vlm.image_size, vlm.image_size)
    with torch.no_grad():
        text = model.encode_text(open_clip.get_tokenizer(tokenizer)([PROMPT]))[0].numpy()
    np.testing.assert_allclose(vlm.encode_images(frames), images_of(model, frames), atol=1e-5)
    np.testing.assert_allclose(vlm.encode_text(PROMPT), text, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('clip', "accepted: 'furl-tiny', 'tiny-random', 'open_clip:<model>/<pretrained tag, file"),
        ('tiny-random:', 'accepted:'),
        ('open_clip:ViT-B-32', 'accepted:'),
        ('open_clip:ViT-B-32/', 'accepted:'),
        ('liv:', "accepted: .*'liv:<file>'"),
        ('hf-hub:alone', "accepted: .*'hf-hub:<organisation>/<repository>'"),
        ('hf-hub:a/b/c', 'accepted:'),
        ('open_clip:vit-b32/openai', "no model 'vit-b32'; accepted: .*such as ViT-B-32,"),
        ('open_clip:qqqq/openai', r'no model .* open_clip.list_models\(\)'),
        ('open_clip:ViT-B-32/openay', "no weights 'openay'; accepted: openai, .*, random, or a"),
        ('open_clip:tiny-random/x.pt', "there is no file 'x.pt'"),
        ('open_clip:tiny-random//no/such.safetensors', "there is no file '/no/such.safetensors'"),
    ],
)
def test_wrong_names_say_what_is_accepted(name, text):
    assert 'accepted: ' in refused(name, text)


@pytest.mark.parametrize('suffix', ['safetensors', 'pt'])
def test_local_weights_give_open_clips_embeddings(tmp_path, suffix):
    model = random_model()
    path = tmp_path / f'weights.{suffix}'
    if suffix == 'pt':
        torch.save({'state_dict': model.state_dict()}, path)
    else:
        save_file(model.state_dict(), path)
    loaded = load(f'open_clip:tiny-random/{path}')
    assert_same(loaded, model)
    frames = pictures(3, 240, 320)
    assert np.min(cosine(loaded.encode_images(frames), images_of(model, frames))) > 0.9999


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize('name', ['open_clip:tiny-random/', 'liv:'])
@pytest.mark.parametrize('save', [torch.save, functools.partial(pickle.dump, protocol=2)])
def test_weights_are_never_executed(tmp_path, name, save):
    file = tmp_path / 'trap.pt'
    with file.open('wb') as opened:
        save({'liv': Trap(tmp_path / 'sprung')}, opened)
    refused(f'{name}{file}', 'accepted: .*reading it would run code: posix.mkdir')
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', bytes(1000)])
def test_files_of_another_kind_are_refused(tmp_path, content):
    file = tmp_path / 'other.pt'
    file.write_bytes(content)
    refused(f'open_clip:tiny-random/{file}', 'does not hold plain weights of tiny-random; accepted')


def test_file_of_another_model_is_refused(tmp_path):
    path = tmp_path / 'other.pt'
    torch.save({'some.weight': torch.zeros(3)}, path)
    text = refused(f'open_clip:tiny-random/{path}', 'not hold plain weights of tiny-random')
    assert 'Missing key(s) in state_dict: "' in text, 'why'


@pytest.fixture
def furl_tiny(tmp_path, monkeypatch):
    """A file of float16 weights in the place of the package's, with its checksum, and its model."""
    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in random_model('furl-tiny').state_dict().items()
    }
    path = tmp_path / 'furl-tiny.safetensors'
    save_file(half, path)
    monkeypatch.setattr(loading, 'FURL_TINY_WEIGHTS', path)
    monkeypatch.setattr(loading, 'FURL_TINY_SHA256', hashlib.sha256(path.read_bytes()).hexdigest())
    model = random_model('furl-tiny')
    model.load_state_dict(half)
    return model


def test_furl_tiny(furl_tiny):
    vlm = load('furl-tiny')
    assert (vlm.name, vlm.embedding_dim) == ('furl-tiny', 256)
    assert vlm.encode_text(PROMPT).dtype == vlm.encode_images(pictures(1, 96, 96)).dtype
    assert_same(vlm, furl_tiny, 'furl-tiny')


def test_furl_tiny_with_another_checksum_is_refused(furl_tiny):
    path = loading.FURL_TINY_WEIGHTS
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    refused('furl-tiny', f'damaged .* its sha256 is .* accepted: {loading.FURL_TINY_SHA256}')
    path.unlink()
    refused('furl-tiny', f'there is no file {str(path)!r}')


OPENAI_NUMBERS = {
    'input_resolution': torch.tensor(112),
    'context_length': torch.tensor(77),
    'vocab_size': torch.tensor(49408),
}


def test_openais_weights_need_openais_activation(tmp_path):
    path = tmp_path / 'openai.pt'
    torch.save(random_model().state_dict() | OPENAI_NUMBERS, path)
    refused(f'open_clip:tiny-random/{path}', 'QuickGELU.*accepted: open_clip:<model>-quickgelu/')


@pytest.fixture(scope='module')
def scripted_model(tmp_path_factory):
    """A model with OpenAI's activation, and a TorchScript archive that holds what OpenAI's hold."""
    model = random_model(force_quick_gelu=True)
    scripted = copy.deepcopy(model)
    scripted.attn_mask = scripted._buffers.pop('attn_mask')
    for key, number in OPENAI_NUMBERS.items():
        scripted.__dict__.pop(key, None)
        scripted.register_buffer(key, number)
    path = tmp_path_factory.mktemp('scripted') / 'archive.pt'
    torch.jit.script(scripted).save(path)
    return model, path


@pytest.fixture
def archive(scripted_model, tmp_path):
    """The same, with an archive of one's own."""
    model, path = scripted_model
    return model, Path(shutil.copy(path, tmp_path))


def openai_tag(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    url = f'https://openaipublic.azureedge.net/clip/models/{digest}/{path.name}'
    return {'openai': {'url': url, 'hf_hub': 'nobody/nothing/', 'quick_gelu': True}}


def test_torchscript_archives_are_refused(archive, monkeypatch):
    monkeypatch.setattr(torch.jit, 'load', lambda *_, **__: pytest.fail('loaded'))
    _, path = archive
    text = refused(f'open_clip:tiny-random/{path}', 'TorchScript archive.*accepted: plain weights')
    assert f"torch.jit.load('{path}', map_location='cpu').state_dict()" in text, 'how to convert'
    refused(f'liv:{path}', 'accepted: .*TorchScript archive')


def test_the_line_that_converts_an_archive_does_so(archive):
    model, path = archive
    text = refused(f'open_clip:tiny-random/{path}', 'python -c ')
    exec(text.partition('python -c "')[2].removesuffix('"'))
    plain = path.with_name('archive-plain.pt')
    assert torch.load(plain, weights_only=True).keys() == model.state_dict().keys() | OPENAI_NUMBERS


@pytest.mark.parametrize('tag', [True, False])
def test_openais_own_archive_is_known_by_its_checksum(archive, monkeypatch, tag):
    model, path = archive
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny-random', openai_tag(path))
    if tag:  # as if open_clip or OpenAI's package had downloaded it
        without_network(monkeypatch)
        monkeypatch.setattr(weights, 'OPENAI_CACHE', path.parent)
        assert_same(load('open_clip:tiny-random/openai'), model)
        path.write_bytes(path.read_bytes() + b'0')
        refused('open_clip:tiny-random/openai', f'looked in: .*{path.parent}')
    else:
        assert_same(load(f'open_clip:tiny-random/{path}'), model)


def without_network(monkeypatch, kept=lambda repository, file: None):
    def no_network(*_args, **_kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(weights.huggingface_hub, 'try_to_load_from_cache', kept)
    monkeypatch.setattr(weights.urllib.request, 'urlopen', no_network)


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch):
    without_network(monkeypatch)
    text = refused('open_clip:RN50/openai', 'cannot be downloaded')
    assert 'timm/resnet50_clip.openai' in text, 'what was asked for'
    assert f'looked in: {weights.hub_constants.HF_HUB_CACHE}, ' in text
    assert 'open_clip:RN50-quickgelu/<path of the file>' in text, 'how to provide it'
    assert 'no network' in text


def test_downloaded_weights_need_no_network(monkeypatch, tmp_path):
    model = random_model()
    torch.save(model.state_dict(), tmp_path / 'kept.bin')
    tags = {'tag': {'hf_hub': 'someone/something/', 'mean': (0.5, 0.5, 0.5)}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny-random', tags)

    def kept(repository, file):
        assert repository == 'someone/something'
        return str(tmp_path / 'kept.bin') if file.endswith('.bin') else None

    without_network(monkeypatch, kept)
    loaded = load('open_clip:tiny-random/tag')
    prompt = model.encode_text(open_clip.get_tokenizer('tiny-random')(['reach']))[0]
    np.testing.assert_allclose(loaded.encode_text('reach'), prompt.detach().numpy(), atol=1e-5)
    assert loaded._preprocess._shift.flatten()[0] == pytest.approx(
        -0.5 / open_clip.OPENAI_DATASET_STD[0]
    ), "the tag's own mean"


@pytest.fixture
def repository(tmp_path):
    """Files of a model of the hub, and the model."""
    config = open_clip.get_model_config('tiny-random') | {'quick_gelu': True}
    preprocess = {'mean': [0.5, 0.5, 0.5], 'std': [0.5, 0.5, 0.5], 'resize_mode': 'squash'}
    (tmp_path / 'open_clip_config.json').write_text(
        json.dumps({'model_cfg': config, 'preprocess_cfg': preprocess})
    )
    model = random_model(force_quick_gelu=True, force_preprocess_cfg=preprocess)
    torch.save(model.state_dict(), tmp_path / 'open_clip_pytorch_model.bin')
    return tmp_path, model


def file_of(folder):
    """A hub's client that has what lies in a folder."""

    def find(name, file='open_clip_pytorch_model.bin'):
        assert name == 'some-one/some.thing'
        return str(folder / file) if (folder / file).exists() else None

    return find


def test_model_of_the_hub_needs_no_network_again(repository, monkeypatch):
    folder, model = repository
    without_network(monkeypatch, file_of(folder))
    vlm = load('hf-hub:some-one/some.thing')
    assert (vlm.name, vlm.embedding_dim) == ('hf-hub:some-one/some.thing', 256)
    assert_same(vlm, model)


def test_model_of_the_hub_is_downloaded(repository, monkeypatch):
    folder, model = repository
    without_network(monkeypatch)
    monkeypatch.setattr(weights.urllib.request, 'urlopen', lambda *_, **__: io.BytesIO())
    monkeypatch.setattr(weights.pretrained, 'download_pretrained_from_hf', file_of(folder))
    assert_same(load('hf-hub:some-one/some.thing'), model)


def test_model_of_the_hub_takes_its_tokenizer_from_the_hub(repository, monkeypatch):
    folder, _ = repository
    path = folder / 'open_clip_config.json'
    config = json.loads(path.read_text())
    config['model_cfg']['text_cfg']['hf_tokenizer_name'] = 'some-one/words'
    path.write_text(json.dumps(config))
    without_network(monkeypatch, file_of(folder))
    asked = []
    monkeypatch.setattr(open_clip_model.open_clip, 'get_tokenizer', asked.append)
    load('hf-hub:some-one/some.thing')
    assert asked == ['hf-hub:some-one/some.thing']


def test_model_of_the_hub_that_cannot_be_downloaded_is_one_line(monkeypatch):
    without_network(monkeypatch)
    text = refused('hf-hub:some-one/some.thing', 'cannot be downloaded')
    assert 'https://huggingface.co/some-one/some.thing (open_clip_config.json, and' in text
    assert f'looked in: {weights.hub_constants.HF_HUB_CACHE}. ' in text
    assert 'open_clip:<model>/<path of the file>' in text, 'how to provide it'


def test_archive_of_the_hub_is_refused(repository, archive, monkeypatch):
    folder, _ = repository
    archive[1].rename(folder / 'open_clip_pytorch_model.bin')
    without_network(monkeypatch, file_of(folder))
    monkeypatch.setattr(torch.jit, 'load', lambda *_, **__: pytest.fail('loaded'))
    refused('hf-hub:some-one/some.thing', 'TorchScript archive')


@pytest.mark.parametrize(
    ('file', 'content', 'text'),
    [
        ('open_clip_config.json', '{}', 'cannot be built here'),
        ('open_clip_config.json', '?', 'cannot be built here'),
        ('open_clip_pytorch_model.bin', '?', 'does not hold plain weights'),
    ],
)
def test_broken_model_of_the_hub_is_one_line(repository, monkeypatch, file, content, text):
    folder, _ = repository
    (folder / file).write_text(content)
    without_network(monkeypatch, file_of(folder))
    refused('hf-hub:some-one/some.thing', text)
