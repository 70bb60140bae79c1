"""Encoders and decoders by a kind of layer and a size, for methods that are not given them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from unmask import Encoder, Predictor
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.encoders.gin import GINEncoder
from unmask_graph.encoders.stack import GraphEncoder
from unmask_graph.nn.norms import Norm
from unmask_graph.predictors.gat_decoder import GATDecoder
from unmask_graph.predictors.gin_decoder import GINDecoder

Kind = Literal["gat", "gin"]

KINDS: dict[str, type[GraphEncoder]] = {"gat": GATEncoder, "gin": GINEncoder}


def graph_encoder(
    encoder: Encoder | None, make: Callable[..., GraphEncoder], num_features: int | None, **sizes: Any
) -> GraphEncoder:
    """The encoder of a method: as given, or made of ``num_features`` and those sizes that are not None.

    Raises:
        ValueError: no ``num_features`` without an encoder or not the encoder's, or an encoder of something else.
    """
    if encoder is None:
        if num_features is None:
            raise ValueError("`num_features` must be given where there is no `encoder`, but is None.")
        return make(num_features, **{name: value for name, value in sizes.items() if value is not None})
    if not isinstance(encoder, GraphEncoder):
        raise ValueError(f"`encoder` must be one of graphs, such as graph.gat, but is {type(encoder).__name__}.")
    if num_features not in (None, encoder.num_features):
        raise ValueError(f"`num_features` must be the encoder's, {encoder.num_features}, but is {num_features}.")
    return encoder


def decoder_for(encoder: GraphEncoder, norm: Norm | None = None) -> Predictor:
    """The decoder of features that goes with ``encoder``: GIN's own (``norm`` None: batch), else GAT's."""
    if isinstance(encoder, GINEncoder):
        return GINDecoder(encoder.width, encoder.num_features, norm=norm or "batch")
    return GATDecoder(encoder.width, encoder.num_features)
