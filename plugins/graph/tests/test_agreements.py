"""What a model and its data must agree on is compared before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from unmask.api import main
from unmask.losses import MSELoss
from unmask_graph.agreements import EdgeValues, FeatureNames, FeatureScales, NumFeatures, OneFeature
from unmask_graph.data import GraphFilesData
from unmask_graph.data.links import LinkData
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.encoders.gcn import GCNEncoder
from unmask_graph.encoders.gps import GPSEncoder
from unmask_graph.encoders.sage import SAGEEncoder
from unmask_graph.methods.graphmae import GraphMAE
from unmask_graph.methods.graphmae2 import GraphMAE2
from unmask_graph.methods.maskgae import MaskGAE
from unmask_graph.predictors.gat_decoder import GATDecoder


def data(folder: Path, num_features: int = 2, num_values: int = 0) -> GraphFilesData:
    edges = torch.stack([torch.arange(30), (torch.arange(30) + 1) % 30])
    values = torch.rand(30, num_values) if num_values else None
    torch.save(Data(x=torch.rand(30, num_features), edge_index=edges, edge_attr=values), folder / "a.pt")
    return GraphFilesData(str(folder / "a.pt"))


def compared(model: Any, graphs: Any) -> list[str]:
    """What is told; fails where the run is refused."""
    found = [kind().check(model, graphs) for kind in (NumFeatures, OneFeature, EdgeValues)]
    return [told for told in found if told is not None]


def test_the_number_of_features(tmp_path: Path) -> None:
    graphs = data(tmp_path, 3)
    for model in (
        GraphMAE(num_features=2, width=8),
        GraphMAE2(num_features=2, width=8),
        MaskGAE(num_features=2, width=8),
        GraphMAE(encoder=GCNEncoder(2, 8)),
    ):
        for given in (graphs, LinkData(graphs)):
            with pytest.raises(ValueError, match=r"`model\.num_features` must be 3, .* \(3 features\), but is 2"):
                compared(model, given)
    assert compared(GraphMAE(num_features=3, width=8), graphs) == []


def test_new_data_is_scaled_and_filled_by_the_numbers_of_the_old(tmp_path: Path) -> None:
    """By hand: ages 1, 3 and a gap have mean 2, so that the gap is 2; scaled, 1 and 3 are sqrt(3/2) from 0."""

    def table(ages: str, scale: Any = "columns") -> GraphFilesData:
        (tmp_path / "edges.csv").write_text("source,target,w\na,b,1\nb,c,\n")
        rows = "".join(f"{node},{age},{size}\n" for node, age, size in zip("abc", ages.split(","), "123", strict=True))
        (tmp_path / "nodes.csv").write_text(f"id,age,size\n{rows}")
        nodes = str(tmp_path / "nodes.csv")
        return GraphFilesData(str(tmp_path / "edges.csv"), nodes=nodes, missing="indicator", scale=scale)

    model, old = GraphMAE(num_features=3, width=8), table("1,3,")
    assert FeatureScales().check(model, old) is None
    assert FeatureNames().check(model, old) is None
    own = old.graphs.samples[0]
    root = 1.5**0.5
    torch.testing.assert_close(own["x"][:, 0], torch.tensor([-root, root, 0]))
    assert old.graphs.names == ["age", "size", "age is missing"]
    assert model.agreed["graph.scales"]["features"] == {"mean": [2.0, 2.0], "gaps": [0]}

    new = table("4,5,6", "none")  # without a gap: the column is there all the same
    assert (
        FeatureScales().check(model, new) == "`data.scale` is 'columns' in place of 'none', as the model was trained."
    )
    FeatureNames().check(model, new)
    x = new.graphs.samples[0]["x"]
    torch.testing.assert_close(x[:, 0], torch.tensor([2.0, 3.0, 4.0]) * root)
    torch.testing.assert_close(x[:, 1], own["x"][:, 1])
    assert (x[:, 2] == own["x"][0, 2]).all()
    torch.testing.assert_close(new.graphs.samples[0]["edge_values"], own["edge_values"])

    again = table("4,5,6")  # of another model: its own numbers
    FeatureScales().check(GraphMAE(num_features=2, width=8), again)
    torch.testing.assert_close(again.graphs.samples[0]["x"][:, 0], torch.tensor([-root, 0, root]))


def test_names_of_features_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    def table(name: str, kinds: str) -> GraphFilesData:
        (tmp_path / "edges.csv").write_text("source,target\na,b\nb,c\n")
        nodes = "".join(f"{node},{kind},1\n" for node, kind in zip("abc", kinds, strict=True))
        (tmp_path / name).write_text(f"id,atom,age\n{nodes}")
        return GraphFilesData(str(tmp_path / "edges.csv"), nodes=str(tmp_path / name), categories=["atom"])

    model = GraphMAE(num_features=4, width=8)
    check = FeatureNames().check
    assert check(model, table("one.csv", "CNO")) is None
    assert model.agreed["graph.features"] == ["age", "atom=C", "atom=N", "atom=O"]
    assert check(model, table("two.csv", "OCN")) is None
    with pytest.raises(ValueError, match=r"must have the 4 features .* has 'atom=S' instead of 'atom=O'"):
        check(model, table("three.csv", "SCN"))
    with pytest.raises(ValueError, match=r"must have the 4 features that the checkpoint .* has 3 of them"):
        check(model, table("four.csv", "CNN"))
    assert check(model, data(tmp_path)) is None  # columns of tensors have no names


def test_a_cosine_of_one_feature(tmp_path: Path) -> None:
    graphs = data(tmp_path, 1)
    for model in (GraphMAE(num_features=1, width=8), GraphMAE2(num_features=1, width=8)):
        with pytest.raises(ValueError, match=r"`data` must have at least 2 features .* but has 1"):
            compared(model, graphs)
    for model in (GraphMAE(num_features=1, width=8, loss=MSELoss()), MaskGAE(num_features=1, width=8)):
        assert compared(model, graphs) == []


def test_values_of_edges(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    bare, weighted = data(tmp_path), data(tmp_path / "with", num_values=3)
    reading = GATEncoder(2, 8, edge_width=3)
    told = compared(GraphMAE(num_features=2, width=8), weighted)
    assert told == [
        "The data has 3 values for each edge (weights or features), which GATEncoder does not read; "
        "`--model.edge_width 3` makes it read them."
    ]
    for model, name in (
        (GraphMAE(num_features=2, kind="gin", width=8), "GIN"),
        (MaskGAE(num_features=2, width=8), "GCN"),
        (GraphMAE2(num_features=2, width=8), "GAT"),
    ):
        assert f"which {name}Encoder does not read" in compared(model, weighted)[0]
    assert "SAGEEncoder does not read; it can read none" in compared(GraphMAE(encoder=SAGEEncoder(2, 8)), weighted)[0]
    assert (
        "GCNEncoder does not read; it can read at most one" in compared(MaskGAE(num_features=2, width=8), weighted)[0]
    )
    for model in (
        GraphMAE(encoder=reading),
        MaskGAE(encoder=reading),
        GraphMAE(num_features=2, width=8, edge_width=3),
        GraphMAE(num_features=2, kind="gin", width=8, edge_width=3),
        GraphMAE2(num_features=2, width=8, edge_width=3),
        GraphMAE(encoder=GPSEncoder(2, 8, edge_width=3)),
    ):
        assert compared(model, weighted) == []
    for model in (
        GraphMAE(num_features=2, width=8),
        MaskGAE(num_features=2, width=8),
        MaskGAE(encoder=GATEncoder(2, 8, edge_width=1)),
        MaskGAE(num_features=2, width=8, edge_width=1),
    ):
        assert compared(model, bare) == []  # an edge that may be hidden has the value 1
    for encoder, there, graphs in ((reading, None, bare), (GATEncoder(2, 8, edge_width=2), 3, weighted)):
        with pytest.raises(ValueError, match=rf"`edge_width` .* must be {there}, .*, but is {encoder.edge_width}"):
            compared(GraphMAE(encoder=encoder), graphs)
    for make, told in (
        (lambda: GCNEncoder(2, 8, edge_width=3), "`edge_width` must be at most 1 for GCNEncoder, but is 3"),
        (lambda: GATEncoder(2, 8, edge_width=0), "`edge_width` must be at least 1, but is 0"),
    ):
        with pytest.raises(ValueError, match=told):
            make()
    (tmp_path / "below").mkdir()
    negative = data(tmp_path / "below", num_values=1)
    negative.graphs.samples[0]["edge_values"][3] = -0.5
    with pytest.raises(ValueError, match=r"must have weights of edges of at least 0 for GCNEncoder, .* has -0\.5"):
        compared(MaskGAE(num_features=2, width=8, edge_width=1), negative)
    decoder = GATDecoder(8, 2, edge_width=2)
    with pytest.raises(ValueError, match=r"`edge_width` of `model` must be 3, .*, but is 2"):
        compared(GraphMAE(num_features=2, width=8, predictor=decoder), weighted)


def test_a_run_is_told_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data(tmp_path, num_values=1)
    (tmp_path / "config.yaml").write_text(
        "model: {class_path: graph.graphmae, init_args: {num_features: 2, width: 8}}\n"
        f"data: {{class_path: graph.files, init_args: {{paths: {tmp_path / 'a.pt'}}}}}\n"
        "trainer: {max_steps: 1, accelerator: cpu}\n"
    )
    run = ["fit", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run")]
    assert main([*run, "--model.num_features", "5"]) != 0
    told = capsys.readouterr()
    assert "`model.num_features` must be 2" in told.out + told.err
    assert "step 1" not in told.out
    assert main(run) == 0
    told = capsys.readouterr()
    assert 0 < told.out.index("The data has 1 value for each edge") < told.out.index("step 1")
