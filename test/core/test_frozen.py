# SPDX-License-Identifier: Apache-2.0
"""A model that was rewritten for inference computes what it computed before."""

import copy

import pytest
import torch
from core_support import stir_batch_norms
from torch import nn

from furl_ros.core.vlm.frozen import OneQueryPool, PackedConvolution, freeze, pack
from furl_ros.core.vlm.open_clip_library import open_clip


def trained(name):
    """A model whose batch norms and residual branches do something, as after training."""
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval().requires_grad_(False)
    stir_batch_norms(model.visual, 0.5, 1.5)
    return model


@pytest.mark.parametrize('name', ['furl-tiny', 'tiny-random'])
def test_embeddings_stay(name):
    """With packed weights too."""
    model = trained(name)
    frozen, packed = copy.deepcopy(model), copy.deepcopy(model)
    for each in (frozen, packed):
        freeze(each)
    pack(packed, (112, 112))
    convolutions = [m for m in packed.modules() if isinstance(m, (nn.Conv2d, PackedConvolution))]
    if name == 'furl-tiny':
        assert {type(module) for module in convolutions} == {PackedConvolution}
    with torch.inference_mode():
        for count in (3, 1, 40):
            images = torch.randn(count, 3, 112, 112)
            expected = model.encode_image(images)
            for each in (frozen, packed):
                torch.testing.assert_close(each.encode_image(images), expected, atol=1e-5, rtol=0)
        tokens = open_clip.get_tokenizer(name)(['open a drawer'])
        assert torch.equal(frozen.encode_text(tokens), model.encode_text(tokens))


def test_a_residual_network_loses_its_batch_norms():
    model = trained('furl-tiny')
    freeze(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert isinstance(model.visual.attnpool, OneQueryPool)
