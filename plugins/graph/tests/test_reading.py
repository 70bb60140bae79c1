"""What people's own files hold beside graphs as they should be: made right, refused in a line, or told."""

from __future__ import annotations

import gzip
import os
import pickle
import re
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Batch, Data, HeteroData, InMemoryDataset
from torch_geometric.data import Dataset as PyGDataset

from unmask_graph.data import (
    ClusterSampling,
    GraphFilesData,
    NeighborSampling,
    PlanetoidData,
    PyGData,
    TUData,
)

EDGES = "source,target\n" + "".join(f"n{i},n{(i + 1) % 5}\n" for i in range(5))


def tables(folder: Path, edges: str, nodes: str | None = None, name: str = "edges.csv", **more: Any) -> GraphFilesData:
    (folder / name).write_text(edges)
    if nodes is not None:
        (folder / "nodes.csv").write_text(nodes)
        more["nodes"] = str(folder / "nodes.csv")
    return GraphFilesData(str(folder / name), **more)


def saved(folder: Path, whole: Any, **more: Any) -> GraphFilesData:
    torch.save(whole, folder / "graphs.pt")
    return GraphFilesData(str(folder / "graphs.pt"), **more)


def graph(**more: Any) -> Data:
    return Data(**({"x": torch.rand(3, 2), "edge_index": torch.tensor([[0, 1], [1, 2]])} | more))


# Tables


@pytest.mark.parametrize(
    ("edges", "read"),
    [
        ("n0,n1\nn1,n2\n", "n0-n1 n1-n2"),
        ("0,1\n1,2\n", "0-1 1-2"),
        ("x,y,0.5\nz,w,0.25\n", "x-y z-w"),
        ("# Nodes: 3\n# FromNodeId\tToNodeId\n0\t1\n1\t2\n", "0-1 1-2"),
        ("% sym unweighted\n\n1 2\n 2   3\n", "1-2 2-3"),
        ("#comment\nsource target weight\n1 2 0.5\n", "1-2"),
        ("a;b\nb;c\n", "a-b b-c"),
        ("x,y\nn0,n1\n", "n0-n1"),
    ],
)
@pytest.mark.parametrize("name", ["edges.csv", "edges.txt", "edges.edges", "edges.txt.gz"])
def test_edge_lists_with_and_without_a_line_of_names(tmp_path: Path, edges: str, read: str, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(edges.encode()) if name.endswith(".gz") else edges.encode())
    data = GraphFilesData(str(tmp_path / name), directed=True)
    sample = data.graphs.samples[0]
    names = sample["node_names"]
    assert sorted(f"{names[a]}-{names[b]}" for a, b in sample["edges"].T.tolist()) == read.split()
    has_names = edges.startswith(("#comment", "x,y\n"))
    assert ("1 tables have no line of names: their first line is an edge" in data.found()) != has_names
    assert ("lines of comment at the beginning are left out" in data.found()) == (edges[0] in "#%")
    assert ("tables are separated by spaces" in data.found()) == (" " in edges.splitlines()[-1])


def test_whether_the_first_line_is_an_edge_can_be_said(tmp_path: Path) -> None:
    assert tables(tmp_path, "n0,n1\nn1,n2\n", header=True).report["num_edges"] == 1
    assert tables(tmp_path, "x,y\nn0,n1\n", header=False).report["num_edges"] == 2
    assert tables(tmp_path, "a|b\nb|c\n", delimiter="|").report["num_edges"] == 2
    assert tables(tmp_path, "a,1\tb\nb\tc\n", delimiter="tab").report["num_edges"] == 2
    with pytest.raises(ValueError, match=r"`delimiter` must be one sign, tab or space, but is '\|\|'"):
        tables(tmp_path, EDGES, delimiter="||").graphs  # noqa: B018
    data = tables(tmp_path, "n0,n1\nn2,n3\n", "id,age\nn0,1\nn1,2\nn2,3\nn3,4\n")
    assert data.report["num_edges"] == 2


@pytest.mark.parametrize("first", ["n0,31", "7,31", "n9,31,4"])
def test_a_first_line_of_data_in_a_table_of_nodes_is_refused(tmp_path: Path, first: str) -> None:
    nodes = f"{first}\nn1,32{',5' * (first.count(',') - 1)}\n"
    with pytest.raises(ValueError, match=r"'nodes\.csv' must name its columns, but is '.*', which looks like a node"):
        tables(tmp_path, EDGES, nodes).graphs  # noqa: B018


@pytest.mark.parametrize("header", ["src,dst", "From,To", "u,v", "weight,id1,id2", "target,weight,source"])
def test_columns_of_ends_are_found_by_their_names(tmp_path: Path, header: str) -> None:
    named = header.split(",")
    ends = [name for name in named if name != "weight"]
    backwards = ends[0] == "target"
    rows = [{ends[0]: f"{i}", ends[1]: f"{i + 1}", "weight": "0.5"} for i in range(3)]
    lines = [header, *(",".join(row[name] for name in named) for row in rows)]
    sample = tables(tmp_path, "\n".join(lines), directed=True).graphs.samples[0]
    forward = [[0, 1, 2], [1, 2, 3]]
    assert sample["edges"].tolist() == (forward[::-1] if backwards else forward)
    assert ("edge_values" in sample) == ("weight" in named)


def test_columns_that_are_guessed_are_told(tmp_path: Path) -> None:
    data = tables(tmp_path, "one,other\nn0,n1\n", "who,age\nn0,1\nn1,2\n")
    assert (
        "2 tables name their nodes in columns of other names than usual: edges.csv (`one`, `other`), " in data.found()
    )


def test_several_graphs_in_one_table(tmp_path: Path) -> None:
    edges = "graph_id,source,target\n" + "".join(f"{g},{i},{i + 1}\n" for g in (10, 2, 1) for i in range(g % 4 + 1))
    data = tables(tmp_path, edges)
    assert [sample["edges"].shape[1] // 2 for sample in data.graphs.samples] == [2, 3, 3]  # 1, 2, 10
    assert data.report["num_duplicate_edges"] == 0

    nodes = "graph_id,id,age,label\n0,a,3,x\n0,b,4,y\n1,a,5,\n1,b,6,x\n2,a,7,x\n2,b,8,y\n"
    data = tables(tmp_path, "graph_id,source,target\n1,b,a\n0,a,b\n", nodes, directed=True)
    assert [sample["x"][:, 0].tolist() for sample in data.graphs.samples] == [[3, 4], [5, 6], [7, 8]]
    assert [sample["edges"].T.tolist() for sample in data.graphs.samples] == [[[0, 1]], [[1, 0]], []]
    assert [sample["label"].tolist() for sample in data.graphs.samples] == [[0, 1], [-100, 0], [0, 1]]
    assert data.classes == ["x", "y"]

    for pair in (("source,target\na,b\n", nodes), ("graph_id,source,target\n0,a,b\n", "id,age\na,1\nb,2\n")):
        with pytest.raises(ValueError, match=r"must have the column `graph_id` as .* has it, which tells graphs apart"):
            tables(tmp_path, *pair).graphs  # noqa: B018


def test_the_graph_column_is_an_option(tmp_path: Path) -> None:
    edges = "mol,source,target\n" + "".join(f"{g},{i},{i + 1}\n" for g in range(10) for i in range(4))
    told = r"must name each edge once, but repeats 36 of 40, each with another `mol`; set `graph_column` to mol"
    with pytest.raises(ValueError, match=told):
        tables(tmp_path, edges).graphs  # noqa: B018
    data = tables(tmp_path, edges, graph_column="mol")
    assert data.report["num_graphs"] == 10
    assert [sample["name"] for sample in data.graphs.samples] == [str(number) for number in range(10)]
    assert tables(tmp_path, edges, graph_column="none").report["num_graphs"] == 1
    with pytest.raises(
        ValueError, match=r"`graph_column` must name a column of 'edges.csv', but is 'mool'; nearest: `mol`"
    ):
        tables(tmp_path, edges, graph_column="mool").graphs  # noqa: B018
    weighted = "source,target,weight\n" + "".join(f"a,b,{number / 7}\n" for number in range(9))
    assert tables(tmp_path, weighted).report["num_duplicate_edges"] == 8  # no column tells graphs apart


def test_labels_of_graphs_from_a_table(tmp_path: Path) -> None:
    edges = "graph_id,source,target\n" + "".join(f"{g},0,1\n" for g in ("a", "b", "c"))
    (tmp_path / "graphs.csv").write_text("graph_id,label,homo,lumo\na,x,0.5,1\nc,y,,2\nd,x,1,1\n")
    where = {"graphs": str(tmp_path / "graphs.csv")}
    data = tables(tmp_path, edges, **where)
    assert [sample["label"] for sample in data.graphs.samples] == [0, -100, 1] and data.classes == ["x", "y"]
    assert "1 graphs have no row in `graphs`: b." in data.found()
    assert "1 rows of `graphs` are of no graph: d." in data.found()
    assert "2 columns of `graphs` are not read: `homo`, `lumo`." in data.found()
    data = tables(tmp_path, edges, label_column="homo", **where)
    assert str([sample["label"] for sample in data.graphs.samples]) == "[0.5, nan, nan]"
    data = tables(tmp_path, edges, label_column=["homo", "lumo"], batch_size=3, val_ratio=0, **where)
    batch = next(iter(data.val_dataloader()))
    assert str(batch["label"].tolist()) == "[[0.5, 1.0], [nan, nan], [nan, 2.0]]"
    assert batch["name"] == ["a", "b", "c"] and data.report["num_unlabelled"] == 1
    for options, told in (
        (
            {"label_column": "hom"},
            "`label_column` must name columns of nodes, or of graphs, but has 'hom'; nearest: `homo`",
        ),
        (
            {"label_column": ["homo", "label"]},
            "`homo, label` of graphs must hold a number for each graph, but holds 'x'; nearest `label_kind`: 'class'",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            tables(tmp_path, edges, **where, **options).graphs  # noqa: B018
    for text, told in (
        ("0,1.5\n1,2\n", r"'graphs\.csv' must name its columns, but is '0', '1\.5'; put a line such as"),
        ("graph_id,label\n0,x\n", r"must have rows of the graphs, which are called 'a', 'b', 'c', but .* has '0'"),
        ("graph_id,label\na,x\na,y\n", "must name each graph once, but names 'a' twice"),
    ):
        (tmp_path / "graphs.csv").write_text(text)
        with pytest.raises(ValueError, match=told):
            tables(tmp_path, edges, **where).graphs  # noqa: B018
    with pytest.raises(ValueError, match="`graphs` must be None for a single graph"):
        tables(tmp_path, "source,target\na,b\n", **where).graphs  # noqa: B018


def test_true_and_false_are_numbers(tmp_path: Path) -> None:
    nodes = "id,age,paid\na,1,True\nb,2,FALSE\nc,3,\n"
    data = tables(tmp_path, "source,target\na,b\nb,c\n", nodes, missing="zero")
    assert data.graphs.samples[0]["x"].tolist() == [[1, 1], [2, 0], [3, 0]]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("zero", [[1, 0], [0, 3], [5, 3]]),
        ("mean", [[1, 3], [3, 3], [5, 3]]),
        ("indicator", [[1, 3, 0, 1], [3, 3, 1, 0], [5, 3, 0, 0]]),
    ],
)
def test_missing_values_are_filled(tmp_path: Path, missing: Any, expected: list[list[float]]) -> None:
    edges = "source,target,weight\na,b,2\nb,c,n/a\n"
    nodes = "id,age,size\na,1,\nb,NA,3\nc,5,3\n"
    data = tables(tmp_path, edges, nodes, missing=missing, directed=True)
    sample = data.graphs.samples[0]
    assert sample["x"].tolist() == expected
    filler = 0.0 if missing == "zero" else 2.0
    assert sample["edge_values"].tolist() == ([[2, 0], [filler, 1]] if missing == "indicator" else [[2], [filler]])
    assert "2 features have gaps, which became " in data.found() and ": `age` (1), `size` (1)." in data.found()
    assert "1 columns of edge values have gaps, which became " in data.found()
    x = torch.tensor([[1, float("nan")], [float("inf"), 3], [5, 3]])
    assert saved(tmp_path, graph(x=x), missing=missing).graphs.samples[0]["x"].tolist() == expected
    with pytest.raises(ValueError, match="`missing` must be one of refuse, zero, mean, indicator, but is 'median'"):
        GraphFilesData("a.pt", missing="median")


def test_columns_of_kinds(tmp_path: Path) -> None:
    edges = "source,target,bond\na,b,single\nb,c,double\n"
    nodes = "id,atom,age,chain,gap\na,6,1,x,\nb,10,2,,\nc,6,3,y,\n"
    kinds: dict[str, Any] = {"categories": ["atom", "chain"], "edge_categories": ["bond"]}
    data = tables(tmp_path, edges, nodes, directed=True, **kinds)
    sample = data.graphs.samples[0]
    assert sample["x"].tolist() == [[1, 1, 0, 1, 0], [2, 0, 1, 0, 0], [3, 1, 0, 0, 1]]
    assert sample["edge_values"].tolist() == [[0, 1], [1, 0]]
    assert (
        "3 columns are kinds, one-hot: `atom` (2: 6, 10), `chain` (2: x, y), `bond` (2: double, single)."
        in data.found()
    )
    assert "1 columns of kinds have empty cells, which have 0 for every kind: `chain` (1)." in data.found()
    assert tables(tmp_path, edges, nodes, categories="atom").num_features == 3
    assert "1 columns without any value are left out: `gap` of nodes." in data.found()
    fixed = tables(tmp_path, edges, nodes, categories={"atom": [1, 6, 10]})
    assert fixed.graphs.samples[0]["x"].tolist() == [[1, 0, 1, 0], [2, 0, 0, 1], [3, 0, 1, 0]]
    for options, told in (
        ({"categories": ["atm"]}, "`categories` must name columns of nodes, but has 'atm'; nearest: `atom`"),
        ({"categories": ["gap"]}, "`gap` must hold at least one kind to be one-hot, but is empty"),
        ({"categories": {"atom": [1, 6]}}, "Column `atom` must hold kinds that are asked for, but holds '10'"),
    ):
        with pytest.raises(ValueError, match=told):
            tables(tmp_path, edges, nodes, **options).graphs  # noqa: B018
    data = saved(tmp_path, graph(x=torch.tensor([[6, 0, 9], [7, 1, 8], [6, 0, 7]])), categories=[0], directed=True)
    assert data.graphs.samples[0]["x"].tolist() == [[0, 9, 1, 0], [1, 8, 0, 1], [0, 7, 1, 0]]
    given = graph(edge_attr=torch.tensor([[1], [3]]))
    data = saved(tmp_path, given, edge_categories={0: [1, 2, 3]}, directed=True)
    assert data.graphs.samples[0]["edge_values"].tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="`categories` must name columns of features, but has '2'; nearest: `0`, `1`"):
        saved(tmp_path, graph(), categories=[2]).graphs  # noqa: B018


def test_the_table_and_the_node_of_a_wrong_cell_are_named(tmp_path: Path) -> None:
    whole = r"Features of 'nodes\.csv' must be finite, but node 'n1' has"
    text = r"Column `age` of 'nodes\.csv' must have a number or nothing in each row, but row 2 \(node 'n1'\) has"
    for cell, told in (
        ("", f"{whole} no number in column `age`; to fill them, set `missing` to mean, indicator or zero"),
        ("inf", f"{whole} inf in column `age`"),
        ("old", f"{text} 'old'; where it holds kinds, name it in `categories`"),
        ("x" * 200_000, f"{text} 'xxxx"),
    ):
        nodes = f"id,age\nn0,1\nn1,{cell}\n" + "".join(f"n{i},2\n" for i in (2, 3, 4))
        with pytest.raises(ValueError, match=told) as error:
            tables(tmp_path, EDGES, nodes).graphs  # noqa: B018
        assert len(str(error.value)) < 300
    with pytest.raises(
        ValueError, match=r"Edge values of edges\.csv must be finite, but row 1 has no number in column"
    ):
        tables(tmp_path, "source,target,weight\na,b,\nb,c,1\n").graphs  # noqa: B018


def test_rows_and_columns_that_are_left_out_are_told(tmp_path: Path) -> None:
    edges = ",source,target,kind\n0,n0,n1,x\n1,,n2,y\n2,n1,n2,z\n3,n1\n"
    data = tables(tmp_path, edges)
    assert data.report["num_edges"] == 2
    for told in (
        "1 rows without a node or a graph are left out: row 2 of edges.csv.",
        "1 rows with more or fewer fields than the first line are left out: line 5 of edges.csv.",
        "1 columns without a name are left out: of edges.csv.",
        "text are left out (`categories`, of edges `edge_categories`, makes kinds of things one-hot): `kind` of edges.",
    ):
        assert told in data.found()


@pytest.mark.parametrize(
    ("labels", "read", "classes"),
    [
        (["b", "", "a", "b", "nan"], [1, -100, 0, 1, -100], ["a", "b"]),
        (["10", "9", "", "10", "9"], [1, 0, -100, 1, 0], ["9", "10"]),
        (["1.0", "2.0", "", "1.0", "2.0"], [0, 1, -100, 0, 1], ["1.0", "2.0"]),
        (["0.5", "2", "", "n/a", "-1"], [0.5, 2, None, None, -1], []),
    ],
)
def test_labels_are_classes_or_numbers(tmp_path: Path, labels: list[str], read: list[Any], classes: list[str]) -> None:
    nodes = "id,age,label\n" + "".join(f"n{i},{i},{label}\n" for i, label in enumerate(labels))
    data = tables(tmp_path, EDGES, nodes)
    label = data.graphs.samples[0]["label"]
    assert [None if np.isnan(one) else one for one in label.tolist()] == read
    assert label.is_floating_point() == (not classes)
    assert list(data.classes) == classes
    assert data.report["num_unlabelled"] == sum(one in (None, -100) for one in read)


@pytest.mark.parametrize(
    ("options", "read", "classes"),
    [
        ({"label_column": "age", "label_kind": "class"}, [2, 1, 0], ["0.25", "1", "2.5"]),
        ({"label_column": "age", "label_kind": "number"}, [2.5, 1, 0.25], []),
        ({"label_column": "tags", "label_kind": "multi-label"}, [[1, 1], [0, 1], [-100, -100]], ["art", "loud"]),
        (
            {"label_column": ["art", "loud"], "label_kind": "multi-label"},
            [[1, 0], [0, -100], [-100, -100]], ["art", "loud"],
        ),
        ({"label_column": ["age", "size"]}, [[2.5, 3], [1, None], [0.25, 4]], []),
        ({"label_column": "pair", "label_kind": "numbers", "label_separator": "|"}, [[1, 2], [None, None], [3, 4]], []),
    ],
)  # fmt: skip
def test_label_kinds_are_those_of_all_data(tmp_path: Path, options: Any, read: list[Any], classes: list[str]) -> None:
    """Of nodes, and of graphs that have the same cells in a table of their own."""
    names = "age,size,tags,art,loud,pair"
    rows = ["2.5,3,loud;art,1,0,1|2", "1,,loud,0,,", "0.25,4,,,,3|4"]
    nodes = f"id,{names}\n" + "".join(f"n{i},{row}\n" for i, row in enumerate(rows))
    data = tables(tmp_path, "source,target\nn0,n1\nn1,n2\n", nodes, missing="zero", **options)
    assert nan_as_none(data.graphs.samples[0]["label"].tolist()) == read and list(data.classes) == classes

    (tmp_path / "graphs.csv").write_text(f"graph_id,{names}\n" + "".join(f"g{i},{row}\n" for i, row in enumerate(rows)))
    edges = "graph_id,source,target\n" + "".join(f"g{i},a,b\n" for i in range(3))
    data = tables(tmp_path, edges, graphs=str(tmp_path / "graphs.csv"), batch_size=3, val_ratio=0, **options)
    assert nan_as_none(next(iter(data.val_dataloader()))["label"].tolist()) == read and list(data.classes) == classes


def nan_as_none(values: Any) -> Any:
    return [nan_as_none(one) for one in values] if isinstance(values, list) else None if values != values else values


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"label_kind": "clas"}, "`label_kind` must be one of .*, but is 'clas'; nearest: `class`"),
        ({"label_kind": "number"}, "`label` of nodes must hold a number for each node, but holds 'a'; nearest `lab"),
        ({"label_separator": ";"}, "`label_separator` must be left out for 'class', but is ';'"),
        (
            {"label_column": ["age", "label"], "label_kind": "class"},
            r"`label_column` must be one column where `label_kind` is 'class', but is \['age', 'label'\]; nearest: 'm",
        ),
        ({"label_column": "mix"}, "`mix` of nodes must hold one label for each node, but holds several in one, such"),
    ],
)  # fmt: skip
def test_label_kinds_that_do_not_fit_are_refused(tmp_path: Path, options: Any, told: str) -> None:
    nodes = "id,age,label,mix\nn0,1,a,x;y\nn1,2,b,x\n"
    with pytest.raises(ValueError, match=told):
        tables(tmp_path, "source,target\nn0,n1\n", nodes, **options).graphs  # noqa: B018


def test_names_of_columns_are_read_in_any_case(tmp_path: Path) -> None:
    nodes = "ID,Age,LABEL,Split\na,1,x,Train\nb,2,y,test\nc,3,x,\n"
    data = tables(tmp_path, "Source,TARGET\na,b\nb,c\n", nodes)
    assert data.graphs.names == ["Age"] and data.classes == ["x", "y"]
    assert data.graphs.masks["train"].tolist() == [True, False, False]
    assert tables(tmp_path, "Source,TARGET\na,b\n", nodes, label_column="label").classes == ["x", "y"]


@pytest.mark.parametrize(
    ("edges", "nodes", "told"),
    [
        ("a,b,0.5", "a;3,5\nb;4", "row 1 (node 'a') has '3,5'; write decimals with a point."),
        ("a,z,0.5", "a,1\nb,2", "row 1 has 'z', and nodes are called 'a', 'b'; give it a row there, or write both"),
        ("1,2,0.5", "1.0,3\n2.0,4", "row 1 has '1', and nodes are called '1.0', '2.0'; give it"),
    ],
)
def test_cells_that_do_not_fit_are_refused_with_a_way(tmp_path: Path, edges: str, nodes: str, told: str) -> None:
    mark = ";" if ";" in nodes else ","
    with pytest.raises(ValueError, match=re.escape(told)):
        tables(tmp_path, f"source,target,w\n{edges}\n", f"id{mark}age\n{nodes}\n").graphs  # noqa: B018


def test_new_tables_are_read_without_labels_or_with(tmp_path: Path) -> None:
    """Its column of labels is no feature of new data; where nodes have a table of their own, the way is named."""
    edges = "graph_id,source,target\nx,a,b\ny,a,b\n"
    (tmp_path / "graphs.csv").write_text("graph_id,homo\nx,1\ny,2\n")
    data = tables(tmp_path, edges, graphs=str(tmp_path / "graphs.csv"), label_column="homo")
    with pytest.raises(ValueError, match=r"'new\.csv' must come with its own `graphs`, .*; give `--data` a YAML file"):
        data.elsewhere("new.csv")
    for name, age in (("a", 1.5), ("b", 2.5)):
        graph = nx.path_graph(3)
        nx.set_node_attributes(graph, {i: {"age": age, "size": float(i)} for i in graph})
        nx.write_graphml(graph, tmp_path / f"{name}.graphml")
    data = GraphFilesData(str(tmp_path / "a.graphml"), label_column="age")
    other = data.elsewhere(str(tmp_path / "b.graphml"))
    assert data.num_features == other.num_features == 1
    bare = nx.path_graph(3)
    nx.set_node_attributes(bare, {i: {"size": float(i)} for i in bare})
    nx.write_graphml(bare, tmp_path / "c.graphml")
    assert "label" not in data.elsewhere(str(tmp_path / "c.graphml")).graphs.samples[0]


def test_whole_numbers_that_may_be_kinds_are_told(tmp_path: Path) -> None:
    edges = "source,target\n" + "".join(f"{i},{i + 1}\n" for i in range(39))
    nodes = "id,atom,flag,size\n" + "".join(f"{i},{[1, 6, 7, 8][i % 4]},{i % 2},{i / 2}\n" for i in range(40))
    told = tables(tmp_path, edges, nodes).found()
    assert "1 features are whole numbers of few values, read as real numbers; where" in told
    assert "`atom` (1 to 8)." in told
    assert "whole numbers" not in tables(tmp_path, edges, "id,age\n" + "".join(f"{i},{i}\n" for i in range(40))).found()


@pytest.mark.parametrize("ending", [".graphml", ".gexf", ".gml", ".net", ".graphml.gz"])
def test_files_of_other_programs(tmp_path: Path, ending: str) -> None:
    given = nx.Graph()
    for number, (name, club, age) in enumerate([("Ann", "x", 1.0), ("Bob", "y", 2.0), ("Cleo", "x", 4.0)]):
        key = name if ending in (".net", ".gml") else number
        given.add_node(key, club=club, age=age if ending != ".net" else str(age), label=name)
    given.add_edges_from((*edge, {"weight": 0.5}) for edge in list(nx.path_graph([*given]).edges))
    path = tmp_path / f"a{ending}"
    write = {".net": nx.write_pajek, ".gexf": nx.write_gexf, ".gml": nx.write_gml}.get(ending, nx.write_graphml)
    write(given, path)
    data = GraphFilesData(str(path), label_column="club")
    sample = data.graphs.samples[0]
    assert data.token_names("train", 0) == ["Ann", "Bob", "Cleo"]
    assert sample["x"].tolist() == [[1], [2], [4]] and sample["name"] == f"a{ending}"
    assert sample["label"].tolist() == [0, 1, 0] and data.classes == ["x", "y"]
    assert sample["edge_values"].tolist() == [[0.5]] * 4
    assert "label" not in GraphFilesData(str(path)).graphs.samples[0]
    if ending != ".net":
        assert "hold names of nodes in `label`, which are no classes" in data.found()
        assert list(GraphFilesData(str(path), label_column="label").classes) == ["Ann", "Bob", "Cleo"]


def test_tables_beside_the_files_are_no_graphs(tmp_path: Path) -> None:
    for name in "ab":
        nx.write_graphml(nx.path_graph(3), tmp_path / f"{name}.graphml")
    (tmp_path / "graphs.csv").write_text("file,label\na,x\nb.graphml,y\n")
    data = GraphFilesData(str(tmp_path), graphs=str(tmp_path / "graphs.csv"))
    assert [(one["name"], one["label"]) for one in data.graphs.samples] == [("a.graphml", 0), ("b.graphml", 1)]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", ""])
def test_matrix_market_with_any_end_of_a_line(end: str, tmp_path: Path) -> None:
    lines = ["%%MatrixMarket matrix coordinate real general", "3 3 2", "1 2 1.0", "3 1 0.5"]
    (tmp_path / "a.mtx").write_bytes((end or "\n").join(lines).encode() + end.encode())
    data = GraphFilesData(str(tmp_path / "a.mtx"), directed=True)
    assert data.graphs.samples[0]["edges"].T.tolist() == [[0, 1], [2, 0]]


def test_matrix_market(tmp_path: Path) -> None:
    matrix = scipy.sparse.coo_matrix(([2.0, 3.0], ([0, 1], [1, 3])), shape=(4, 4))
    scipy.io.mmwrite(tmp_path / "a.mtx", matrix)
    scipy.io.mmwrite(tmp_path / "b.mtx", matrix + matrix.T, symmetry="symmetric", field="pattern")
    data = GraphFilesData(str(tmp_path / "a.mtx"), directed=True)
    assert data.graphs.samples[0]["edges"].T.tolist() == [[0, 1], [1, 3]]
    assert data.graphs.samples[0]["edge_values"].tolist() == [[2], [3]]
    data = GraphFilesData(str(tmp_path / "b.mtx"), directed=True)
    assert data.graphs.samples[0]["edges"].T.tolist() == [[0, 1], [1, 0], [1, 3], [3, 1]]
    assert "edge_values" not in data.graphs.samples[0] and data.report["num_isolated_nodes"] == 1
    for name, text, told in (
        ("c.mtx", "nonsense", "'c.mtx' must be Matrix Market, but cannot be read"),
        (
            "d.mtx",
            "%%MatrixMarket matrix coordinate real general\n2 3 1\n1 3 1\n",
            "must be a square matrix of real numb",
        ),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=told):
            GraphFilesData(str(tmp_path / name)).graphs  # noqa: B018


def test_options_of_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    nx.write_graphml(nx.path_graph(3), tmp_path / "a.graphml")
    torch.save(graph(), tmp_path / "a.pt")
    given: tuple[tuple[str, str, Any], ...] = (
        ("a.graphml", "header", True), ("a.graphml", "graph_column", "g"),
        ("a.pt", "graphs", "g.csv"), ("a.graphml", "num_kinds", 3), ("a.pt", "delimiter", ","),
    )  # fmt: skip
    for name, option, value in given:
        with pytest.raises(ValueError, match=rf"`{option}` must be None for \.\w+ files, but is {value!r}"):
            GraphFilesData(str(tmp_path / name), **{option: value}).graphs  # noqa: B018


def test_names_of_graphs_and_nodes(tmp_path: Path) -> None:
    nodes = "id,age\n" + "".join(f"n{i},{i}\n" for i in range(5))
    data = tables(tmp_path, EDGES, nodes)
    assert next(iter(data.val_dataloader()))["name"] == ["edges.csv"]
    assert data.token_names("val", 0) == [f"n{i}" for i in range(5)]
    many = "graph_id,source,target\n" + "".join(f"g{g},a{g},b{g}\n" for g in range(4))
    data = tables(tmp_path, many, val_ratio=0.25)
    held = next(iter(data.val_dataloader()))["name"]
    assert data.token_names("val", 0) == [f"a{held[0][1]}", f"b{held[0][1]}"]
    data = saved(tmp_path, graph())
    assert data.token_names("train", 0) is None and next(iter(data.val_dataloader()))["name"] == ["graphs.pt"]
    data = saved(tmp_path, [graph(name="ring", node_names=["a", "b", "c"]), graph(node_names=["d", "e", "f"])])
    assert [sample["name"] for sample in data.graphs.samples] == ["ring", "graphs 1"]
    assert data.graphs.samples[1]["node_names"] == ["d", "e", "f"]
    with pytest.raises(ValueError, match="`node_names` of Graph 0 must be a list of 3 words"):
        saved(tmp_path, graph(node_names=["a"])).graphs  # noqa: B018
    parts = tables(tmp_path, EDGES, nodes, sampling=ClusterSampling(2), batch_size=2)
    batch = next(iter(parts.val_dataloader()))
    names = [*(parts.token_names("val", 0) or []), *(parts.token_names("val", 1) or [])]
    assert names == [f"n{i}" for i in batch["node"].tolist()] and batch["name"] == ["cluster 0", "cluster 1"]
    parts = tables(tmp_path, EDGES, nodes, sampling=NeighborSampling((1,), val_nodes=5), batch_size=5)
    batch = next(iter(parts.val_dataloader()))
    assert batch["name"] == [f"n{i}" for i in range(5)]
    names = [name for i in range(5) for name in parts.token_names("val", i) or []]
    assert names == [f"n{i}" for i in batch["node"].tolist()]


def test_an_undirected_file_keeps_both_directions(tmp_path: Path) -> None:
    nx.write_graphml(nx.path_graph(3), tmp_path / "a.graphml")
    data = GraphFilesData(str(tmp_path / "a.graphml"), directed=True)
    assert data.graphs.samples[0]["edges"].T.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert (
        "1 files hold undirected graphs, whose edges run both ways in spite of `directed`: a.graphml." in data.found()
    )


def test_folders_are_read_by_the_common_rule(tmp_path: Path) -> None:
    folder = tmp_path / "graphs"
    (folder / ".hidden").mkdir(parents=True)
    for place in ("a.graphml", ".hidden/b.graphml"):
        nx.write_graphml(nx.path_graph(3), folder / place)
    (folder / "again").symlink_to(folder)
    (folder / "notes.txt").write_text("")
    os.mkfifo(folder / "pipe.graphml")
    data = GraphFilesData(str(folder))
    assert data.report["num_graphs"] == 1
    told = data.found()
    for kind in ("hidden files", "other endings are left out: notes.txt", "links to files", "pipes, sockets"):
        assert kind in told


# PyG's files


def test_the_processed_file_of_a_data_set(tmp_path: Path) -> None:
    datas = [graph(x=torch.rand(n, 2), y=torch.tensor([n / 2]), edge_attr=torch.rand(2, 3)) for n in (3, 4, 5)]
    whole, slices = InMemoryDataset.collate(datas)
    for kept in ((whole, slices), (whole.to_dict(), slices, Data), (whole.to_dict(), slices, {"num_nodes": 3}, Data)):
        samples = saved(tmp_path, kept).graphs.samples
        for sample, data in zip(samples, datas, strict=True):
            assert torch.equal(sample["x"], data.x) and sample["label"] == data.y.item()
            assert sample["edge_values"].shape == (4, 3)
    assert len(saved(tmp_path, (datas[0].to_dict(), None, Data)).graphs.samples) == 1
    with pytest.raises(ValueError, match=r"'graphs\.pt' must hold graphs that fit its slices, but does not: "):
        saved(tmp_path, (whole, {key: 100 * value for key, value in slices.items()})).graphs  # noqa: B018


def hetero() -> HeteroData:
    made = HeteroData()
    made["user"].x = torch.rand(3, 2)
    made["user", "knows", "user"].edge_index = torch.tensor([[0], [1]])
    return made


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        ({1: 2}, r"'graphs\.pt' must hold `Data` or dicts with `x`, `edge_index`, \.\.\., but holds a dict of `1`"),
        ("words", "Graph 0 must be a `Data` with one kind of nodes, but is a `str`"),
        (graph(x="words"), "`x` of Graph 0 must be a tensor, but is a str"),
        (graph(y="words"), "`y` of Graph 0 must be a tensor, but is a str"),
        (graph(x=torch.rand(3, 2) + 1j), "Features of Graph 0 must be real numbers"),
        (graph(x=None, num_nodes=10**12), "Graph 0 must have at most 100,000,000 nodes where it has no features"),
        (graph(x=None, num_nodes=2), r"Edges of Graph 0 must join nodes in \[0, 1\], but one joins 1 and 2"),
        (graph(num_nodes=10**12), "`num_nodes` of Graph 0 must be 3, the rows of `x`, but is 1000000000000"),
        (graph(x=torch.rand(1).expand(10**13)[:, None]), "The data must fit into the memory, but does not"),
        (graph(edge_index=torch.tensor([[0, 1], [1, 2], [2, 0]])), r"must have the shape \[2, E\], but have \[3, 2\]"),
        (graph(edge_index=torch.tensor([[0.3], [1.0]])), "Edges of Graph 0 must be whole numbers, but are not"),
        (graph(edge_weight=torch.rand(1), edge_attr=torch.rand(2)), "must have as many rows, but have"),
        (graph(y=torch.tensor([0, 1, 0]), train_mask=torch.ones(2).bool(), test_mask=torch.ones(2).bool()),
         "`train_mask` must have one value for each of 3 nodes, but has 2"),
        (Batch.from_data_list([graph()]), "must hold data alone, but asks for `torch_geometric.data.batch."),
        (hetero(), r"must be a `Data` with one kind of nodes, but is a `HeteroData`; `to_homogeneous\(\)` makes"),
        ([graph(y=torch.tensor([[0, 3]]))], "must have 0 or 1 for each of several classes in `y`, .* but has 3"),
        ([graph(y=torch.rand(1, 2)), graph(y=torch.rand(1, 4))], "Graph 1 must have 2 labels as Graph 0, .* but has 4"),
        ([graph(edge_attr=torch.rand(2, 2)), graph(edge_attr=torch.rand(2))],
         "Graph 1 must have 2 edge values as Graph 0, but has 1"),
        ([graph(y=torch.rand(2, 2))], r"must have labels in one row, or one per node, but `y` has the shape \(2, 2\)"),
        ((hetero().to_dict(), {}, HeteroData), "with one kind of nodes, but is a `HeteroData`"),
    ],
)  # fmt: skip
def test_what_is_no_graph_is_one_plain_line(tmp_path: Path, whole: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        saved(tmp_path, whole).graphs  # noqa: B018
    assert "\n" not in str(error.value)


def test_several_labels_of_a_graph(tmp_path: Path) -> None:
    whole = [graph(y=torch.tensor([[n / 2, float("nan")]])) for n in (3, 4, 5)]
    data = saved(tmp_path, whole, batch_size=3, val_ratio=0)
    assert str(next(iter(data.val_dataloader()))["label"].tolist()) == "[[1.5, nan], [2.0, nan], [2.5, nan]]"
    for label, chosen in ((0, "1.5"), (["1", 0], "(nan, 1.5)")):
        assert str(saved(tmp_path, whole, label_column=label).graphs.samples[0]["label"]) == chosen
    with pytest.raises(ValueError, match="`label_column` must name columns of `y`, but has '2'; nearest: `0`, `1`"):
        saved(tmp_path, whole, label_column=2).graphs  # noqa: B018
    given = graph(y=torch.tensor([[0, 1], [1, 1], [0, 0]]))
    assert saved(tmp_path, given, label_column=1).graphs.samples[0]["label"].tolist() == [1, 1, 0]
    data = saved(tmp_path, [graph(y=torch.tensor([[n, 1, -1]])) for n in (0, 1)], batch_size=2, val_ratio=0)
    assert next(iter(data.val_dataloader()))["label"].tolist() == [[0, 1, -100], [1, 1, -100]]
    assert list(data.classes) == ["0", "1", "2"]


def test_labels_that_are_not_finite_are_none(tmp_path: Path) -> None:
    data = saved(tmp_path, [graph(y=torch.tensor([float("nan")])), graph(y=torch.tensor([1.5]))])
    assert data.report["num_unlabelled"] == 1
    assert data.graphs.samples[1]["label"] == 1.5 and not data.classes
    data = saved(tmp_path, graph(y=torch.tensor([0.5, float("inf"), 2])))
    assert data.graphs.samples[0]["label"].isnan().tolist() == [False, True, False]
    assert "1 without a label" in data.found()


def test_weights_of_edges_are_values_and_what_is_not_read_is_told(tmp_path: Path) -> None:
    given = graph(edge_weight=torch.tensor([3.0, 4]), edge_attr=torch.tensor([[1.0, 5], [2, 6]]), z=torch.ones(3))
    data = saved(tmp_path, given, directed=True)
    assert data.graphs.samples[0]["edge_values"].tolist() == [[1, 5, 3], [2, 6, 4]]
    assert "1 attributes of `Data` are not read: `z`." in data.found()
    data = saved(tmp_path, graph(edge_weight=torch.tensor([3.0, 4])), directed=True)
    assert data.graphs.samples[0]["edge_values"].tolist() == [[3], [4]]


def test_kinds_of_nodes_become_one_hot(tmp_path: Path) -> None:
    whole = [graph(x=torch.tensor([[0], [2], [5]])), graph(x=torch.tensor([[1], [1], [2]]))]
    data = saved(tmp_path, whole)
    assert [sample["x"].argmax(1).tolist() for sample in data.graphs.samples] == [[0, 2, 5], [1, 1, 2]]
    assert data.num_features == 6
    assert "6 kinds as features (`x` of whole numbers, one-hot)" in data.found()
    assert saved(tmp_path, whole, num_kinds=28).num_features == 28
    for options, xs in (({"num_kinds": 5}, whole), ({"num_kinds": 3}, [graph()])):
        with pytest.raises(ValueError, match="`num_kinds` must be None, or more than the largest"):
            saved(tmp_path, xs, **options).graphs  # noqa: B018
    for x in (torch.tensor([[0.0], [2], [5]]), torch.tensor([[-1], [2], [5]]), torch.tensor([[0, 1], [2, 1], [5, 1]])):
        assert saved(tmp_path, graph(x=x)).num_features == x.shape[1]


class Evil:
    """Would make a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def write_toy_set(folder: Path) -> None:
    raw = folder / "TOY" / "raw"
    raw.mkdir(parents=True)
    for part, text in {
        "A": "1, 2\n2, 1\n3, 4\n", "graph_indicator": "1\n1\n2\n2\n", "graph_labels": "0\n1\n",
        "node_labels": "0\n1\n2\n1\n",
    }.items():  # fmt: skip
        (raw / f"TOY_{part}.txt").write_text(text)


@pytest.mark.parametrize("part", ["data.pt", "pre_transform.pt", "pre_filter.pt"])
def test_no_file_of_a_pyg_data_set_runs_code(tmp_path: Path, part: str) -> None:
    write_toy_set(tmp_path)
    data = PyGData("TUDataset", str(tmp_path), {"name": "TOY"})
    data.prepare_data()
    assert data.num_features == 3
    path, ran = tmp_path / "TOY" / "processed" / part, tmp_path / "ran"
    assert path.is_file()
    again = PyGData("TUDataset", str(tmp_path), {"name": "TOY"})
    assert again.num_features == 3  # from what is processed
    torch.save(Evil(ran), path)
    for call in (
        lambda: PyGData("TUDataset", str(tmp_path), {"name": "TOY"}).prepare_data(),
        lambda: PyGData("TUDataset", str(tmp_path), {"name": "TOY"}).graphs,
    ):
        with pytest.raises(ValueError, match=rf"{part}` must hold data alone, but asks for `\w+\.mkdir`"):
            call()
    assert not ran.exists()
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=rf"{part}` cannot be read; it may be damaged"):
        PyGData("TUDataset", str(tmp_path), {"name": "TOY"}).graphs  # noqa: B018


def test_no_raw_file_and_no_sample_of_a_pyg_data_set_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "Cora" / "raw"
    raw.mkdir(parents=True)
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index"):
        (raw / f"ind.cora.{part}").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(ValueError, match="must hold data alone, but asks for"):
        PyGData("Planetoid", str(tmp_path), {"name": "Cora"}).graphs  # noqa: B018

    class OneByOne(PyGDataset):
        """Opens a file for each sample."""

        raw_file_names = ("one.pt",)

        def len(self) -> int:
            return 1

        def get(self, idx: int) -> Any:
            return torch.load(self.raw_paths[0], weights_only=False)

    (tmp_path / "raw").mkdir()
    torch.save(Evil(tmp_path / "ran"), tmp_path / "raw" / "one.pt")
    monkeypatch.setattr("torch_geometric.datasets.OneByOne", OneByOne, raising=False)
    with pytest.raises(ValueError, match=r"one\.pt` must hold data alone, but asks for"):
        PyGData("OneByOne", str(tmp_path)).graphs  # noqa: B018
    assert not (tmp_path / "ran").exists()


# Planetoid's and TU Dortmund's files


def write_planetoid(folder: Path) -> None:
    """20 papers with 3 words in 2 classes; the last 8 are for testing."""
    words, hot = np.ones((20, 3), dtype=np.float32), np.eye(2, dtype=np.int32)[np.arange(20) % 2]
    parts = {"x": slice(4), "allx": slice(12), "tx": slice(12, 20)}
    for part, rows in parts.items():
        (folder / f"ind.cora.{part}").write_bytes(pickle.dumps(scipy.sparse.csr_matrix(words[rows]), 2))
        (folder / f"ind.cora.{part[:-1]}y").write_bytes(pickle.dumps(hot[rows], 2))
    (folder / "ind.cora.graph").write_bytes(pickle.dumps({i: [(i + 1) % 20] for i in range(20)}, 2))
    (folder / "ind.cora.test.index").write_text("\n".join(map(str, range(12, 20))))


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        (
            "allx",
            lambda x: setattr(x, "indices", x.indices + 10**8),
            "allx` cannot be read; it may be damaged: indices",
        ),
        (
            "allx",
            lambda x: setattr(x, "indptr", x.indptr * 10**6),
            "allx` cannot be read; it may be damaged: Last value",
        ),
        (
            "allx",
            lambda x: setattr(x, "_shape", (x.shape[0], 10**9)),
            "`allx` must be a matrix of at most 1,073,741,824",
        ),
        (
            "test.index",
            "900000000000\n",
            r"`ind.cora.test.index` must have numbers in \[0, 39\], but is 900,000,000,000",
        ),
        ("test.index", "9" * 30, r"ind\.cora\.test\.index` must hold whole numbers, but does not"),
        ("test.index", "", r"must have numbers in \[0, 39\], but is empty"),
        ("graph", {0: [10**30]}, "do not fit together"),
        ("graph", {0: [10**12]}, "Edges of cora must join nodes"),
        ("graph", [1], "do not fit together"),
        ("ty", np.zeros(3), "`ty` must be a matrix"),
    ],
)
def test_lies_of_planetoid_files_are_one_plain_line(tmp_path: Path, part: str, change: Any, told: str) -> None:
    write_planetoid(tmp_path)
    path = tmp_path / f"ind.cora.{part}"
    if isinstance(change, str):
        path.write_text(change)
    else:
        value = change
        if callable(change):
            value = pickle.loads(path.read_bytes())
            change(value)
        path.write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(ValueError, match=told) as error:
        PlanetoidData(str(tmp_path)).graphs  # noqa: B018
    assert "\n" not in str(error.value)


def write_tu(folder: Path, **parts: str) -> TUData:
    whole = {"A": "1, 2\n2, 1\n3, 4\n4, 3\n", "graph_indicator": "1\n1\n2\n2\n"} | parts
    for part, text in whole.items():
        (folder / f"TOY_{part}.txt").write_text(text)
    return TUData(str(folder))


def test_attributes_of_graphs_are_numbers_to_predict(tmp_path: Path) -> None:
    data = write_tu(tmp_path, graph_attributes="0.5\nnan\n", node_labels="0\n1\n1\n2\n")
    assert data.graphs.samples[0]["label"] == 0.5 and not data.classes
    assert data.report["num_unlabelled"] == 1
    data = write_tu(tmp_path, graph_attributes="0.5, 1\n2, nan\n")
    assert str([sample["label"] for sample in data.graphs.samples]) == "[(0.5, 1.0), (2.0, nan)]"
    assert next(iter(data.val_dataloader()))["label"].shape == (2, 2) and data.report["num_unlabelled"] == 0
    data = write_tu(tmp_path, graph_labels="3, 4\n7, 4\n")
    assert [sample["label"] for sample in data.graphs.samples] == [0, 1] and data.classes == ["3", "7"]
    assert "1 further columns of graph labels, graph attributes, beside graph labels." in data.found()


def test_every_column_of_labels_is_one_hot(tmp_path: Path) -> None:
    data = write_tu(
        tmp_path, graph_labels="0\n1\n", node_labels="0, 5\n1, 5\n1, 6\n2, 6\n", edge_labels="1, 1\n1, 2\n2, 1\n2, 2\n"
    )
    assert data.graphs.samples[0]["x"].tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 1, 0]]
    assert data.graphs.names == ["0=0", "0=1", "0=2", "1=5", "1=6"]
    assert data.graphs.samples[1]["edge_values"].tolist() == [[0, 1, 1, 0], [0, 1, 0, 1]]


def test_hidden_files_and_pipes_are_no_sets(tmp_path: Path) -> None:
    write_tu(tmp_path, graph_labels="0\n1\n")
    (tmp_path / "._TOY_A.txt").write_text("")
    os.mkfifo(tmp_path / "PIPE_A.txt")
    assert TUData(str(tmp_path)).report["num_graphs"] == 2
    other = tmp_path / "other"
    other.mkdir()
    os.mkfifo(other / "pipe.txt")
    with pytest.raises(ValueError, match="`path` must have files of TU Dortmund's or GIN's layout"):
        TUData(str(other)).graphs  # noqa: B018


def test_words_among_measured_numbers_are_told(tmp_path: Path) -> None:
    nodes = "id,age,label\n" + "".join(f"n{i},{i},{label}\n" for i, label in enumerate(("0.5", "1.5", "high", "", "2")))
    found = tables(tmp_path, EDGES, nodes).found()
    assert "1 labels are words, where most are numbers, and count as unknown: 'high'." in found
