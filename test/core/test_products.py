# SPDX-License-Identifier: Apache-2.0
"""Each kind of matrix products against double precision, and the nets made of them."""

import pytest
import torch
from torch import nn

from furl_ros.core import products as module
from furl_ros.core.products import OneDnn, Plain, mlp, products

TOLERANCE = 1e-6  # relative to the result as a whole: float32 sums
ABLE = {'cpu_name': 'AMD EPYC', 'avx512_f': True}

each_kind = pytest.mark.parametrize('kind', [Plain(), OneDnn()], ids=['plain', 'onednn'])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(result, expected):
    assert result.dtype == torch.float32
    expected = expected.float()
    assert result.shape == expected.shape
    assert (result - expected).norm() <= TOLERANCE * expected.norm()


@each_kind
def test_products_of_one_layer(kind):
    inputs, weights, biases = draw(40, 33), draw(50, 33, seed=1), draw(50)
    gradients = draw(40, 50, seed=2)
    exact = inputs.double() @ weights.double().t() + biases.double()
    assert_close(kind.outputs(inputs, weights, biases, False), exact)
    assert_close(kind.outputs(inputs, weights, biases, True), exact.relu())
    exact = gradients.double() @ weights.double()
    assert_close(kind.input_gradients(gradients, weights), exact)
    found = torch.full((50, 33), float('nan'))
    kind.weight_gradients(gradients, inputs, found)
    assert_close(found, gradients.double().t() @ inputs.double())


@each_kind
def test_views_are_taken_as_they_are(kind):
    inputs, weights, biases = draw(20, 66)[:, ::2], draw(50, 66, seed=1)[:, ::2], draw(2, 50)[1]
    exact = inputs.double() @ weights.double().t() + biases.double()
    assert_close(kind.outputs(inputs, weights, biases, False), exact)
    gradients, found = draw(50, 20).t(), draw(3, 50, 33)
    kind.weight_gradients(gradients, inputs, found[1])
    assert_close(found[1], gradients.double().t() @ inputs.double())


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


@each_kind
def test_nets_and_their_gradients_against_torch(kind):
    made, tensors = nets(2, (40, 48, 36, 34))
    inputs, wanted = draw(2, 64, 40).requires_grad_(), draw(2, 64, 34, seed=5)
    own = inputs.detach().clone().requires_grad_()
    outputs = mlp([kind] * 3, inputs, tensors)
    expected = torch.stack([net(x) for net, x in zip(made, own, strict=True)])
    assert_close(outputs, expected)
    (outputs * wanted).sum().backward()
    (expected * wanted).sum().backward()
    assert_close(inputs.grad, own.grad)
    for layer, number in enumerate((0, 2, 4)):
        for tensor, name in ((tensors[2 * layer], 'weight'), (tensors[2 * layer + 1], 'bias')):
            grads = torch.stack([getattr(net[number], name).grad for net in made])
            assert_close(tensor.grad, grads.reshape(tensor.shape))


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
    ('able', 'widths', 'kind'),
    [
        (ABLE, (256, 256), OneDnn),
        (ABLE, (43, 256), OneDnn),
        (ABLE, (256, 1), Plain),
        (ABLE, (1, 256), Plain),
        ({**ABLE, 'avx512_f': False}, (256, 256), Plain),
        ({**ABLE, 'cpu_name': 'Intel(R) Xeon(R)'}, (256, 256), Plain),
        ({}, (256, 256), Plain),
    ],
)
def test_the_processor_decides(monkeypatch, able, widths, kind):
    monkeypatch.setattr(module.torch.cpu, 'get_capabilities', lambda: able)
    assert type(products(*widths)) is kind


def test_a_torch_without_onednn_makes_its_own(monkeypatch):
    monkeypatch.setattr(module.torch.cpu, 'get_capabilities', lambda: ABLE)
    monkeypatch.setattr(module.torch.backends.mkldnn, 'is_available', lambda: False)
    assert type(products(256, 256)) is Plain
