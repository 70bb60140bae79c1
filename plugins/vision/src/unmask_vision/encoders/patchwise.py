"""Patchwise encoder: a convolutional network on each patch by itself (Selfie, Trinh et al. 2019, arXiv:1906.02940)."""

from __future__ import annotations

from torch import Tensor

from unmask import Encoder, Latent, Mask, Tokens
from unmask_vision.encoders.maps import MapEncoder
from unmask_vision.encoders.patches import replace_hidden


class PatchwiseEncoder(Encoder):
    """The code of a patch is the mean over the last map that a network makes of this patch alone ``[B, K, D]``.

    No code knows of a neighbour, and hidden patches cost nothing. ``net`` can be used on whole images afterwards.

    Args:
        net: the network, such as a `CNNEncoder` cut off at a stride.

    Raises:
        ValueError: when called, patches of other channels than the network's, or hidden ones shown as a token.
    """

    def __init__(self, net: MapEncoder) -> None:
        super().__init__()
        self.net = net
        self.width: int = net.width
        self.num_layers: int = net.num_layers

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        number = self.depth(layer) - 1
        values, seen = tokens.values, None
        if mask is not None and mask.show is not None:
            token: Tensor | None = self.net.mask_token
            if token is not None:
                token = token.repeat(values.shape[-1] // self.net.channels)  # [V]
            values = replace_hidden(values, mask, token)
        elif mask is not None:
            seen = mask.visible
            values = seen.gather(values)  # [B, K, V]
        side = self.net.patch_size_of(values)
        patches = values.reshape(-1, side, side, self.net.channels).permute(0, 3, 1, 2)  # [B * K, C, p, p]
        self.net.sparse.show(None)
        codes = self.net.features(patches)[number].mean((2, 3))
        return Latent(codes.view(*values.shape[:2], -1), seen)
