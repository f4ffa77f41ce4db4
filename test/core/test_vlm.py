# SPDX-License-Identifier: Apache-2.0
"""The models: what they give and accept, and that they prepare pictures as open_clip does."""

import itertools
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import SettingError
from furl_ros.core.vlm import cosine, load_vlm, open_clip_model
from furl_ros.core.vlm.open_clip_model import open_clip
from furl_ros.core.vlm.preprocess import Preprocess, resize_by_floats

PreprocessCfg = open_clip.transform.PreprocessCfg
image_transform_v2 = open_clip.transform.image_transform_v2
PREPROCESS = {
    'size': 112,
    'mean': (0.48, 0.46, 0.41),
    'std': (0.27, 0.26, 0.28),
    'interpolation': 'bicubic',
    'resize_mode': 'shortest',
    'fill_color': 0,
}


@pytest.fixture(scope='module')
def vlm():
    return load_vlm(VlmConfig(device='cpu', micro_batch=4))


def pictures(count, height=112, width=112, seed=0):
    """Smooth random pictures: resizing noise would compare roundings only."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 12, 12, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height))) for c in coarse])


def test_the_default_model(vlm):
    frames = pictures(5)
    embeddings = vlm.encode_images(frames)
    assert (vlm.name, vlm.embedding_dim, vlm.image_size) == ('furl-tiny', 256, 112)
    assert embeddings.shape == (5, 256)
    assert embeddings.dtype == np.float32
    assert np.all(np.linalg.norm(embeddings, axis=1) > 2), 'raw, not normalised'
    assert vlm.encode_images(frames[:0]).shape == (0, 256)


def test_models_that_are_loaded_at_the_same_time_leave_logging_as_it_was():
    config = VlmConfig(device='cpu')
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(load_vlm, [config] * 8):
            pass
    assert logging.root.manager.disable == logging.NOTSET


def test_tiny_model_tells_frames_apart_in_half_precision(vlm):
    """The replay stores float16: what differs between frames must be well above its rounding."""
    frames = np.full((20, 112, 112, 3), 90, np.uint8)
    for column, frame in enumerate(frames):
        frame[40:60, 4 * column : 4 * column + 20] = (200, 40, 40)
    embeddings = vlm.encode_images(frames)
    steps = np.linalg.norm(np.diff(embeddings, axis=0), axis=1)
    rounding = np.linalg.norm(embeddings - embeddings.astype(np.float16), axis=1)
    assert np.min(steps) > 20 * np.max(rounding)


def test_same_calls_give_same_bits(vlm):
    frames = pictures(6)
    again = load_vlm(VlmConfig(device='cpu', micro_batch=4))
    assert np.array_equal(vlm.encode_images(frames), again.encode_images(frames))
    assert np.array_equal(vlm.encode_text('open a drawer'), again.encode_text('open a drawer'))
    one_by_one = np.concatenate([vlm.encode_images(frame[None]) for frame in frames])
    np.testing.assert_allclose(vlm.encode_images(frames), one_by_one, atol=1e-4)


def test_loading_leaves_the_random_numbers_of_the_process_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_vlm(VlmConfig(device='cpu'))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ('name', 'precision'),
    [
        ('furl-tiny', 'float16'),
        ('furl-tiny', 'bfloat16'),
        # A transformer.
        ('open_clip:ViT-B-32/random', 'bfloat16'),
    ],
)
def test_half_precision_changes_embeddings_little(name, precision):
    """Only those of frames; the text stays as it is."""
    frames = pictures(2)
    whole, half = (
        load_vlm(VlmConfig(vlm=name, device='cpu', precision=p)) for p in ('float32', precision)
    )
    embeddings = half.encode_images(frames)
    assert embeddings.dtype == np.float32
    expected = whole.encode_images(frames)
    cosines = [cosine(a, b) for a, b in zip(embeddings, expected, strict=True)]
    assert 0 < 1 - min(cosines) < (1e-5 if precision == 'float16' else 1e-3)
    assert np.array_equal(half.encode_text('a robot'), whole.encode_text('a robot'))


def test_float32_is_not_rounded_further_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', True)
    load_vlm(VlmConfig(vlm='tiny-random'))
    assert not torch.backends.cudnn.allow_tf32


def test_text_is_encoded_once_per_prompt(vlm, monkeypatch):
    first = vlm.encode_text('push and close a drawer')
    assert first.shape == (256,)
    assert first.dtype == np.float32
    assert not np.allclose(vlm.encode_text('reach a goal position'), first)
    for number in range(2 * open_clip_model.KEPT_PROMPTS):
        vlm.encode_text(f'prompt {number}')
    assert len(vlm._texts) == open_clip_model.KEPT_PROMPTS
    again = vlm.encode_text('push and close a drawer')
    monkeypatch.setattr(vlm, '_tokenizer', None)
    assert np.array_equal(vlm.encode_text('push and close a drawer'), first)
    again[:] = 0
    assert np.array_equal(vlm.encode_text('push and close a drawer'), first), 'a copy each time'


def test_frames_need_not_be_contiguous_or_writable(vlm):
    frames = pictures(2)
    mirrored = frames[:, :, ::-1]
    assert np.array_equal(vlm.encode_images(mirrored), vlm.encode_images(mirrored.copy()))
    frozen = np.frombuffer(frames.tobytes(), np.uint8).reshape(frames.shape)
    assert np.array_equal(vlm.encode_images(frozen), vlm.encode_images(frames))


@pytest.mark.parametrize(
    'frames',
    [
        np.zeros((1, 112, 112, 3), np.float32),
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((1, 112, 112, 4), np.uint8),
    ],
)
def test_frames_of_another_kind_are_refused(vlm, frames):
    with pytest.raises(ValueError, match=r'accepted: uint8 \[B, H, W, 3\]'):
        vlm.encode_images(frames)


# Not here: (112, 96) by its shortest side, bilinear; open_clip itself falls back to bicubic there.
@pytest.mark.parametrize(
    ('size', 'resize_mode', 'interpolation'),
    [
        *itertools.product([112], ['shortest', 'longest', 'squash'], ['bicubic', 'bilinear']),
        *itertools.product([(112, 96)], ['shortest', 'longest', 'squash'], ['bicubic']),
    ],
)
@pytest.mark.parametrize('shape', [(112, 112), (480, 640), (640, 360), (75, 101)])
def test_preprocessing_is_that_of_open_clip(size, resize_mode, interpolation, shape):
    config = {
        **PREPROCESS,
        'size': size,
        'resize_mode': resize_mode,
        'interpolation': interpolation,
        'fill_color': 7,
    }
    frames = pictures(2, *shape)
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    expected = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
    ours = Preprocess(config, torch.device('cpu'))(torch.from_numpy(frames))
    assert ours.dtype == torch.float32
    assert ours.shape == expected.shape
    levels = (ours - expected).abs() * 255 * torch.tensor(config['std']).view(3, 1, 1)
    assert levels.max() < 2.01, 'levels of 255, from roundings'
    assert levels.mean() < 0.1


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        ((480, 640), (112, 149)),
        ((112, 112), (224, 224)),
        ((100, 80), (112, 112)),
        ((9, 90), (9, 30)),
    ],
)
def test_a_gpu_resizes_as_the_cpu_does(shape, size, mode):
    """Sharp pictures: what is not rounded and clamped between rows and columns shows there."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, *shape), np.uint8)
    pixels = torch.from_numpy(noise)
    expected = torch.nn.functional.interpolate(pixels, size, mode=mode, antialias=True).float()
    levels = (resize_by_floats(pixels, size, mode) - expected).abs()
    assert levels.max() <= 1
    assert levels.mean() < 0.05


def test_frames_of_the_models_own_size_keep_their_pixels():
    frames = pictures(2)
    transform = image_transform_v2(PreprocessCfg(**PREPROCESS), is_train=False)
    expected = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
    ours = Preprocess(PREPROCESS, torch.device('cpu'))(torch.from_numpy(frames))
    torch.testing.assert_close(ours, expected.contiguous(), atol=2e-6, rtol=0, check_stride=False)


@pytest.mark.parametrize(
    ('field', 'value'),
    [('device', 'tpu'), ('micro_batch', 0), ('micro_batch', 'many'), ('precision', 'half')],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(SettingError, match=f'{field} is .*accepted'):
        load_vlm(VlmConfig(**{field: value}))


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without CUDA')
def test_missing_device_is_said():
    with pytest.raises(SettingError, match='accepted: auto, cpu'):
        load_vlm(VlmConfig(device='cuda'))


@pytest.mark.parametrize('shape', [(1, 0, 5, 3), (1, 1, 101, 3), (1, 500, 4, 3)])
def test_strips_of_pixels_are_refused(vlm, shape):
    with pytest.raises(ValueError, match=f'frames are {shape[2]}x{shape[1]}; accepted: '):
        vlm.encode_images(np.zeros(shape, np.uint8))


def test_cosine():
    a = np.array([[1, 0], [0, 2], [-3, 0], [0, 0]], np.float32)
    values = cosine(a, np.array([2, 0], np.float32))
    assert values.dtype == np.float32
    assert values.tolist() == [1, 0, -1, 0]
