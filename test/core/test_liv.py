# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of CLIP RN50, in LIV's layouts and in OpenAI's."""

import logging

import numpy as np
import pytest
import torch
from core_support import stir_batch_norms
from PIL import Image

from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import SettingError
from furl_ros.core.vlm import cosine, load_vlm
from furl_ros.core.vlm.liv import clip_weights
from furl_ros.core.vlm.open_clip_library import open_clip

PROMPT = 'open microwave'


@pytest.fixture(scope='module')
def state():
    """CLIP RN50's weights by CLIP's names, random, in float16 as they are published."""
    torch.manual_seed(0)
    model = open_clip.create_model('RN50-quickgelu').requires_grad_(False)
    stir_batch_norms(model.visual, 0.2, 0.5)
    return {
        key: value.half() if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }


@pytest.fixture(scope='module')
def frames():
    """One picture of the model's size, in a batch, and one of another size."""
    coarse = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    pictures = [Image.fromarray(coarse[0]).resize((224, 224))]
    pictures.append(Image.fromarray(coarse[1]).resize((320, 240)))
    return [np.asarray(picture)[None] for picture in pictures]


@pytest.fixture(scope='module')
def direct(state, frames):
    """Embeddings of the frames and the prompt by open_clip's code for OpenAI's state dicts."""
    model = open_clip.model.build_model_from_openai_state_dict(
        dict(state), cast_dtype=torch.float32
    ).float()
    transform = open_clip.transform.image_transform(224, is_train=False)
    with torch.inference_mode():
        pictures = [transform(Image.fromarray(frame[0]))[None] for frame in frames]
        images = [model.encode_image(picture)[0].numpy() for picture in pictures]
        text = model.encode_text(open_clip.get_tokenizer('RN50')([PROMPT]))[0].numpy()
    return images, text


def load(name):
    return load_vlm(VlmConfig(vlm=name, device='cpu'))


def liv_layout(state, prefix):
    """What LIV's training saves."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    return {
        'liv': {prefix + key: value for key, value in state.items()},
        'optimizer': optimizer.state_dict(),
        'global_step': 7,
    }


def openai_layout(state):
    """What the state dicts of OpenAI's archives hold."""
    numbers = {'input_resolution': 224, 'context_length': 77, 'vocab_size': 49408}
    return state | {key: torch.tensor(value) for key, value in numbers.items()}


@pytest.mark.parametrize('layout', ['module.model.', 'openai'])
def test_embeddings_are_those_of_clip(layout, state, frames, direct, tmp_path):
    path = tmp_path / 'model.pt'
    if layout == 'openai':
        torch.save(openai_layout(state), path)
        vlm = load(f'open_clip:RN50-quickgelu/{path}')
    else:
        torch.save(liv_layout(state, layout), path)
        vlm = load(f'liv:{path}')
        assert vlm.name == f'liv:{path}'
    path.unlink()
    (same_size, other_size), text = direct
    assert (vlm.embedding_dim, vlm.image_size) == (1024, 224)
    np.testing.assert_allclose(vlm.encode_images(frames[0])[0], same_size, atol=1e-5)
    # Resizing rounds each pixel; see test_preprocessing_is_that_of_open_clip.
    assert cosine(vlm.encode_images(frames[1])[0], other_size) > 0.9999
    np.testing.assert_allclose(vlm.encode_text(PROMPT), text, atol=1e-5)


def test_the_layout_without_data_parallel_has_the_same_weights(state, tmp_path):
    path = tmp_path / 'model.pt'
    torch.save(liv_layout(state, 'model.'), path)
    found = clip_weights('liv:x', path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_weights_beside_clip_are_left_out_and_said(tmp_path, caplog):
    head = {'module.distance_head.weight': torch.ones(3)}
    path = tmp_path / 'model.pt'
    torch.save({'liv': {'module.model.logit_scale': torch.tensor(4.6)} | head}, path)
    with caplog.at_level(logging.WARNING):
        assert list(clip_weights('liv:x', path)) == ['logit_scale']
    assert '1 weights beside CLIP are not used: module.distance_head.weight' in caplog.text


def refused(path, text):
    with pytest.raises(SettingError, match=text) as caught:
        load(f'liv:{path}')
    assert f"vlm is 'liv:{path}': " in str(caught.value)
    assert 'accepted: ' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_missing_file(tmp_path):
    refused(tmp_path / 'none.pt', f"there is no file '{tmp_path}/none.pt'")


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ({'module.model.logit_scale': torch.zeros(())}, "it has no state dict 'liv'"),
        ([torch.zeros(())], "it has no state dict 'liv'"),
        ({'liv': torch.zeros(())}, "it has no state dict 'liv'"),
        ({'liv': {}}, 'its keys are such as None'),
        ({'liv': {'convnet.conv1.weight': torch.zeros(())}}, "such as 'convnet.conv1.weight'"),
    ],
)
def test_other_layouts(tmp_path, content, reason):
    path = tmp_path / 'other.pt'
    torch.save(content, path)
    refused(path, f"no checkpoint of LIV; accepted: .*'module.model.' or 'model.' .*{reason}")


def test_weights_that_do_not_fit(tmp_path, state):
    path = tmp_path / 'model.pt'
    torch.save(liv_layout({'ln_final.weight': torch.zeros(512)}, 'model.'), path)
    refused(path, r'does not fit RN50-quickgelu; .*Missing key\(s\) in state_dict: "positional_emb')
    torch.save(liv_layout(state | {'ln_final.weight': torch.zeros(3)}, 'model.'), path)
    refused(path, r'does not fit RN50-quickgelu; .*size mismatch for ln_final.weight')
