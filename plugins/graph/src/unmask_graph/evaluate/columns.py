"""What a protocol compares: raw input, the untrained encoder and the pretrained one, all asked for codes alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from unmask import Encoder, Latent, Mask, MaskedModel, Tokenizer, Tokens
from unmask.api import PRETRAINED, RAW, STATISTICS, UNTRAINED, evaluating, has_statistics, with_statistics

Column = tuple[Encoder, Tokenizer]


def columns(
    model: MaskedModel,
    untrained: MaskedModel,
    batches: Callable[[], Iterable[Any]],
    device: torch.device | str = "cpu",
) -> dict[str, Column]:
    """By column, an encoder and what cuts batches for it; the pretrained one last.

    Args:
        model: a trained model; its `embedder` is compared.
        untrained: the same model as it was initialised.
        batches: gives the data, in an order that is not sorted by class. Of encoders with BatchNorm there is a column
            more: untrained, but with the data's statistics collected once, see `with_statistics`.
        device: where to compute.
    """
    tokenizer = untrained.embedding_tokenizer
    found: dict[str, Column] = {RAW: (RawEncoder(), tokenizer), UNTRAINED: (untrained.embedder, tokenizer)}
    if has_statistics(untrained.embedder):
        found[STATISTICS] = (with_statistics(untrained.embedder, tokenizer, batches(), device), tokenizer)
    return found | {PRETRAINED: (model.embedder, model.embedding_tokenizer)}


class RawEncoder(Encoder):
    """Codes that are the nodes' own values: no neighbour is asked."""

    num_layers = 1

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        return Latent(tokens.values)


@torch.no_grad()
def node_codes(
    encoder: Encoder, tokenizer: Tokenizer, loader: Iterable[Any], device: torch.device | str = "cpu"
) -> Tensor:
    """Codes ``[T, D]`` of all nodes of the one graph that ``loader`` gives, labelled or not, with nothing hidden.

    Raises:
        ValueError: another number of batches than one.
    """
    batches = list(loader)
    if len(batches) != 1:
        raise ValueError(f"The data must be one whole graph, but comes in {len(batches)} parts.")
    with evaluating(tokenizer.to(device), encoder.to(device)):
        return encoder(tokenizer(move_data_to_device(batches[0], torch.device(device)))).values.float().cpu()
