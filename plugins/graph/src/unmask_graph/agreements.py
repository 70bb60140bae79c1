"""What graphs and the models that read them must agree on."""

from __future__ import annotations

from typing import ClassVar, Literal

import lightning as L
from torch_geometric.nn import GATConv

from unmask import MaskedModel
from unmask.agreements import Agreement
from unmask.losses import CosineLoss
from unmask.targets import ValueTarget
from unmask_graph.data.module import GraphData
from unmask_graph.encoders.stack import GraphEncoder
from unmask_graph.tokenizer import EdgeTokenizer


class NumFeatures(Agreement):
    """An encoder of graphs must be made for as many features as the data's nodes have; else the run is refused."""

    between: ClassVar[tuple[str, str]] = ("model.num_features", "data")
    otherwise: ClassVar[Literal["refused", "made to agree", "told"]] = "refused"
    reads_data: ClassVar[bool] = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        if encoder is not None and isinstance(data, GraphData) and encoder.num_features != data.num_features:
            report = data.graphs.report
            raise ValueError(
                f"`model.num_features` must be {data.num_features}, what `data` has for each node "
                f"({report.num_features:,} {report.features}), but is {encoder.num_features}."
            )
        return None


class OneFeature(Agreement):
    """A cosine loss needs at least two features of each node: of one number the cosine is 1 or -1 and has no gradient.
    Data with a single feature is refused.
    """

    between: ClassVar[tuple[str, str]] = ("model.loss", "data")
    otherwise: ClassVar[Literal["refused", "made to agree", "told"]] = "refused"
    reads_data: ClassVar[bool] = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if _encoder(model) is None or not isinstance(data, GraphData) or data.num_features > 1:
            return None
        assert isinstance(model, MaskedModel)
        if isinstance(model.loss, CosineLoss) and isinstance(model.target, ValueTarget):
            raise ValueError(
                "`data` must have at least 2 features of each node for the cosine of `model.loss`, but has 1, with "
                "which it teaches nothing; make kinds of nodes one-hot, or set `--model.loss mse`."
            )
        return None


class EdgeValues(Agreement):
    """Layers that read values of edges must be made for as many as the data has, else the run is refused. Values that
    no layer reads are told.
    """

    between: ClassVar[tuple[str, str]] = ("model.encoder.edge_width", "data")
    otherwise: ClassVar[Literal["refused", "made to agree", "told"]] = "refused"
    reads_data: ClassVar[bool] = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        if encoder is None or not isinstance(data, GraphData):
            return None
        values = data.graphs.samples[0].get("edge_values")
        there = None if values is None else values.shape[1]
        # edges that are hidden have a value in any case
        fitting = {None, 1 if there is None and not _hides_nodes(model) else there}
        widths = [layer.edge_dim for layer in model.modules() if isinstance(layer, GATConv)]
        wrong = next((width for width in widths if width not in fitting), None)
        if wrong is not None:
            raise ValueError(
                f"`edge_width` of `model` must be {there}, the values that `data` has for each edge, but is {wrong}."
            )
        if there is None or any(width is not None for width in widths):
            return None
        return (
            f"The data has {there} value{'s' if there > 1 else ''} for each edge (weights or features), which "
            f"{type(encoder).__name__} does not read; `--model.encoder graph.gat --model.encoder.num_features "
            f"{encoder.num_features} --model.encoder.edge_width {there}` does."
        )


def _encoder(model: L.LightningModule) -> GraphEncoder | None:
    encoder = model.encoder if isinstance(model, MaskedModel) else None
    return encoder if isinstance(encoder, GraphEncoder) else None


def _hides_nodes(model: L.LightningModule) -> bool:
    return not isinstance(getattr(model, "tokenizer", None), EdgeTokenizer)
