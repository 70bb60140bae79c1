"""Parts of a graph: the nodes and edges that PyG says they have, each labelled node once, the same in every run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import k_hop_subgraph, subgraph, to_undirected

from unmask.api import batches, split_of
from unmask_graph.data import ClusterSampling, GraphFilesData, NeighborSampling

NUM_NODES = 400


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """400 nodes of which the last has no edge; values of edges tell which they are."""
    rng = torch.Generator().manual_seed(0)
    edges = torch.randint(NUM_NODES - 1, (2, 900), generator=rng)
    label = torch.randint(5, (NUM_NODES,), generator=rng)
    x = torch.arange(NUM_NODES)[:, None].float()
    values = edges[0] * 1000.0 + edges[1]
    torch.save(Data(x=x, edge_index=edges, edge_attr=values, y=label), tmp_path / "graph.pt")
    return tmp_path / "graph.pt"


def data_of(graph: Path, sampling: Any, **options: Any) -> GraphFilesData:
    return GraphFilesData(str(graph), sampling=sampling, **({"batch_size": 8, "directed": True} | options))


def edges_of(batch: dict[str, Any]) -> list[tuple[int, int]]:
    return sorted(map(tuple, batch["node"][batch["edges"]].T.tolist()))


@pytest.mark.parametrize("sampling", [NeighborSampling((4, 3)), ClusterSampling(25)], ids=["neighbors", "clusters"])
def test_edges_are_all_among_the_chosen_nodes(graph: Path, sampling: Any) -> None:
    data = data_of(graph, sampling)
    whole = data.graphs.samples[0]
    for batch in data.train_dataloader():
        node, offsets = batch["node"], batch["offsets"].tolist()
        assert torch.equal(batch["x"][:, 0].long(), node)
        runs = [node] if isinstance(sampling, ClusterSampling) else [node[a:b] for a, b in pairwise(offsets)]
        expected = [pair for run in runs for pair in subgraph(run, whole["edges"], num_nodes=NUM_NODES)[0].T.tolist()]
        assert edges_of(batch) == sorted(map(tuple, expected))
        source, target = node[batch["edges"]]
        assert torch.equal(batch["edge_values"][:, 0], source * 1000.0 + target)
        assert len(batch["index"]) == len(offsets) - 1 == 8


def test_neighborhoods_are_whole_where_there_are_few_neighbors(graph: Path) -> None:
    data = data_of(graph, NeighborSampling((NUM_NODES, NUM_NODES)))
    around = to_undirected(data.graphs.samples[0]["edges"])
    batch = next(iter(data.train_dataloader()))
    for number, index in enumerate(batch["index"].tolist()):
        seed = data.splits.train[index]["seed"]
        start, end = batch["offsets"][number : number + 2]
        assert torch.equal(batch["node"][start:end], k_hop_subgraph(seed, 2, around, num_nodes=NUM_NODES)[0])


def test_neighbors_are_drawn_evenly_and_at_most_as_many_as_asked(graph: Path) -> None:
    star = Data(x=torch.rand(41, 1), edge_index=torch.stack([torch.arange(1, 41), torch.zeros(40, dtype=torch.long)]))
    torch.save(star, graph)
    sampling = NeighborSampling((8,))
    data = data_of(graph, sampling)
    data.setup("fit")
    torch.manual_seed(0)
    batch = sampling.collate([sampling.augment({"seed": 0}) for _ in range(2000)])
    assert (batch["offsets"].diff() == 9).all()
    share = torch.bincount(batch["node"], minlength=41)[1:] / 2000
    assert (share - 0.2).abs().max() < 0.05  # 5 deviations of a share of 2,000


@pytest.mark.parametrize("sampling", [NeighborSampling((4, 3)), ClusterSampling(25)], ids=["neighbors", "clusters"])
def test_probes_ask_for_each_labelled_node_once(graph: Path, sampling: Any) -> None:
    data = data_of(graph, sampling)
    label = data.graphs.samples[0]["label"]
    for split, part in (("probe_train", "train"), ("probe_test", "test")):
        seen = []
        for batch in batches(data, split_of(data, split), 8):
            shown = batch["label"] >= 0
            assert torch.equal(batch["label"][shown], label[batch["node"][shown]])
            seen.append(batch["node"][shown])
        assert torch.equal(torch.cat(seen).sort().values, data.graphs.masks[part].nonzero()[:, 0])


@pytest.mark.parametrize(
    "kind", [lambda: NeighborSampling((4, 3)), lambda: ClusterSampling(25)], ids=["neighbors", "clusters"]
)
def test_epochs_differ_and_depend_neither_on_workers_nor_on_kills(graph: Path, kind: Any) -> None:
    def epochs(num_workers: int) -> list[list[dict[str, Any]]]:
        data = data_of(graph, kind(), num_workers=num_workers)
        data.seed = 7
        loader = data.train_dataloader()
        return [list(loader), list(loader)]

    one, other = epochs(0), epochs(2)
    assert edges_of(one[0][0]) != edges_of(one[1][0])
    for a, b in zip(one[0] + one[1], other[0] + other[1], strict=True):
        assert a.keys() == b.keys() and a.pop("name") == b.pop("name")
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_clusters_are_a_partition_that_keeps_neighbors_together(tmp_path: Path) -> None:
    rows, columns = 20, 20  # a grid, numbered at random
    place = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(0)).view(rows, columns)
    across = torch.stack([place[:, :-1].flatten(), place[:, 1:].flatten()])
    down = torch.stack([place[:-1].flatten(), place[1:].flatten()])
    torch.save(Data(x=torch.rand(400, 1), edge_index=torch.cat([across, down], dim=1)), tmp_path / "grid.pt")
    sampling = ClusterSampling(8)
    data = data_of(tmp_path / "grid.pt", sampling, batch_size=1)
    parts = list(data.train_dataloader())
    assert torch.equal(torch.cat([part["node"] for part in parts]).sort().values, torch.arange(400))
    assert {len(part["node"]) for part in parts} == {50}
    kept = sum(part["edges"].shape[1] for part in parts) / data.graphs.samples[0]["edges"].shape[1]
    assert kept > 0.6  # of parts drawn evenly: 1/8


def test_nodes_without_a_neighbor_are_not_trained_on(graph: Path) -> None:
    data = data_of(graph, NeighborSampling((4,)))
    trained = {data.splits.train[i]["seed"] for i in range(len(data.splits.train))}
    joined = set(data.graphs.samples[0]["edges"].flatten().tolist())
    assert trained == joined
    assert NUM_NODES - 1 not in trained


def test_mistakes(graph: Path) -> None:
    with pytest.raises(ValueError, match="`num_neighbors` must be at least 1 for at least one hop, but is \\[5, 0\\]"):
        NeighborSampling((5, 0))
    with pytest.raises(ValueError, match="`val_nodes` must be at least 1, but is 0"):
        NeighborSampling((5,), val_nodes=0)
    with pytest.raises(ValueError, match="`num_clusters` must be at least 2, but is 1"):
        ClusterSampling(1)
    with pytest.raises(ValueError, match="`num_clusters` must be at most 200, half the graph's nodes, but is 300"):
        data_of(graph, ClusterSampling(300)).splits  # noqa: B018
    with pytest.raises(ValueError, match="`steps_per_epoch` must be 1 where `sampling` makes samples, but is 2"):
        data_of(graph, ClusterSampling(3), steps_per_epoch=2)
    torch.save([torch.load(graph, weights_only=False)] * 2, graph)
    with pytest.raises(ValueError, match="`sampling` must be left out for 2 graphs: it is for a single one"):
        data_of(graph, ClusterSampling(3)).splits  # noqa: B018


def test_every_sample_of_a_single_graph_once(tmp_path):
    """However often an epoch goes over it, and whatever is validated on."""
    nodes = torch.arange(40)
    torch.save([{"x": torch.randn(40, 3), "edge_index": torch.stack([nodes, (nodes + 1) % 40])}], tmp_path / "g.pt")
    whole = GraphFilesData(str(tmp_path / "g.pt"), steps_per_epoch=5)
    assert {name: len(part) for name, part in whole.everything().items()} == {"train": 1}
    clusters = GraphFilesData(str(tmp_path / "g.pt"), sampling=ClusterSampling(num_clusters=4))
    assert {name: len(part) for name, part in clusters.everything().items()} == {"train": 4}
