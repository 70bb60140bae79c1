"""What a protocol compares: raw input, the untrained encoder and the pretrained one, all asked for codes alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from unmask import Embedder, Encoder, Latent, Mask, MaskedModel, Tokens
from unmask.api import PRETRAINED, RAW, STATISTICS, UNTRAINED, evaluating, has_statistics, with_statistics


def columns(
    model: MaskedModel,
    untrained: MaskedModel,
    batches: Callable[[], Iterable[Any]],
    device: torch.device | str = "cpu",
) -> dict[str, Embedder]:
    """By column, what makes its codes; the pretrained one last.

    Args:
        model: a trained model; its `embedder` is compared.
        untrained: the same model as it was initialised.
        batches: gives the data, in an order that is not sorted by class. Of encoders with BatchNorm there is a column
            more: untrained, but with the data's statistics collected once, see `with_statistics`.
        device: where to compute.
    """
    own = untrained.embedder
    found = {RAW: Embedder(own.tokenizer, RawEncoder()), UNTRAINED: own}
    if has_statistics(own):
        found[STATISTICS] = with_statistics(own, batches(), device)
    return found | {PRETRAINED: model.embedder}


class RawEncoder(Encoder):
    """Codes that are the nodes' own values: no neighbour is asked."""

    num_layers = 1

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        return Latent(tokens.values)


@torch.no_grad()
def node_codes(embedder: Embedder, loader: Iterable[Any], device: torch.device | str = "cpu") -> Tensor:
    """Codes ``[T, D]`` of all nodes of the one graph that ``loader`` gives, labelled or not, with nothing hidden.

    Raises:
        ValueError: another number of batches than one.
    """
    batches = list(loader)
    if len(batches) != 1:
        raise ValueError(f"The data must be one whole graph, but comes in {len(batches)} parts.")
    with evaluating(embedder.to(device)):
        return embedder(move_data_to_device(batches[0], torch.device(device))).values.float().cpu()
