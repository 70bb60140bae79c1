"""The convolutional stem of speech encoders: a wave to features (wav2vec 2.0, Baevski et al. 2020, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def geometry(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """How many samples a feature sees (its window), and how many lie between the beginnings of two (the hop).

    400 and 320 for the kernels 10, 3, 3, 3, 3, 2, 2 and strides 5, 2, 2, 2, 2, 2, 2 of all released models.
    """
    window = hop = 1
    for kernel, stride in zip(kernels, strides, strict=True):
        window += (kernel - 1) * hop
        hop *= stride
    return window, hop


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


def penalty(features: Tensor, valid: Tensor | None) -> Tensor:
    """Mean square of features ``[B, N, C]`` of real frames: what keeps a stem's answers small (wav2vec 2.0, 4.2)."""
    squares = features.float().square().mean(-1)  # [B, N]
    return squares.mean() if valid is None else squares.masked_fill(~valid, 0).sum() / valid.sum()


def _outputs(conv: Any, num_inputs: Tensor) -> Tensor:
    """How many outputs of a convolution without padding depend on the first ``num_inputs`` alone."""
    return (num_inputs - conv.kernel_size[0]) // conv.stride[0] + 1


def _normed(norm: nn.GroupNorm, x: Tensor, lengths: Tensor) -> Tensor:
    """``x`` ``[B, C, T]`` normed channel by channel, by the moments of the first ``lengths`` ``[B]`` of each row."""
    assert norm.num_groups == norm.num_channels
    real = torch.arange(x.shape[-1], device=x.device) < lengths[:, None, None]  # [B, 1, T]
    x, count = x.float(), lengths[:, None, None]
    mean = x.masked_fill(~real, 0).sum(-1, keepdim=True) / count
    variance = (x - mean).masked_fill(~real, 0).square().sum(-1, keepdim=True) / count
    x = (x - mean) * (variance + norm.eps).rsqrt()
    return x.to(norm.weight.dtype) * norm.weight[:, None] + norm.bias[:, None]
