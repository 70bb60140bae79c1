"""Graphs: tables of edges, files of PyG and of other programs, TU folders, and Planetoid's pickles."""

from __future__ import annotations

import gzip
import io
import os
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse
import torch

from fuzzing import bombs
from fuzzing.case import Case, Files, Read, batches
from fuzzing.tables import bombs_of_text

EDGES = "source,target,weight\n" + "".join(f"n{i},n{(i * 7 + 1) % 20},{i / 3:.2f}\n" for i in range(40))
NODES = "id,age,kind,label,split\n" + "".join(
    f"n{i},{i},{'xyz'[i % 3]},{'ab'[i % 2]},{['train', 'val', 'test'][i % 3]}\n" for i in range(20)
)


class Payload:
    """A pickle of this runs code, in one of the ways that pickles have."""

    def __init__(self, case: Case) -> None:
        path = str(case.folder / "outside" / "canary")
        code = "import sys; sys.fuzz_canary = True"
        self.call = case.rng.choice(
            (
                (os.system, (f"touch {path}",)),
                (open, (path, "w")),
                (exec, (code,)),
                (eval, (f"open({path!r}, 'w')",)),
                (os.mkdir, (path,)),
                (__import__, ("this",)),
            )
        )

    def __reduce__(self) -> Any:
        return self.call


@cache
def networks() -> Files:
    import networkx

    graph = networkx.path_graph(12)
    for node in graph:
        graph.nodes[node].update(age=float(node), kind="xyz"[node % 3])
    made: Files = {}
    writers: dict[str, Callable[..., Any]] = {
        ".graphml": networkx.write_graphml,
        ".gexf": networkx.write_gexf,
        ".gml": networkx.write_gml,
    }
    for ending, write in writers.items():
        file = io.BytesIO()
        write(graph, file)
        made[f"a{ending}"] = file.getvalue()
    made["a.net"] = b'*Vertices 3\n1 "a"\n2 "b"\n3 "c"\n*Edges\n1 2 1.5\n2 3 1\n'
    made["a.mtx"] = b"%%MatrixMarket matrix coordinate real general\n5 5 4\n1 2 1.0\n2 3 2.0\n3 4 1.0\n5 1 0.5\n"
    return made


XML = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(
        f'<!ENTITY {chr(98 + i)} "{"&" + chr(97 + i) + ";"}{("&" + chr(97 + i) + ";") * 9}">'.encode() for i in range(9)
    )
    + b']><graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="directed">'
    + b'<node id="&j;"/></graph></graphml>',
    b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><graphml><graph><node id="&a;"/></graph></graphml>',
    b"%%MatrixMarket matrix coordinate real general\n999999999999 999999999999 1\n1 1 1.0\n",
    b"%%MatrixMarket matrix array real general\n100000 100000\n1.0\n",
    b"%%MatrixMarket matrix coordinate pattern symmetric\n5 5 99999999999\n1 1\n",
    b"*Vertices 999999999999\n*Edges\n1 2\n",
    b"graph [ " * 3000,
)


def graph_files(case: Case) -> Read:
    from unmask_graph.data import GraphFilesData

    good = networks()
    name = case.rng.choice(sorted(good))
    content = case.rng.choice(XML) if case.chance(0.1) else case.spoilt(good[name], good.values(), is_text=True)
    packed = case.chance(0.1)
    if packed:
        content = case.rng.choice((gzip.compress(content), bombs.gzip(64), case.spoilt(gzip.compress(content))))
    path = case.write(name + ".gz" * packed, content)
    return lambda: batches(GraphFilesData(str(path), batch_size=1))


def graph_tables(case: Case) -> Read:
    from unmask_graph.data import GraphFilesData

    edges, nodes = EDGES.encode(), NODES.encode()
    if case.chance(0.6):
        edges = case.spoilt(edges, is_text=True)
    if case.chance(0.6):
        nodes = case.spoilt(nodes, is_text=True)
    if case.chance(0.05):
        nodes = bombs_of_text(case, nodes)
    packed = case.chance(0.08)
    if packed:
        edges = case.rng.choice((gzip.compress(edges), bombs.gzip(64), case.spoilt(gzip.compress(edges))))
    path = case.write("edges" + case.rng.choice((".csv", ".tsv", ".txt", ".edges")) + ".gz" * packed, edges)
    options: dict[str, Any] = {"nodes": str(case.write("nodes.csv", nodes))} if case.chance(0.7) else {}
    options |= {"header": case.rng.choice((None, None, True, False))}
    return lambda: batches(GraphFilesData(str(path), batch_size=1, **options))


def pt_files(case: Case) -> Read:
    from unmask_graph.data import GraphFilesData

    x, nodes = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    good = {
        "x": x,
        "edge_index": torch.stack([nodes, (nodes + 1) % 6]),
        "y": torch.tensor([1]),
        "edge_attr": torch.ones(6, 2),
    }
    odd: tuple[Any, ...] = (
        {1: 2},
        {"x": "text"},
        good | {"num_nodes": 10**12},
        good | {"y": torch.tensor([float("nan")])},
        [],
        (),
        None,
        3,
        good | {"edge_index": torch.tensor([[0, 9], [1, 2]])},
        good | {"edge_index": torch.tensor([[-1], [0]])},
        good | {"x": x.to_sparse()},
        good | {"x": x.to(torch.complex64)},
        good | {"x": torch.empty(6, 0)},
        [good, 3],
        good | {"x": torch.zeros(1).expand(10**6, 10**6)},
        good | {"x": x.half()},
        good | {"y": torch.zeros(0)},
        good | {"x": torch.full((6, 1), 10**9)},
        good | {"train_mask": torch.ones(3)},
        good | {"y": [1, "a"]},
        {"x": x},
        {"edge_index": torch.zeros(2, 0)},
        good | {"edge_attr": torch.ones(3, 2)},
        good | {"x": x * float("inf")},
        good | {"x": torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)},
        (good, {"x": torch.tensor([0, 10**12])}),
    )
    file = io.BytesIO()
    choice = case.rng.randrange(8)
    content: Any = [good, good, good, good | {"y": torch.tensor([0])}]
    if choice == 0:
        content = [good, Payload(case)]
    elif choice < 5:
        content = case.rng.choice(
            (
                case.rng.choice(odd),
                [good, case.rng.choice(odd)],
                [good, good, good | {case.rng.choice(sorted(good)): case.rng.choice(case.values)}],
            )
        )
    torch.save(content, file, _use_new_zipfile_serialization=case.chance(0.8))
    path = case.write("a.pt", case.spoilt(file.getvalue()) if choice >= 5 or case.chance(0.1) else file.getvalue())
    options = {"categories": [0]} if case.chance(0.1) else {}
    return lambda: batches(GraphFilesData(str(path), batch_size=1, **options))


def planetoid(case: Case) -> Read:
    from unmask_graph.data import PlanetoidData

    rng = np.random.default_rng(0)
    hot = np.eye(3, dtype=np.int32)
    parts: dict[str, Any] = {
        "x": scipy.sparse.csr_matrix(rng.random((9, 5)) > 0.5, dtype=np.float32),
        "y": hot[np.arange(9) % 3],
        "tx": scipy.sparse.csr_matrix(rng.random((6, 5)) > 0.5, dtype=np.float32),
        "ty": hot[np.arange(6) % 3],
        "allx": scipy.sparse.csr_matrix(rng.random((600, 5)) > 0.5, dtype=np.float32),
        "ally": hot[np.arange(600) % 3],
        "graph": {node: [(node + 1) % 606, (node * 7) % 606] for node in range(606)},
    }
    contents = {name: pickle.dumps(part, protocol=2) for name, part in parts.items()}
    index = "\n".join(map(str, range(600, 606))).encode()
    name, choice = case.rng.choice(sorted(contents)), case.rng.randrange(10)
    if choice == 0:
        contents[name] = pickle.dumps(Payload(case), protocol=2)
    elif choice == 1:
        matrix = parts["allx"].copy()
        matrix.indices = matrix.indices + case.rng.choice((10**8, -(10**6), 4))
        contents["allx"] = pickle.dumps(matrix, protocol=2)
    elif choice == 2:
        matrix = parts["allx"].copy()
        matrix.indptr = matrix.indptr * case.rng.choice((10**6, -1, 2))
        contents["allx"] = pickle.dumps(matrix, protocol=2)
    elif choice == 3:
        matrix = parts[case.rng.choice(("x", "tx", "allx"))].copy()
        matrix._shape = case.rng.choice(((10**7, 10**6), (-1, 5), (1, 1), (10**12, 1), (9, 10**9)))
        contents[case.rng.choice(("x", "tx", "allx"))] = pickle.dumps(matrix, protocol=2)
    elif choice == 4:
        index = case.rng.choice((b"1000000000000", b"-5", b"x", b"9" * 5000, b"600\n600\n600", b"", index * 3))
    elif choice == 5:
        contents[name] = case.rng.choice(
            (
                b"\x80\x02]r\xff\xff\xff\x7f.",
                b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"a.",
                b"(" * 10**5 + b".",
                b"c" + b"os\nsystem\n(S'true'\ntR.",
            )
        )
    elif choice == 6:
        contents["graph"] = pickle.dumps(
            case.rng.choice(({1: 2}, [], {"a": ["b"]}, {0: [10**15]}, {0: [-7]}, {0: [0.5]}, {10**30: [1]})), protocol=2
        )
    else:
        contents[name] = case.spoilt(contents[name], contents.values())
    for part, content in contents.items():
        (case.data / f"ind.t.{part}").write_bytes(content)
    (case.data / "ind.t.test.index").write_bytes(index)
    return lambda: batches(PlanetoidData(str(case.data)))


def tu_folders(case: Case) -> Read:
    from unmask_graph.data import TUData

    edges = "".join(f"{3 * g + a}, {3 * g + b}\n" for g in range(6) for a, b in ((1, 2), (2, 1), (2, 3), (3, 2)))
    files = {
        "T_A.txt": edges,
        "T_graph_indicator.txt": "".join(f"{g + 1}\n" * 3 for g in range(6)),
        "T_graph_labels.txt": "1\n-1\n" * 3,
        "T_node_labels.txt": "0\n1\n2\n" * 6,
        "T_node_attributes.txt": "0.5, 1\n" * 18,
        "T_edge_labels.txt": "1\n" * 24,
    }
    gin = "2\n" + "3 0\n0 1 1\n1 2 0 2\n0 1 1\n" + "3 1\n0 1 1\n1 2 0 2\n0 1 1\n"
    if case.chance(0.3):
        path = case.write("T.txt", case.spoilt(gin.encode(), is_text=True))
        return lambda: batches(TUData(str(path)))
    bad = {case.rng.choice(sorted(files)) for _ in range(2)}
    for name, text in files.items():
        (case.data / name).write_bytes(case.spoilt(text.encode(), is_text=True) if name in bad else text.encode())
    return lambda: batches(TUData(str(case.data)))


def pyg_roots(case: Case) -> Read:
    from torch_geometric.data import Data, InMemoryDataset

    from unmask_graph.data import PyGData
    from unmask_pointcloud.data.pyg import PyGCloudsData

    nodes = torch.arange(6)
    one = Data(
        x=torch.ones(6, 3), edge_index=torch.stack([nodes, (nodes + 1) % 6]), y=torch.tensor([1]), pos=torch.rand(6, 3)
    )
    data, slices = InMemoryDataset.collate([one, one, one])
    for_points, root = case.chance(0.4), case.work / "root"  # PyG writes there what it makes of raw files
    folder = root / ("processed" if for_points else "MUTAG/processed")
    folder.mkdir(parents=True)
    (folder.parent / "raw").mkdir()
    raw = ("id_category.json",) if for_points else ()
    names = ["MUTAG_A.txt", "MUTAG_graph_indicator.txt"] if not for_points else raw
    for name in names:
        (folder.parent / "raw" / name).write_text("1\n")
    contents = {}
    for name, content in (
        ("data.pt", (data.to_dict(), slices, Data)),
        ("training.pt", (data.to_dict(), slices, Data)),
        ("test.pt", (data.to_dict(), slices, Data)),
        ("pre_transform.pt", "None"),
        ("pre_filter.pt", "None"),
    ):
        file = io.BytesIO()
        spoilt = case.chance(0.3)
        torch.save(Payload(case) if spoilt and case.chance(0.4) else content, file)
        contents[name] = case.spoilt(file.getvalue()) if spoilt and case.chance(0.5) else file.getvalue()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    if for_points:
        return lambda: batches(
            PyGCloudsData("ModelNet", str(root), stored_points=32, num_points=16, batch_size=2, num_workers=0)
        )
    return lambda: batches(PyGData("TUDataset", str(root), options={"name": "MUTAG"}, batch_size=2))


KINDS = {
    "graph files": graph_files,
    "graph tables": graph_tables,
    "graph .pt": pt_files,
    "planetoid": planetoid,
    "tu": tu_folders,
    "pyg roots": pyg_roots,
}
