"""Odd graphs: a plain error, or what is documented, counted and reported."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import coalesce, remove_self_loops, to_undirected

from unmask.masks import RandomMask
from unmask_graph.data import GraphFilesData, PlanetoidData, TUData
from unmask_graph.data.graphs import RawGraph, clean
from unmask_graph.data.report import Report
from unmask_graph.tokenizer import EdgeTokenizer, GraphTokenizer


def saved(folder: Path, *graphs: Any) -> GraphFilesData:
    torch.save(list(graphs), folder / "graphs.pt")
    return GraphFilesData(str(folder / "graphs.pt"), val_ratio=0)


def graph(num_nodes: int = 3, edges: Any = ((0, 1), (1, 2)), **more: Any) -> Data:
    edges = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    return Data(**({"x": torch.rand(num_nodes, 2), "edge_index": edges} | more))


@pytest.mark.parametrize("directed", [True, False])
def test_edges_are_tidied_as_pyg_does(directed: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    edges = torch.randint(30, (2, 300), generator=rng)
    report = Report()
    ours = clean(RawGraph(torch.rand(30, 1), edges), directed, report)
    theirs, _ = remove_self_loops(edges)
    theirs = coalesce(theirs, num_nodes=30) if directed else to_undirected(theirs, num_nodes=30)
    assert ours is not None
    assert torch.equal(ours["edges"], theirs)
    assert report.num_self_loops == (edges[0] == edges[1]).sum() > 0
    distinct = {pair for pair in map(tuple, edges.T.tolist()) if pair[0] != pair[1]}
    assert report.num_duplicate_edges == 300 - report.num_self_loops - len(distinct)
    if not directed:
        assert report.num_added_reverses == theirs.shape[1] - len(distinct)


def test_the_first_values_of_an_edge_count() -> None:
    raw = RawGraph(torch.rand(3, 1), [[1, 0, 1, 1], [0, 1, 0, 2]], [[1.0], [2], [3], [4]])
    sample = clean(raw, False, Report())
    assert sample is not None
    assert sample["edges"].tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert sample["edge_values"].tolist() == [[2], [1], [4], [4]]  # a reverse has its own; an added one the same


def test_what_is_odd_is_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = saved(tmp_path, graph(5, [(0, 0), (0, 1), (0, 1), (1, 0)]), graph(0, []), graph(1, []), graph(3, []))
    data.setup("fit")
    report = data.report
    assert report["num_graphs"] == 3
    assert report["num_empty_graphs"] == 1
    assert report["num_one_node_graphs"] == 1
    assert report["num_graphs_without_edges"] == 2
    assert report["num_isolated_nodes"] == 3 + 1 + 3
    assert report["num_self_loops"] == 1
    assert report["num_duplicate_edges"] == 1
    told = capsys.readouterr().out
    assert "3 graphs: 9 nodes, 1 edges, 2 features." in told
    for words in ("1 graphs without a node left out", "1 self-loops left out", "7 nodes without an edge"):
        assert words in told
    assert len(data.splits.train) == 2  # nothing can be hidden in one node


def test_one_node_graphs_are_probed_and_not_trained_on(tmp_path: Path) -> None:
    data = saved(tmp_path, *(graph(n, [], y=torch.tensor([n % 2])) for n in (1, 2, 3)))
    assert [len(part) for part in data.splits[:3]] == [2, 2, 3]
    batch = next(iter(data.train_dataloader()))
    mask = RandomMask(0.5)(GraphTokenizer()(batch))
    assert mask.hidden.any()


def test_a_graph_without_edges_has_nodes_to_hide_and_no_edges(tmp_path: Path) -> None:
    batch = next(iter(saved(tmp_path, graph(4, [])).train_dataloader()))
    assert GraphTokenizer()(batch).layout.edges.shape == (2, 0)
    assert len(GraphTokenizer().render(GraphTokenizer()(batch))) == 1
    tokens = EdgeTokenizer()(batch)
    assert tokens.offsets.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"at least 2 tokens to hide one, but has 0"):
        RandomMask(0.5)(tokens)


def test_directed_edges_keep_their_direction_when_asked(tmp_path: Path) -> None:
    torch.save(graph(), tmp_path / "a.pt")
    one_way = GraphFilesData(str(tmp_path), directed=True)
    assert one_way.graphs.samples[0]["edges"].tolist() == [[0, 1], [1, 2]]
    both = GraphFilesData(str(tmp_path))
    assert both.graphs.samples[0]["edges"].tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert both.report["num_added_reverses"] == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"x": torch.tensor([[1.0, 2], [float("nan"), 0], [0, float("inf")]])},
         r"Features of Graph 1 must be finite, but row 1 has nan in column 0 \(and 1 more\)"),
        ({"edges": [(0, 7)]}, r"Edges of Graph 1 must join nodes in \[0, 2\], but one joins 0 and 7"),
        ({"edges": [(-1, 0)]}, r"Edges of Graph 1 must join nodes in \[0, 2\], but one joins -1 and 0"),
        ({"x": torch.rand(3, 5)}, "Graph 1 must have 2 features as Graph 0, but has 5"),
        ({"x": torch.rand(3, 0)}, "Graph 1 must have 2 features as Graph 0, but has 0"),
        ({"x": None, "num_nodes": 3}, "Graph 1 must have features as the other graphs, but has none"),
        ({"edge_attr": torch.rand(2, 1)}, "All graphs or none must have `edge_values`, but Graph 0 and Graph 1 differ"),
        ({"y": torch.tensor([1])}, "All graphs or none must have `label`, but Graph 0 and Graph 1 differ"),
        ({"y": torch.rand(2)}, r"All graphs or none must have `label`, but Graph 0 and Graph 1 differ"),
    ],
)  # fmt: skip
def test_what_cannot_be_mended_is_refused(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        saved(tmp_path, graph(), graph(**wrong)).splits  # noqa: B018


def test_a_class_number_may_not_fill_the_memory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`y` must hold class numbers below 100,000, but goes up to 9,000,000,000\."):
        saved(tmp_path, graph(y=torch.tensor([0])), graph(y=torch.tensor([9 * 10**9]))).splits  # noqa: B018


def test_values_of_edges_must_be_finite_and_as_many() -> None:
    for values, told in (
        ([1.0, np.nan], "Edge values of The graph must be finite"),
        ([1.0], "each of its 2 edges, but has 1"),
    ):
        with pytest.raises(ValueError, match=told):
            clean(RawGraph(torch.rand(3, 1), [[0, 1], [1, 2]], values), False, Report())
    with pytest.raises(ValueError, match="a label for each of its 3 nodes, but has 2"):
        clean(RawGraph(torch.rand(3, 1), [[0], [1]], label=[0, 1]), False, Report())


def test_nothing_to_train_on(tmp_path: Path) -> None:
    for graphs in ([graph(1, [])], [graph(0, [])], []):
        with pytest.raises(ValueError, match="The data must have a graph of at least 2 nodes, but has none"):
            saved(tmp_path, *graphs).splits  # noqa: B018


def test_other_kinds_of_graphs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Graph 0 must be a `Data` with one kind of nodes, but is a `HeteroData`"):
        saved(tmp_path, HeteroData()).splits  # noqa: B018
    with pytest.raises(ValueError, match="Graph 0 must be a `Data` with one kind of nodes, but is a `Tensor`"):
        saved(tmp_path, torch.rand(3)).splits  # noqa: B018
    with pytest.raises(ValueError, match="Graph 0 must have `edge_index`, but has `x`"):
        saved(tmp_path, Data(x=torch.rand(3, 1))).splits  # noqa: B018


class Evil:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_no_file_runs_code(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save([Evil(ran)], tmp_path / "evil.pt")
    with pytest.raises(
        ValueError,
        match=r"evil\.pt` must hold data alone, but asks for `[a-z.]*getattr`",
    ):
        GraphFilesData(str(tmp_path / "evil.pt")).splits  # noqa: B018
    (tmp_path / "evil.gpickle").write_bytes(pickle.dumps(Evil(ran)))
    with pytest.raises(ValueError, match=r"must not be pickles, which may run code, .*write GraphML instead"):
        GraphFilesData(str(tmp_path / "evil.gpickle")).splits  # noqa: B018
    assert not ran.exists()


@pytest.mark.parametrize(
    ("edges", "nodes", "told"),
    [
        (
            "a,b\n1,2\n",
            "id,age\n1,3\n2,\n",
            r"Features of 'nodes\.csv' must be finite, but node '2' has no number in column `age`; to fill",
        ),
        ("a,b\n1,2\n", "id,age\n1,3\n2,old\n", r"Column `age` .* but row 2 \(node '2'\) has 'old'"),
        (
            "a,b\n1,2\n",
            "id,age\n1,3\n2,nan\n",
            r"Features of 'nodes\.csv' must be finite, but node '2' has no number in column `age`",
        ),
        ("a,b\n1,9\n", "id,age\n1,3\n2,4\n", r"'edges\.csv' must join nodes of 'nodes\.csv', but row 1 has '9'"),
        ("a,b\n1,2\n", "id,age\n1,3\n1,4\n", r"'nodes\.csv' must name each node once, but names '1' twice"),
        ("a\n1\n", "id,age\n1,3\n", "must have columns `source` and `target`, but has 'a'"),
        ("", "id,age\n1,3\n", "must have a first line that names its columns, but is empty"),
        ("a,a\n1,2\n", "id,age\n1,3\n", "must name each column once, but 'a' is there twice"),
        (
            "a,b\n1,2\n",
            "id,label,split\n1,x,train\n2,y,dev\n",
            "Column `split` of .* must be of `train`, `val`, `test`",
        ),
    ],
)
def test_damaged_tables(tmp_path: Path, edges: str, nodes: str, told: str) -> None:
    (tmp_path / "edges.csv").write_text(edges)
    (tmp_path / "nodes.csv").write_text(nodes)
    with pytest.raises(ValueError, match=told):
        GraphFilesData(str(tmp_path / "edges.csv"), nodes=str(tmp_path / "nodes.csv")).splits  # noqa: B018


def test_files_that_are_not_there_or_not_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "a.graphml").write_text("<graphml>")
    (tmp_path / "a.doc").write_text("")
    nx.write_graphml(nx.path_graph(3), tmp_path / "b.graphml")
    torch.save([graph()], tmp_path / "c.pt")
    for paths, told in (
        ("nowhere", "`paths` must be files or folders, but there is no `nowhere`"),
        (str(tmp_path / "a.graphml"), r"'a\.graphml' must be GraphML, but cannot be read"),
        (str(tmp_path / "a.doc"), "`paths` must end in one of `.pt`, `.graphml`, .*, but one is 'a.doc'"),
        (
            [str(tmp_path / "b.graphml"), str(tmp_path / "c.pt")],
            "must be files of one kind, but are of `.graphml`, `.pt`",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            GraphFilesData(paths).splits  # noqa: B018
    path = GraphFilesData(str(tmp_path / "b.graphml"))
    assert path.report["features"] == "degrees as features"
    assert path.graphs.samples[0]["x"].argmax(1).tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("2\n2 1\n0 1 1\n0 1 0\n", "but is not"),  # a graph too few
        ("1\n2 1\n0 1 5\n0 1 0\n", "line 3 must name 1 of 2 nodes"),
        ("1\n2 1\n0 2 1\n0 1 0\n", "line 3 must name 2 of 2 nodes"),
        ("1\n3 1\n0 1 1\n0 1 0\n", "graph 0 must have 3 nodes, but the file ends before"),
    ],
)
def test_damaged_files_of_gin(tmp_path: Path, lines: str, told: str) -> None:
    (tmp_path / "TOY.txt").write_text(lines)
    with pytest.raises(ValueError, match=f"must be of TU Dortmund's or GIN's layout, .*{told}"):
        TUData(str(tmp_path / "TOY.txt")).splits  # noqa: B018


def test_damaged_files_of_tu(tmp_path: Path) -> None:
    def write(**parts: str) -> None:
        whole = {"A": "1, 2\n2, 1\n3, 4\n", "graph_indicator": "1\n1\n2\n2\n", "graph_labels": "0\n1\n"} | parts
        for part, text in whole.items():
            (tmp_path / f"TOY_{part}.txt").write_text(text)

    for parts, told in (
        ({"A": "1, 3\n"}, "nodes 1 and 3 must be of one graph to be joined"),
        ({"A": "1, 9\n"}, "`TOY_A.txt` must name nodes from 1 to 4"),
        ({"graph_indicator": "1\n2\n1\n2\n"}, "`TOY_graph_indicator.txt` must count up from 1 to 2"),
        ({"node_labels": "0\n1\n"}, "`TOY_node_labels.txt` must have 4 lines, but has 2"),
    ):
        write(**parts)
        with pytest.raises(ValueError, match=told):
            TUData(str(tmp_path)).splits  # noqa: B018
    (tmp_path / "TOY_graph_labels.txt").unlink()
    with pytest.raises(ValueError, match=r"there is neither `TOY_graph_labels.txt` nor `TOY_graph_attributes.txt`"):
        TUData(str(tmp_path)).splits  # noqa: B018


def test_names_of_sets(tmp_path: Path) -> None:
    for name in ("MUTAG", "PROTEINS"):
        (tmp_path / f"{name}.txt").write_text("1\n2 1\n0 1 1\n1 1 0\n")
    with pytest.raises(ValueError, match="`name` must say which of `MUTAG`, `PROTEINS` to read, but is None"):
        TUData(str(tmp_path)).splits  # noqa: B018
    with pytest.raises(
        ValueError, match="`name` must be one of `MUTAG`, `PROTEINS`, but is 'PROTEIN'; nearest: `PROTEINS`"
    ):
        TUData(str(tmp_path), "PROTEIN").splits  # noqa: B018
    with pytest.raises(ValueError, match=r"`folder` must have files such as `ind.cora.graph`"):
        PlanetoidData(str(tmp_path)).splits  # noqa: B018
    with pytest.raises(ValueError, match="`folder` must be a folder, but there is no 'nowhere'"):
        PlanetoidData("nowhere").splits  # noqa: B018


def test_settings_outside_their_range(tmp_path: Path) -> None:
    for options, told in (
        ({"scale": "row"}, "`scale` must be one of none, rows, columns, but is 'row'"),
        ({"train_ratio": 1.0}, r"`train_ratio` must be in \(0, 1\), but is 1.0"),
        ({"val_ratio": -0.1}, r"`val_ratio` must be in \[0, 1\), but is -0.1"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be at least 1, but is 0"),
    ):
        with pytest.raises(ValueError, match=told):
            GraphFilesData(str(tmp_path), **options)
    with pytest.raises(ValueError, match=r"`features` must be one of .*, but is 'tag'; nearest: `tags`"):
        TUData(str(tmp_path), features="tag")


@pytest.mark.parametrize("ending", [".csv", ".graphml", ".net", ".mtx", ".gml"])
def test_a_packed_graph_that_is_a_bomb_is_refused(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unmask.data.unpacking.MOST", 2**16)
    path = tmp_path / f"a{ending}.gz"
    path.write_bytes(
        gzip.compress(
            {".csv": b"a,b\n", ".mtx": b"%%MatrixMarket matrix array real general\n"}.get(ending, b"") + b" \n" * 2**20
        )
    )
    with pytest.raises(ValueError, match="must unpack to at most"):
        GraphFilesData(str(path)).setup("fit")


def test_a_matrix_of_more_nodes_than_its_file_can_mean_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mtx"
    path.write_text("%%MatrixMarket matrix coordinate real general\n999999999999 999999999999 1\n1 1 1.0\n")
    with pytest.raises(ValueError, match="must unpack to at most 256 MB"):
        GraphFilesData(str(path)).setup("fit")


def test_quantised_features_are_refused(tmp_path: Path) -> None:
    x = torch.quantize_per_tensor(torch.rand(3, 2), 0.1, 0, torch.qint8)
    with pytest.raises(ValueError, match=r"`x` of .* must be plain numbers, but is quantised"):
        saved(tmp_path, {"x": x, "edge_index": torch.tensor([[0, 1], [1, 2]])}).setup("fit")
