"""Graphs from Planetoid's, TU Dortmund's, GIN's and other files: equal to PyG's readers; batches; exact resume."""

from __future__ import annotations

import csv
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.io import read_planetoid_data, read_tu_data

from unmask.api import UserError, batches, build_data, split_of
from unmask.testing import given_batches
from unmask_graph.data import GraphFilesData, PlanetoidData, PyGData, TUData


def pairs(edges: torch.Tensor) -> list[tuple[int, int]]:
    return sorted(map(tuple, edges.T.tolist()))


def write_planetoid(folder: Path, name: str, left_out: int = 0, nodes: int = 600) -> None:
    """A random citation graph: 12 labelled nodes, 520 seen ones in all, the rest for testing in random order."""
    rng = np.random.default_rng(0)
    seen, num_train, width, classes = 520, 12, 9, 3
    x = (rng.random((nodes, width)) < 0.4).astype(np.float32)
    hot = np.eye(classes, dtype=np.int32)[rng.integers(classes, size=nodes)]
    test = rng.permutation(np.arange(seen, nodes - left_out))
    test[test == seen + 3] = nodes - 1 if left_out else seen + 3
    graph = defaultdict(list)
    for a, b in rng.integers(nodes, size=(2000, 2)).tolist():
        graph[a].append(b)
        graph[b].append(a)
    graph[5].append(5)
    parts = {
        "x": scipy.sparse.csr_matrix(x[:num_train]), "y": hot[:num_train],
        "allx": scipy.sparse.csr_matrix(x[:seen]), "ally": hot[:seen],
        "tx": scipy.sparse.csr_matrix(x[test]), "ty": hot[test], "graph": graph,
    }  # fmt: skip
    for part, value in parts.items():
        (folder / f"ind.{name}.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / f"ind.{name}.test.index").write_text("\n".join(map(str, test)) + "\n")


@pytest.mark.parametrize(("name", "left_out"), [("cora", 0), ("citeseer", 2)])
def test_planetoid_equals_pyg(tmp_path: Path, name: str, left_out: int) -> None:
    write_planetoid(tmp_path, name, left_out)
    data = PlanetoidData(str(tmp_path), scale="none")
    sample, masks = data.graphs.samples[0], data.graphs.masks
    theirs = read_planetoid_data(str(tmp_path), name)
    assert torch.equal(sample["x"], theirs.x)
    no_loops = theirs.edge_index[:, theirs.edge_index[0] != theirs.edge_index[1]]
    assert pairs(sample["edges"]) == sorted(set(pairs(no_loops)))
    known = sample["x"].any(1) if left_out else torch.ones(len(theirs.y), dtype=torch.bool)
    assert torch.equal(sample["label"][known], theirs.y[known])
    for part in ("train", "val", "test"):
        assert torch.equal(masks[part], theirs[f"{part}_mask"])
    if left_out:
        assert (sample["label"] == -100).sum() == left_out
        assert data.report["num_unlabelled"] == left_out
    assert data.report["num_self_loops"] >= 1


def test_a_graph_with_labels_of_nodes(tmp_path: Path) -> None:
    write_planetoid(tmp_path, "cora")
    data = PlanetoidData(str(tmp_path), steps_per_epoch=7)
    loader = data.train_dataloader()
    assert len(loader) == 7
    batch = next(iter(loader))
    assert batch["x"].shape == (600, 9)
    torch.testing.assert_close(batch["x"].sum(1), torch.ones(600).where(batch["x"].any(1), torch.tensor(0.0)))
    assert batch["offsets"].tolist() == [0, 600]
    assert batch["label"].shape == (600,)
    for split, part in (("probe_train", "train"), ("probe_test", "test")):
        shown = next(iter(batches(data, split_of(data, split), 1)))["label"] >= 0
        assert torch.equal(shown, data.graphs.masks[part])


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    write_planetoid(tmp_path, "cora")

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "ind.cora.ally").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(ValueError, match=r"ind\.cora\.ally` must hold data alone, but asks for"):
        PlanetoidData(str(tmp_path)).splits  # noqa: B018
    assert not (tmp_path / "ran").exists()


GRAPHS = [  # (label, tags, attributes, edges)
    (1, [0, 0, 2], [[0.5, 1], [1, 1], [2, 0]], [(0, 1), (1, 0), (1, 2), (2, 1)]),
    (-1, [2, 1], [[1, 0], [0, 1]], [(0, 1), (1, 0)]),
    (1, [1, 1, 1, 0], [[1, 2], [3, 4], [5, 6], [7, 8]], [(0, 3), (3, 0), (1, 3), (3, 1), (2, 3), (3, 2)]),
    (-1, [0, 2], [[9, 9], [8, 8]], [(0, 1), (1, 0)]),
]


def write_tu(folder: Path, parts: tuple[str, ...] = ("node_labels", "node_attributes", "edge_labels")) -> None:
    lines: dict[str, list[str]] = defaultdict(list)
    first = 1
    for number, (label, tags, attributes, edges) in enumerate(GRAPHS, 1):
        lines["graph_labels"].append(str(label))
        lines["graph_indicator"] += [str(number)] * len(tags)
        lines["node_labels"] += map(str, tags)
        lines["node_attributes"] += [", ".join(map(str, row)) for row in attributes]
        lines["A"] += [f"{a + first}, {b + first}" for a, b in edges]
        lines["edge_labels"] += [str(min(a, b) % 2) for a, b in edges]
        first += len(tags)
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("A", "graph_indicator", "graph_labels", *parts):
        (folder / f"TOY_{part}.txt").write_text("\n".join(lines[part]) + "\n")


def write_gin(path: Path) -> None:
    lines = [str(len(GRAPHS))]
    for label, tags, _, edges in GRAPHS:
        lines.append(f"{len(tags)} {label}")
        for node, tag in enumerate(tags):
            others = [b for a, b in edges if a == node]
            lines.append(" ".join(map(str, [tag, len(others), *others])))
    path.write_text("\n".join(lines) + "\n")


def test_tu_equals_pyg(tmp_path: Path) -> None:
    write_tu(tmp_path)
    data, slices, _ = read_tu_data(str(tmp_path), "TOY")
    both = TUData(str(tmp_path), features="attributes").graphs
    tags = TUData(str(tmp_path)).graphs
    assert tags.classes == ["-1", "1"]
    for number in range(4):
        start, end = slices["x"][number : number + 2].tolist()
        own, one_hot = both.samples[number], tags.samples[number]
        assert torch.equal(torch.cat([own["x"], one_hot["x"]], dim=1), data.x[start:end])
        first, last = slices["edge_index"][number : number + 2].tolist()
        order = (data.edge_index[0, first:last] * 100 + data.edge_index[1, first:last]).argsort()
        assert torch.equal(own["edges"], data.edge_index[:, first:last][:, order])
        assert torch.equal(own["edge_values"], data.edge_attr[first:last][order])
        assert own["label"] == data.y[number].item()


def test_both_layouts_are_the_same_graphs(tmp_path: Path) -> None:
    write_tu(tmp_path / "tu", parts=("node_labels",))
    write_gin(tmp_path / "TOY.txt")
    one, other = TUData(str(tmp_path / "tu")).graphs, TUData(str(tmp_path / "TOY.txt")).graphs
    assert one.report == other.report
    for a, b in zip(one.samples, other.samples, strict=True):
        assert a.keys() == b.keys()
        assert torch.equal(a["x"], b["x"]) and torch.equal(a["edges"], b["edges"]) and a["label"] == b["label"]


def test_degrees_stand_in_for_features(tmp_path: Path) -> None:
    write_tu(tmp_path, parts=())
    data = TUData(str(tmp_path))
    assert data.report["features"] == "degrees as features"
    assert data.num_features == 4  # degrees 0 to 3
    degrees = [sample["x"].argmax(1).tolist() for sample in data.graphs.samples]
    assert degrees == [[1, 2, 1], [1, 1], [1, 1, 1, 3], [1, 1]]
    with pytest.raises(ValueError, match="`features` must be 'degrees' for this data, but is 'tags'"):
        TUData(str(tmp_path), features="tags").splits  # noqa: B018


def test_a_packed_batch_equals_pygs(tmp_path: Path) -> None:
    write_tu(tmp_path)
    data = TUData(str(tmp_path), batch_size=3)
    batch = next(iter(data.train_dataloader()))
    samples = [data.splits.train[i] for i in batch["index"].tolist()]
    theirs = Batch.from_data_list(
        [
            Data(x=s["x"], edge_index=s["edges"], edge_attr=s["edge_values"], y=torch.tensor([s["label"]]))
            for s in samples
        ]
    )
    assert torch.equal(batch["x"], theirs.x)
    assert torch.equal(batch["edges"], theirs.edge_index)
    assert torch.equal(batch["edge_values"], theirs.edge_attr)
    assert torch.equal(batch["offsets"], theirs.ptr)
    assert torch.equal(batch["label"], theirs.y)


def test_validation_holds_out_graphs_or_none(tmp_path: Path) -> None:
    write_tu(tmp_path)
    every = TUData(str(tmp_path)).splits
    assert [len(every.train), len(every.val), len(every.probe_train)] == [4, 4, 4]
    assert every.probe_test is None  # folds score on what they were not fitted on
    parts = TUData(str(tmp_path), val_ratio=0.25).splits
    assert [len(part) for part in parts] == [3, 1, 3, 1]


def test_pyg_sets_from_a_local_folder(tmp_path: Path) -> None:
    write_tu(tmp_path / "TOY" / "raw")
    data = PyGData("TUDataset", str(tmp_path), {"name": "TOY"}, batch_size=2)
    ours = TUData(str(tmp_path / "TOY" / "raw")).graphs
    assert data.report["num_graphs"] == 4
    for a, b in zip(data.graphs.samples, ours.samples, strict=True):
        assert torch.equal(a["x"], b["x"]) and torch.equal(a["edges"], b["edges"]) and a["label"] == b["label"]

    (tmp_path / "planetoid" / "Cora" / "raw").mkdir(parents=True)
    write_planetoid(tmp_path / "planetoid" / "Cora" / "raw", "cora")
    data = PyGData("Planetoid", str(tmp_path / "planetoid"), {"name": "Cora"})
    assert data.graphs.masks["train"].sum() == 12
    assert len(data.splits.probe_test) == 1


def test_pyg_downloads_only_when_asked(tmp_path: Path) -> None:
    for options in (
        {"name": "TUDataset", "options": {"name": "MUTAG"}},
        {"name": "Planetoid", "options": {"name": "Cora"}},
    ):
        with pytest.raises(ValueError, match=r"`root` must hold the files of .*; or set `download` to True"):
            PyGData(root=str(tmp_path), **options).splits  # noqa: B018
    with pytest.raises(
        ValueError, match=r"a class of `torch_geometric.datasets`, but is 'Planetoids'; nearest: `Planetoid`"
    ):
        PyGData("Planetoids", str(tmp_path)).splits  # noqa: B018
    with pytest.raises(ValueError, match=r"`options` must be arguments of `Planetoid`, but are {'nam': 'Cora'}"):
        PyGData("Planetoid", str(tmp_path), {"nam": "Cora"}).splits  # noqa: B018


def test_lists_of_data(tmp_path: Path) -> None:
    datas = [
        Data(
            x=torch.rand(n, 3),
            edge_index=torch.tensor([[0, 1], [1, 0]]),
            edge_attr=torch.rand(2),
            y=torch.tensor([n % 2]),
        )
        for n in (2, 3, 4)
    ]
    torch.save(datas, tmp_path / "many.pt")
    data = GraphFilesData(str(tmp_path / "many.pt"), val_ratio=0)
    assert [sample["label"] for sample in data.graphs.samples] == [0, 1, 0]
    assert all(torch.equal(s["x"], d.x) for s, d in zip(data.graphs.samples, datas, strict=True))
    assert data.graphs.samples[0]["edge_values"].shape == (2, 1)

    one = Data(
        x=torch.eye(4), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.tensor([0, 1, 1, -1]),
        train_mask=torch.tensor([1, 1, 0, 0]).bool(), test_mask=torch.tensor([0, 0, 1, 0]).bool(),
    )  # fmt: skip
    torch.save(one, tmp_path / "one.pt")
    data = GraphFilesData(str(tmp_path / "one.pt"))
    assert data.graphs.per_node
    assert data.splits.probe_train[0]["label"].tolist() == [0, 1, -100, -100]
    assert data.splits.probe_test[0]["label"].tolist() == [-100, -100, 1, -100]
    torch.save([one.to_dict(), one.to_dict()], tmp_path / "dicts.pt")
    assert len(GraphFilesData(str(tmp_path / "dicts.pt")).graphs.samples) == 2


def test_graphml(tmp_path: Path) -> None:
    graph = nx.karate_club_graph()
    for node, told in graph.nodes(data=True):
        told |= {"label": told.pop("club"), "age": node / 2, "name": f"person {node}"}
        told["split"] = "train" if node < 10 else "test" if node > 20 else ""
    nx.write_graphml(graph, tmp_path / "karate.graphml")
    data = GraphFilesData(str(tmp_path))
    sample = data.graphs.samples[0]
    assert pairs(sample["edges"]) == sorted({*graph.edges, *((b, a) for a, b in graph.edges)})
    assert torch.equal(sample["x"], torch.arange(34)[:, None] / 2)
    source, target = sample["edges"].tolist()
    weights = [graph[a][b]["weight"] for a, b in zip(source, target, strict=True)]
    assert sample["edge_values"][:, 0].tolist() == weights
    assert data.graphs.classes == ["Mr. Hi", "Officer"]
    assert "one-hot): `name` of nodes" in data.found()
    assert (data.graphs.masks["train"].sum(), data.graphs.masks["test"].sum()) == (10, 13)


def test_tables(tmp_path: Path) -> None:
    def write(name: str, rows: list[list[Any]]) -> None:
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file, delimiter="\t" if name.endswith("tsv") else ",").writerows(rows)

    write("nodes.csv", [["id", "a", "label", "b"], ["x", 1, "red", 2], ["y", 3, "", 4], ["z", 5, "blue", 6]])
    write("edges.tsv", [["weight", "target", "source"], [0.5, "y", "x"], [2, "z", "y"]])
    data = GraphFilesData(str(tmp_path / "edges.tsv"), nodes=str(tmp_path / "nodes.csv"), directed=True)
    sample = data.graphs.samples[0]
    assert sample["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert sample["edges"].tolist() == [[0, 1], [1, 2]]
    assert sample["edge_values"].tolist() == [[0.5], [2]]
    assert sample["label"].tolist() == [1, -100, 0]
    alone = GraphFilesData(str(tmp_path / "edges.tsv")).graphs
    assert alone.samples[0]["x"].argmax(1).tolist() == [1, 2, 1]


def test_labels_are_split_evenly_where_the_source_does_not_say(tmp_path: Path) -> None:
    label = torch.arange(100) % 4
    label[:20] = -1
    torch.save(Data(x=torch.rand(100, 2), edge_index=torch.randint(100, (2, 300)), y=label), tmp_path / "a.pt")
    data = GraphFilesData(str(tmp_path), train_ratio=0.25, val_ratio=0.25)
    masks = data.graphs.masks
    assert [int(masks[part].sum()) for part in ("train", "val", "test")] == [20, 20, 40]
    assert not (masks["train"] & masks["test"] | masks["train"] & masks["val"] | masks["val"] & masks["test"]).any()
    assert not (masks["train"] | masks["val"] | masks["test"])[:20].any()
    again = GraphFilesData(str(tmp_path), train_ratio=0.25, val_ratio=0.25).graphs.masks
    assert all(torch.equal(masks[part], again[part]) for part in masks)


def test_columns_are_standardised(tmp_path: Path) -> None:
    write_tu(tmp_path)
    data = TUData(str(tmp_path), features="attributes", scale="columns")
    every = torch.cat([sample["x"] for sample in data.graphs.samples])
    torch.testing.assert_close(every.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(every.std(0, correction=0), torch.ones(2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["graphs", "neighbors", "clusters"])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, kind: str) -> None:
    from unmask_graph.data import ClusterSampling, NeighborSampling

    write_planetoid(tmp_path, "cora")
    torch.save([Data(x=torch.rand(n, 3), edge_index=torch.tensor([[0], [1]])) for n in range(2, 22)], tmp_path / "a.pt")

    def data() -> Any:
        if kind == "graphs":
            return GraphFilesData(str(tmp_path / "a.pt"), batch_size=3)
        sampling = NeighborSampling((3, 2)) if kind == "neighbors" else ClusterSampling(30)
        return PlanetoidData(str(tmp_path), sampling=sampling, batch_size=80 if kind == "neighbors" else 4)

    def note(batch: Any) -> list[int]:
        return [*batch["index"].tolist(), int(batch["edges"].sum()), *batch.get("node", torch.empty(0)).tolist()]

    def fit(folder: Path, **how: Any) -> list[list[int]]:
        return given_batches(data(), folder, 20, note, **how)

    whole = fit(tmp_path / "whole")
    assert len({tuple(one) for one in whole}) > 15  # epochs differ
    for kill in (3, 11):
        assert fit(tmp_path / str(kill), kill=kill) == whole[:kill]
        assert fit(tmp_path / str(kill), resume=True) == whole[kill:]


RINGS = """
import numpy as np
import torch

from unmask_graph.data import GraphSource, RawGraph, RawGraphs


class Rings(GraphSource):
    def __init__(self, count: int = 8) -> None:
        self.count = count

    def read(self, findings):
        return RawGraphs([self.ring(n, 4 + n) for n in range(self.count)], ["even", "odd"])

    def ring(self, number, size):
        node = np.arange(size)
        return RawGraph(torch.eye(3)[node % 3], np.stack([node, (node + 1) % size]), label=number % 2, undirected=True)
"""


def test_a_source_of_ones_own_by_class_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options stand beside those of the data, and an error names a wrong one."""
    (tmp_path / "own_rings.py").write_text(RINGS)
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "data.yaml"
    lines = [
        "data:",
        "  class_path: unmask_graph.data.GraphData",
        "  init_args:",
        "    {directed: true, batch_size: 2, val_ratio: 0.5,",
        "     source: {class_path: own_rings.Rings, init_args: {count: 6}}}",
    ]
    config.write_text("\n".join(lines))
    data = build_data(config)
    data.setup("fit")
    assert [len(part) for part in data.splits] == [3, 3, 3, 3]
    assert data.report["num_edges"] == 2 * sum(range(4, 10)) and data.classes == ["even", "odd"]
    config.write_text("\n".join(lines).replace("count", "cuont"))
    with pytest.raises(UserError, match="cuont"):
        build_data(config)
