"""The convolutional stem of speech encoders: a wave to features (wav2vec 2.0, Baevski et al. 2020, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def geometry(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """How many samples a feature sees (its window), and how many lie between the beginnings of two (the hop).

    400 and 320 for the kernels 10, 3, 3, 3, 3, 2, 2 and strides 5, 2, 2, 2, 2, 2, 2 of all released models.
    """
    window = hop = 1
    for kernel, stride in zip(kernels, strides, strict=True):
        window += (kernel - 1) * hop
        hop *= stride
    return window, hop


def stem_norm(settings: Any) -> str:
    """Where a stem has norms, by the settings of its model: ``group`` (the first layer, over time) or ``layer`` (all).

    data2vec's have no such setting: all layers are normed.
    """
    return getattr(settings, "feat_extract_norm", "layer")


def joined(windows: Tensor, hop: int) -> Tensor:
    """The wave ``[B, S]`` that windows ``[B, N, W]`` were cut from, ``hop`` apart; W is at least ``hop``."""
    return torch.cat([windows[..., :hop].flatten(1), windows[:, -1, hop:]], dim=1)


def run_stem(layers: nn.ModuleList, wave: Tensor, num_samples: Tensor | None = None) -> Tensor:
    """Features ``[B, N, C]`` of waves ``[B, S]`` by transformers' stem of the layers given.

    Its first norm takes each channel's mean and variance over time (`nn.GroupNorm`). Where clips are padded, only
    real samples count here, so a clip's features do not depend on what it is batched with.

    Args:
        layers: ``feature_extractor.conv_layers`` of a model.
        wave: samples.
        num_samples: ``[B]`` int64, of which so many are real; None: all.
    """
    x = wave[:, None]  # [B, 1, S]
    layer: Any
    for layer in layers:
        norm = getattr(layer, "layer_norm", None)
        if num_samples is None or not isinstance(norm, nn.GroupNorm):
            x = layer(x)
        else:
            x = layer.activation(_normed(norm, layer.conv(x), _outputs(layer.conv, num_samples)))
        num_samples = None if num_samples is None else _outputs(layer.conv, num_samples)
    return x.transpose(1, 2)


def _outputs(conv: Any, num_inputs: Tensor) -> Tensor:
    """How many outputs of a convolution without padding depend on the first ``num_inputs`` alone."""
    return (num_inputs - conv.kernel_size[0]) // conv.stride[0] + 1


def _normed(norm: nn.GroupNorm, x: Tensor, lengths: Tensor) -> Tensor:
    """``x`` ``[B, C, T]`` normed channel by channel, by the moments of the first ``lengths`` ``[B]`` of each row.

    Behind them stands the norm's bias.
    """
    assert norm.num_groups == norm.num_channels
    real = (torch.arange(x.shape[-1], device=x.device) < lengths[:, None, None]).float()  # [B, 1, T]
    arguments = x, norm.weight, norm.bias, real, norm.eps
    needs_gradient = torch.is_grad_enabled() and (x.requires_grad or norm.weight.requires_grad)
    return _RealNorm.apply(*arguments) if needs_gradient else _real_norm(*arguments)[0]


def _real_norm(x: Tensor, weight: Tensor, bias: Tensor, real: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The answer, what was normed, centred and 0 where not real, and what that was multiplied by, ``[B, C, 1]``."""
    with torch.autocast(x.device.type, enabled=False):
        count = real.sum(-1, keepdim=True)  # [B, 1, 1]
        x = x.float()
        centred = (x - (x @ real.mT) / count).mul_(real)
        scale = (_dot(centred, centred) / count + eps).rsqrt()
        answer = torch.addcmul(bias.float()[:, None], centred, scale * weight[:, None])
        return answer.to(weight.dtype), centred, scale


class _RealNorm(torch.autograd.Function):
    """`_real_norm` that keeps one tensor of its size for the backward pass, which walks over few: the stem's largest.

    With y the centred values, n their count, w the weight and s = (sum(y^2) / n + eps)^-0.5, real places have
    ``dx = w s (g - sum(g) / n - s^2 y sum(g y) / n)``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, real: Tensor, eps: float) -> Tensor:
        answer, centred, scale = _real_norm(x, weight, bias, real, eps)
        ctx.save_for_backward(centred, scale, weight, real)
        ctx.dtype = x.dtype
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        centred, scale, weight, real = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            gradient = gradient.float()
            count = real.sum(-1, keepdim=True)
            along = _dot(gradient, centred)  # [B, C, 1]
            factor = scale * weight[:, None]
            of_x = torch.addcmul(-factor * (gradient @ real.mT) / count, gradient, factor)
            of_x = of_x.addcmul_(centred, -factor * scale.square() * along / count).mul_(real)
            of_weight, of_bias = (along * scale).sum((0, 2)), gradient.sum((0, 2))
        return of_x.to(ctx.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sums of products along the last axis, kept, without memory for the products."""
    return (a[..., None, :] @ b[..., None])[..., 0]
