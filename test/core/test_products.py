# SPDX-License-Identifier: Apache-2.0
"""Each kind of matrix products against double precision, and the nets made of them."""

import pytest
import torch
from torch import nn

from furl_ros.core import products as module
from furl_ros.core.precision import AUTO, BFLOAT16, FLOAT32
from furl_ros.core.products import BFloat16, OneDnn, Plain, mlp, products, resolve

# Relative to the result as a whole: float32 sums, bfloat16's 8 bits.
KINDS = [(Plain(), 1e-6), (OneDnn(), 1e-6), (BFloat16(Plain()), 1e-2)]
IDS = ['plain', 'onednn', 'bfloat16']
ABLE = {'cpu_name': 'AMD EPYC', 'avx512_f': True, 'avx512_bf16': True}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(result, expected, tolerance):
    assert result.dtype == torch.float32
    expected = expected.float()
    assert result.shape == expected.shape
    assert (result - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize(('kind', 'tolerance'), KINDS, ids=IDS)
def test_products_of_one_layer(kind, tolerance):
    inputs, weights, biases = draw(40, 33), draw(50, 33, seed=1), draw(50)
    gradients = draw(40, 50, seed=2)
    exact = inputs.double() @ weights.double().t() + biases.double()
    # Outputs are precise with all kinds.
    assert_close(kind.outputs(inputs, weights, biases, False), exact, 1e-6)
    assert_close(kind.outputs(inputs, weights, biases, True), exact.relu(), 1e-6)
    x, w, g = (kind.operand(tensor) for tensor in (inputs, weights, gradients))
    exact = gradients.double() @ weights.double()
    assert_close(kind.input_gradients(g, w).float(), exact, tolerance)
    found = torch.full((50, 33), float('nan'))
    kind.weight_gradients(g, x, found)
    assert_close(found, gradients.double().t() @ inputs.double(), tolerance)


@pytest.mark.parametrize(('kind', 'tolerance'), KINDS, ids=IDS)
def test_views_are_taken_as_they_are(kind, tolerance):
    inputs, weights, biases = draw(20, 66)[:, ::2], draw(50, 66, seed=1)[:, ::2], draw(2, 50)[1]
    exact = inputs.double() @ weights.double().t() + biases.double()
    assert_close(kind.outputs(inputs, weights, biases, False), exact, 1e-6)
    gradients, found = draw(50, 20).t(), draw(3, 50, 33)
    kind.weight_gradients(kind.operand(gradients), kind.operand(inputs), found[1])
    assert_close(found[1], gradients.double().t() @ inputs.double(), tolerance)


def nets(count, sizes, seed=0):
    """Equal torch nets, and their parameters stacked."""
    torch.manual_seed(seed)
    made = [
        nn.Sequential(
            nn.Linear(sizes[0], sizes[1]),
            nn.ReLU(),
            nn.Linear(sizes[1], sizes[2]),
            nn.ReLU(),
            nn.Linear(sizes[2], sizes[3]),
        )
        for _ in range(count)
    ]
    tensors = []
    for layer in (0, 2, 4):
        tensors.append(torch.stack([net[layer].weight.detach() for net in made]))
        tensors.append(torch.stack([net[layer].bias.detach() for net in made])[:, None])
    return made, [tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize(('kind', 'tolerance'), KINDS, ids=IDS)
def test_nets_and_their_gradients_against_torch(kind, tolerance):
    made, tensors = nets(2, (40, 48, 36, 34))
    inputs, wanted = draw(2, 64, 40).requires_grad_(), draw(2, 64, 34, seed=5)
    own = inputs.detach().clone().requires_grad_()
    outputs = mlp([kind] * 3, inputs, tensors)
    expected = torch.stack([net(x) for net, x in zip(made, own, strict=True)])
    assert_close(outputs, expected, 1e-6)
    (outputs * wanted).sum().backward()
    (expected * wanted).sum().backward()
    assert_close(inputs.grad, own.grad, tolerance)
    for layer, number in enumerate((0, 2, 4)):
        for tensor, name in ((tensors[2 * layer], 'weight'), (tensors[2 * layer + 1], 'bias')):
            grads = torch.stack([getattr(net[number], name).grad for net in made])
            assert_close(tensor.grad, grads.reshape(tensor.shape), tolerance)


def test_only_asked_for_gradients_are_made():
    made, tensors = nets(2, (40, 48, 36, 34))
    inputs = draw(2, 64, 40).requires_grad_()
    frozen = [tensor.detach() for tensor in tensors]
    mlp([Plain()] * 3, inputs, frozen).sum().backward()
    expected = torch.stack([net[0].weight for net in made])
    assert inputs.grad is not None
    assert all(tensor.grad is None for tensor in [*tensors, *frozen])
    assert torch.equal(frozen[0], expected)
    mlp([Plain()] * 3, inputs.detach(), tensors).sum().backward()
    assert all(tensor.grad is not None for tensor in tensors)


def test_the_last_layer_alone():
    """One layer has no ReLU, and its gradient stops there."""
    made, tensors = nets(2, (40, 48, 36, 34))
    inputs = draw(2, 64, 36)
    mlp([Plain()], inputs, tensors[4:]).sum().backward()
    for net, x, grad in zip(made, inputs, tensors[4].grad, strict=True):
        net[4](x).sum().backward()
        torch.testing.assert_close(grad, net[4].weight.grad)


@pytest.mark.parametrize(
    ('precision', 'able', 'widths', 'kind'),
    [
        (FLOAT32, ABLE, (256, 256), OneDnn),
        (FLOAT32, ABLE, (43, 256), OneDnn),
        (FLOAT32, ABLE, (256, 1), Plain),
        (FLOAT32, {**ABLE, 'avx512_f': False}, (256, 256), Plain),
        (FLOAT32, {**ABLE, 'cpu_name': 'Intel(R) Xeon(R)'}, (256, 256), Plain),
        (FLOAT32, {}, (256, 256), Plain),
        (BFLOAT16, {}, (256, 256), BFloat16),
        # Positions go in and values come out unrounded.
        (BFLOAT16, ABLE, (43, 256), OneDnn),
        (BFLOAT16, ABLE, (256, 1), Plain),
        (AUTO, ABLE, (256, 256), BFloat16),
        (AUTO, {'amx_bf16': True}, (256, 256), BFloat16),
        (AUTO, {'avx512_f': True}, (256, 256), Plain),
    ],
)
def test_the_processor_decides(monkeypatch, precision, able, widths, kind):
    monkeypatch.setattr(module.torch.cpu, 'get_capabilities', lambda: able)
    assert type(products(precision, *widths)) is kind


def test_auto_is_told_by_name(monkeypatch):
    monkeypatch.setattr(module.torch.cpu, 'get_capabilities', lambda: ABLE)
    assert resolve(AUTO) == BFLOAT16
    assert resolve(FLOAT32) == FLOAT32
    monkeypatch.setattr(module.torch.cpu, 'get_capabilities', dict)
    assert resolve(AUTO) == FLOAT32
