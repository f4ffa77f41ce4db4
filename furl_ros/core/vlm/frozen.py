# SPDX-License-Identifier: Apache-2.0
"""What may be computed in another way once a model's weights no longer change."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from furl_ros.core.vlm.open_clip_library import modified_resnet


def freeze(model: nn.Module) -> None:
    """Rewrite the image tower of a model of open_clip for inference, in place.

    CLIP's residual networks (furl-tiny, RN50 and so LIV) lose their batch norms and most of their
    attention pooling, which takes a fifth off their time; embeddings differ by float32 rounding.
    """
    # Parameters go on requiring gradients, though none are made under inference mode: torch then
    # multiplies all tokens of a batch at once instead of picture by picture, 8 % of a transformer.
    tower = model.eval().visual
    if isinstance(tower, modified_resnet.ModifiedResNet):
        with torch.no_grad():
            _fuse_batch_norms(tower)
            tower.attnpool = OneQueryPool(tower.attnpool)


def pack(model: nn.Module, size: tuple[int, int]) -> None:
    """Put the convolutions' weights into the order that the processor's kernels want, in place.

    Otherwise they are put so at every call, which is a quarter of the time of a single picture in
    furl-tiny. For models on the CPU that see pictures of one size; CLIP's residual networks only.

    Args:
        model: frozen, on the CPU.
        size: height and width of the pictures.
    """
    tower = model.visual
    if not isinstance(tower, modified_resnet.ModifiedResNet):
        return
    if not torch.backends.mkldnn.is_available():
        return
    shapes: dict[nn.Conv2d, list[int]] = {}
    hooks = [
        module.register_forward_hook(lambda m, inputs, _: shapes.update({m: [*inputs[0].shape]}))
        for module in tower.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        tower(torch.zeros(1, 3, *size).to(memory_format=torch.channels_last))
        for hook in hooks:
            hook.remove()
        for module in list(tower.modules()):
            for name, layer in list(module.named_children()):
                if isinstance(layer, nn.Conv2d):
                    setattr(module, name, PackedConvolution(layer, shapes[layer]))


class PackedConvolution(nn.Module):
    """A convolution with constant weights, by the operators that torch's own compiler uses.

    Args:
        layer: the convolution.
        shape: of the inputs that it will mostly see, [B, C, H, W]; others are taken too.
    """

    def __init__(self, layer: nn.Conv2d, shape: list[int]) -> None:
        super().__init__()
        self.geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)
        # Not buffers: tensors of this layout can be neither copied nor saved.
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            layer.weight.detach().to_mkldnn(), *self.geometry, shape
        )
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, H, W]."""
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.geometry, 'none', [], ''
        )


class OneQueryPool(nn.Module):
    """CLIP's attention pooling, for the one query whose result is used: that of the mean.

    With one query per picture, neither keys nor values of the places need to be made: the query can
    be taken through the key's matrix, and the weighted mean of the places through the value's. The
    key's bias adds the same to the scores of all places, which softmax does not see; the value's
    passes through, for weights sum to 1.
    """

    def __init__(self, pool: modified_resnet.AttentionPool2d) -> None:
        super().__init__()
        self.positional_embedding = pool.positional_embedding
        self.q_proj, self.c_proj = pool.q_proj, pool.c_proj
        # Matrices per head: [heads, width / heads, width].
        by_head = (pool.num_heads, -1)
        self.register_buffer('keys', pool.k_proj.weight.detach().unflatten(0, by_head))
        self.register_buffer('values', pool.v_proj.weight.detach().unflatten(0, by_head))
        self.register_buffer('value_bias', pool.v_proj.bias.detach())
        self.scale = self.keys.shape[1] ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """Pool feature maps [B, C, H, W] to embeddings [B, E]."""
        places = x.flatten(2).mT
        tokens = torch.cat([places.mean(1, keepdim=True), places], 1) + self.positional_embedding
        query = self.q_proj(tokens[:, 0]).unflatten(1, self.keys.shape[:2]) * self.scale
        sought = torch.einsum('bhd,hdc->bhc', query, self.keys)
        weights = (sought @ tokens.mT).softmax(-1)
        seen = torch.einsum('bhc,hdc->bhd', weights @ tokens, self.values)
        return self.c_proj(seen.flatten(1) + self.value_bias)


def _fuse_batch_norms(tower: modified_resnet.ModifiedResNet) -> None:
    """Put every batch norm into the convolution before it, which is the one it follows."""
    for module in list(tower.modules()):
        children = list(module.named_children())
        for (name, layer), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, norm_name, nn.Identity())
