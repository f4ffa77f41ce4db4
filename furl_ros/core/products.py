# SPDX-License-Identifier: Apache-2.0
"""Matrix products of N equal linear layers at once, by the fastest kernels of the processor.

Measured on one core of an AMD EPYC with AVX-512, 256 x 256 x 256: torch's float32 product (MKL,
which leaves AVX-512 alone on AMD) 90 GFLOPS, oneDNN in float32 190, oneDNN in bfloat16 400.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from furl_ros.core.precision import AUTO, BFLOAT16, FLOAT32

# Below these widths a special kernel costs more than it saves. It also keeps what enters and
# leaves a net (positions, values) in float32 when its inside is computed in bfloat16.
_LEAST_WIDTH = {'onednn': 32, BFLOAT16: 128}


class Products(Protocol):
    """The three products of a linear layer, for N nets; operands as ``operand`` gave them."""

    def operand(self, tensor: Tensor) -> Tensor:
        """What to hand to the products for a float32 tensor, and to keep for the backward pass."""
        ...

    def outputs(self, inputs: Tensor, weights: Tensor, biases: Tensor, relu: bool) -> Tensor:
        """[N, B, out] for inputs [N, B, in], weights [N, out, in] and biases [N, 1, out]."""
        ...

    def input_gradients(self, gradients: Tensor, weights: Tensor) -> Tensor:
        """[N, B, in] for gradients [N, B, out]."""
        ...

    def weight_gradients(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        """[N, out, in] for gradients [N, B, out] and inputs [N, B, in]."""
        ...


class Plain:
    """torch's own float32 products."""

    def operand(self, tensor: Tensor) -> Tensor:
        return tensor

    def outputs(self, inputs: Tensor, weights: Tensor, biases: Tensor, relu: bool) -> Tensor:
        outputs = torch.baddbmm(biases, inputs, weights.transpose(1, 2))
        return outputs.relu_() if relu else outputs

    def input_gradients(self, gradients: Tensor, weights: Tensor) -> Tensor:
        return torch.bmm(gradients, weights)

    def weight_gradients(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        return torch.bmm(gradients.transpose(1, 2), inputs)


class OneDnn(Plain):
    """float32 by oneDNN's kernels: net by net, through the operator of torch's own compiler."""

    def outputs(self, inputs: Tensor, weights: Tensor, biases: Tensor, relu: bool) -> Tensor:
        return self._each(inputs, weights, biases.squeeze(1), 'relu' if relu else 'none')

    def input_gradients(self, gradients: Tensor, weights: Tensor) -> Tensor:
        return self._each(gradients, weights.transpose(1, 2))

    def weight_gradients(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        return self._each(gradients.transpose(1, 2), inputs.transpose(1, 2))

    @staticmethod
    def _each(left: Tensor, right: Tensor, biases: Tensor | None = None, then: str = 'none'):
        linear = torch.ops.mkldnn._linear_pointwise
        outputs = [
            linear(
                left[index], right[index], None if biases is None else biases[index], then, [], ''
            )
            for index in range(len(left))
        ]
        return outputs[0][None] if len(outputs) == 1 else torch.stack(outputs)


class BFloat16:
    """Operands rounded to bfloat16; sums, biases and everything around them in float32."""

    def operand(self, tensor: Tensor) -> Tensor:
        return tensor.bfloat16()

    def outputs(self, inputs: Tensor, weights: Tensor, biases: Tensor, relu: bool) -> Tensor:
        outputs = biases + torch.bmm(inputs, weights.transpose(1, 2))
        return outputs.relu_() if relu else outputs

    def input_gradients(self, gradients: Tensor, weights: Tensor) -> Tensor:
        return torch.bmm(gradients, weights).float()

    def weight_gradients(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        return torch.bmm(gradients.transpose(1, 2), inputs).float()


def resolve(precision: str) -> str:
    """What 'auto' means on this processor: 'bfloat16' where it has units for it."""
    if precision != AUTO:
        return precision
    able = torch.cpu.get_capabilities()
    return BFLOAT16 if able.get('avx512_bf16') or able.get('amx_bf16') else FLOAT32


def products(precision: str, inputs: int, outputs: int) -> Products:
    """The fastest products for layers of these widths.

    Args:
        precision: 'auto', 'float32' or 'bfloat16'.
    """
    least = min(inputs, outputs)
    if resolve(precision) == BFLOAT16 and least >= _LEAST_WIDTH[BFLOAT16]:
        return BFloat16()
    able = torch.cpu.get_capabilities()
    held_back = 'AMD' in able.get('cpu_name', '') and able.get('avx512_f')
    if held_back and torch.backends.mkldnn.is_available() and least >= _LEAST_WIDTH['onednn']:
        return OneDnn()
    return Plain()


class _Mlp(torch.autograd.Function):
    """Linear layers with ReLU between them; see ``mlp``."""

    @staticmethod
    def forward(ctx: Any, kernels: Sequence[Products], inputs: Tensor, *tensors: Tensor) -> Tensor:
        kept = []
        for layer, kernel in enumerate(kernels):
            operand = kernel.operand(inputs)
            weights = kernel.operand(tensors[2 * layer])
            kept += [inputs, operand, weights]
            relu = layer + 1 < len(kernels)
            inputs = kernel.outputs(operand, weights, tensors[2 * layer + 1], relu)
        ctx.kernels = kernels
        ctx.save_for_backward(*kept)
        return inputs

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors
        needs_inputs, *needs = ctx.needs_input_grad[1:]
        results: list[Tensor | None] = [None] * len(needs)
        for layer in reversed(range(len(ctx.kernels))):
            kernel = ctx.kernels[layer]
            inputs, operand, weights = kept[3 * layer : 3 * layer + 3]
            if needs[2 * layer + 1]:
                results[2 * layer + 1] = gradients.sum(1, keepdim=True)
            gradients = kernel.operand(gradients)
            if needs[2 * layer]:
                results[2 * layer] = kernel.weight_gradients(gradients, operand)
            if not (needs_inputs or any(needs[: 2 * layer])):
                return None, None, *results
            gradients = kernel.input_gradients(gradients, weights)
            if layer:
                torch.ops.aten.threshold_backward.grad_input(
                    gradients, inputs, 0, grad_input=gradients
                )
        return None, gradients if needs_inputs else None, *results


def mlp(kernels: Sequence[Products], inputs: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Outputs of N equal multilayer perceptrons with ReLU between the layers; differentiable.

    Args:
        kernels: the products of each layer.
        inputs: float32 [N, B, in].
        tensors: weights [N, out, in] and biases [N, 1, out] of each layer, in turns.

    Returns:
        float32 [N, B, out].
    """
    return _Mlp.apply(kernels, inputs, *tensors)
