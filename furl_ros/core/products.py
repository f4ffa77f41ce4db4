# SPDX-License-Identifier: Apache-2.0
"""Matrix products of linear layers, by the fastest kernels of the processor.

Measured on one core of an AMD EPYC with AVX-512, 256 x 256 x 256: torch's float32 product (MKL,
which leaves AVX-512 alone on AMD) 90 GFLOPS, oneDNN's 190.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

# Below this width oneDNN's kernels cost more than they save.
_LEAST_WIDTH = 32


class Products(Protocol):
    """The three products of a linear layer."""

    def outputs(self, inputs: Tensor, weights: Tensor, biases: Tensor, relu: bool) -> Tensor:
        """[B, out] for inputs [B, in], weights [out, in] and biases [out]."""
        ...

    def input_gradients(self, gradients: Tensor, weights: Tensor) -> Tensor:
        """[B, in] for gradients [B, out] and weights [out, in]."""
        ...

    def weight_gradients(self, gradients: Tensor, inputs: Tensor, out: Tensor) -> None:
        """Into [out, in] for gradients [B, out] and inputs [B, in]."""
        ...


class Plain:
    """torch's own products."""

    def outputs(self, inputs: Tensor, weights: Tensor, biases: Tensor, relu: bool) -> Tensor:
        outputs = torch.addmm(biases, inputs, weights.t())
        return outputs.relu_() if relu else outputs

    def input_gradients(self, gradients: Tensor, weights: Tensor) -> Tensor:
        return torch.mm(gradients, weights)

    def weight_gradients(self, gradients: Tensor, inputs: Tensor, out: Tensor) -> None:
        torch.mm(gradients.t(), inputs, out=out)


class OneDnn:
    """float32 by oneDNN's kernels, through the operator of torch's own compiler."""

    def __init__(self) -> None:
        # Not at import: a torch without oneDNN has no such operator.
        self._linear = torch.ops.mkldnn._linear_pointwise

    def outputs(self, inputs: Tensor, weights: Tensor, biases: Tensor, relu: bool) -> Tensor:
        return self._linear(inputs, weights, biases, 'relu' if relu else 'none', [], '')

    def input_gradients(self, gradients: Tensor, weights: Tensor) -> Tensor:
        return self._linear(gradients, weights.t(), None, 'none', [], '')

    def weight_gradients(self, gradients: Tensor, inputs: Tensor, out: Tensor) -> None:
        out.copy_(self._linear(gradients.t(), inputs.t(), None, 'none', [], ''))


def products(inputs: int, outputs: int) -> Products:
    """The fastest products on this processor for layers of these widths."""
    able = torch.cpu.get_capabilities()
    held_back = 'AMD' in able.get('cpu_name', '') and able.get('avx512_f')
    wide = min(inputs, outputs) >= _LEAST_WIDTH
    return OneDnn() if held_back and wide and torch.backends.mkldnn.is_available() else Plain()


class _Mlp(torch.autograd.Function):
    """Linear layers with ReLU between them; see ``mlp``.

    Net by net: what one net's layer leaves is still in the core's own cache for the next one.
    """

    @staticmethod
    def forward(ctx: Any, kernels: Sequence[Products], inputs: Tensor, *tensors: Tensor) -> Tensor:
        kept, outputs = [], []
        for values, *parameters in zip(inputs, *tensors, strict=True):
            for layer, kernel in enumerate(kernels):
                kept.append(values)
                weights, biases = parameters[2 * layer : 2 * layer + 2]
                values = kernel.outputs(values, weights, biases[0], layer + 1 < len(kernels))
            outputs.append(values)
        ctx.kernels = kernels
        ctx.save_for_backward(*tensors[::2], *kept)
        return outputs[0][None] if len(outputs) == 1 else torch.stack(outputs)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        kernels, depth = ctx.kernels, len(ctx.kernels)
        stacks, kept = ctx.saved_tensors[:depth], ctx.saved_tensors[depth:]
        needs_inputs, *needs = ctx.needs_input_grad[1:]
        results: list[Tensor | None] = [None] * (2 * depth)
        for layer, stack in enumerate(stacks):
            if needs[2 * layer]:
                results[2 * layer] = torch.empty_like(stack, memory_format=torch.contiguous_format)
            if needs[2 * layer + 1]:
                results[2 * layer + 1] = stack.new_empty(len(stack), 1, stack.shape[1])
        input_gradients = []
        for net, values in enumerate(gradients):
            for layer in reversed(range(depth)):
                kernel, inputs = kernels[layer], kept[net * depth + layer]
                if results[2 * layer + 1] is not None:
                    torch.sum(values, 0, out=results[2 * layer + 1][net, 0])
                if results[2 * layer] is not None:
                    kernel.weight_gradients(values, inputs, results[2 * layer][net])
                if not (needs_inputs or any(needs[: 2 * layer])):
                    break
                values = kernel.input_gradients(values, stacks[layer][net])
                if layer:
                    torch.ops.aten.threshold_backward.grad_input(
                        values, inputs, 0, grad_input=values
                    )
            else:
                input_gradients.append(values)
        if not input_gradients:
            return None, None, *results
        return None, torch.stack(input_gradients), *results


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
