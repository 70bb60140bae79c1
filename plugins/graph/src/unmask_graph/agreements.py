"""What graphs and the models that read them must agree on."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal

import lightning as L
from torch_geometric.nn import GATConv

from unmask import MaskedModel
from unmask.agreements import Agreement
from unmask.losses import CosineLoss
from unmask.targets import ValueTarget
from unmask_graph.data.links import LinkData
from unmask_graph.data.module import GraphData
from unmask_graph.encoders.gcn import GCNEncoder
from unmask_graph.encoders.stack import GraphEncoder
from unmask_graph.tokenizer import EdgeTokenizer

SCALE, SETTLED = "graph.scale", "graph.scales"
"""Under which names a checkpoint keeps `scale` and `settled` of `GraphData`."""


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


class FeatureNames(Agreement):
    """A checkpoint keeps the names of the columns of nodes' features and of edges' values. A run that goes on with
    other columns, or with the same in another order, is refused.
    """

    between: ClassVar[tuple[str, str]] = ("data", "ckpt_path")
    otherwise: ClassVar[Literal["refused", "made to agree", "told"]] = "refused"
    reads_data: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        agreed = getattr(model, "agreed", None)
        if _encoder(model) is None or not isinstance(data, GraphData) or agreed is None:
            return None
        graphs = data.graphs  # which settles what they are scaled by
        own = data.data if isinstance(data, LinkData) else data
        agreed.setdefault(SCALE, own.scale)
        agreed.setdefault(SETTLED, copy.deepcopy(own.settled))
        for what, names in (("features", graphs.names), ("edge values", graphs.edge_names)):
            if not names:  # columns without names are told apart by their numbers alone
                continue
            kept = agreed.setdefault(f"graph.{what}", names)
            if kept == names:
                continue
            place = next((i for i, (was, now) in enumerate(zip(kept, names, strict=False)) if was != now), -1)
            told = f"{names[place]!r} instead of {kept[place]!r}" if place >= 0 else f"{len(names)} of them"
            raise ValueError(
                f"`data` must have the {len(kept)} {what} that the checkpoint was trained with, in their order, but "
                f"has {told}; `categories` may fix the kinds of a column."
            )
        return None


class FeatureScales(Agreement):
    """A checkpoint keeps how features were scaled, their means and deviations, and the means that gaps were filled
    with. Data that its model is given later is scaled and filled alike, by the same numbers.
    """

    between: ClassVar[tuple[str, str]] = ("data.scale", "ckpt_path")
    otherwise: ClassVar[Literal["refused", "made to agree", "told"]] = "made to agree"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        agreed = getattr(model, "agreed", {})
        if _encoder(model) is None or not isinstance(data, GraphData) or SCALE not in agreed:
            return None
        own = data.data if isinstance(data, LinkData) else data
        own.settled.update(copy.deepcopy(agreed.get(SETTLED, {})))
        if own.scale == agreed[SCALE]:
            return None
        told = f"`data.scale` is {agreed[SCALE]!r} in place of {own.scale!r}, as the model was trained."
        own.scale = agreed[SCALE]
        return told


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
    """Layers that read values of edges must be made for as many as the data has, and GCN needs weights of at least 0;
    else the run is refused. Values that no layer reads are told.
    """

    between: ClassVar[tuple[str, str]] = ("model.edge_width", "data")
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
        others = [layer.edge_dim for layer in model.modules() if isinstance(layer, GATConv)]
        widths = [encoder.edge_width, *others]
        wrong = next((width for width in widths if width not in fitting), None)
        if wrong is not None:
            raise ValueError(
                f"`edge_width` of `model` must be {there}, the values that `data` has for each edge, but is {wrong}."
            )
        if isinstance(encoder, GCNEncoder) and encoder.edge_width and there:
            least = min(float(sample["edge_values"].min()) for sample in data.graphs.samples if sample["edges"].numel())
            if least < 0:
                raise ValueError(
                    f"`data` must have weights of edges of at least 0 for GCNEncoder, which sums them to degrees, but "
                    f"has {least:g}; GAT and GIN read others, too."
                )
        if there is None or any(width is not None for width in widths):
            return None
        name = type(encoder).__name__
        found = (
            f"The data has {there} value{'s' if there > 1 else ''} for each edge (weights or features), which {name}"
        )
        if encoder.most_edge_values is not None and there > encoder.most_edge_values:
            can = "at most one" if encoder.most_edge_values else "none"
            return f"{found} does not read; it can read {can}, while those of GAT, GIN and GPS read any number."
        return f"{found} does not read; `--model.edge_width {there}` makes it read them."


def _encoder(model: L.LightningModule) -> GraphEncoder | None:
    encoder = model.encoder if isinstance(model, MaskedModel) else None
    return encoder if isinstance(encoder, GraphEncoder) else None


def _hides_nodes(model: L.LightningModule) -> bool:
    return not isinstance(getattr(model, "tokenizer", None), EdgeTokenizer)
