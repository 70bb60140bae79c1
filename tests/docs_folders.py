"""Small folders of data for the commands of README and the site: ``~/photos``, ``~/sounds``, ..."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np


def photos(folder: Path) -> None:
    from PIL import Image

    for kind in ("cats", "dogs"):
        for number in range(20):
            file = folder / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_rng(number).integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(file)
    (folder / "about.txt").write_text("Cats and dogs.\n", encoding="utf-8")


def tiles(folder: Path) -> None:
    """Two bands of 12-bit numbers in 16 bits."""
    import tifffile

    folder.mkdir()
    for number in range(8):
        bands = _rng(number).integers(300, 3500, (40, 48, 2), dtype=np.uint16)
        tifffile.imwrite(folder / f"{number}.tif", bands, photometric="minisblack", planarconfig="contig")


def fashion(folder: Path) -> None:
    """FashionMNIST's files, with few images."""
    folder.mkdir()
    for part, count in (("train", 300), ("t10k", 40)):
        images = _rng(count).integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        _idx(folder / f"{part}-images-idx3-ubyte", images)
        _idx(folder / f"{part}-labels-idx1-ubyte", labels)


def sounds(folder: Path) -> None:
    import soundfile

    for kind in ("bark", "rain"):
        for number in range(4):
            file = folder / kind / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, _rng(number).normal(size=20_000).astype(np.float32) / 8, 16_000)


def texts(folder: Path) -> None:
    folder.mkdir()
    words = ["the", "a", "cat", "dog", "reads", "writes", "long", "letter", "book", "in", "near", "house", "river"]
    for number in range(60):
        chosen = _rng(number).choice(words, 40)
        (folder / f"{number}.txt").write_text(" ".join(chosen) + ".\n", encoding="utf-8")


def clouds(folder: Path) -> None:
    for kind in ("chairs", "tables"):
        for number in range(6):
            file = folder / kind / f"{number}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, _rng(number).normal(size=(1200, 3)))


def archive(file: Path) -> None:
    points = _rng(0).normal(size=(40, 600, 3)).astype(np.float32)
    np.savez(file, points=points, label=np.arange(40) % 4)


def planetoid(folder: Path) -> None:
    """Files of Cora's kinds and width, of 200 papers of 7 topics."""
    import scipy.sparse

    folder.mkdir()
    num_labelled, num_known, num_all = 21, 150, 200
    words = scipy.sparse.csr_matrix((_rng(0).random((num_all, 1433)) < 0.02).astype(np.float32))
    topics = np.eye(7, dtype=np.int32)[np.arange(num_all) % 7]
    graph = {node: [(node + 1) % num_all, (node + 7) % num_all] for node in range(num_all)}
    parts = {
        "x": words[:num_labelled], "y": topics[:num_labelled], "allx": words[:num_known], "ally": topics[:num_known],
        "tx": words[num_known:], "ty": topics[num_known:], "graph": graph,
    }  # fmt: skip
    for name, part in parts.items():
        (folder / f"ind.cora.{name}").write_bytes(pickle.dumps(part, protocol=2))
    (folder / "ind.cora.test.index").write_text("".join(f"{node}\n" for node in range(num_known, num_all)))


def mutag(folder: Path) -> None:
    """TU Dortmund's files: rings of atoms of 7 kinds."""
    folder.mkdir()
    edges, owners, kinds = [], [], []
    for graph in range(20):
        first, size = len(owners) + 1, 8 + graph % 3
        edges += [(first + node, first + (node + 1) % size) for node in range(size)]
        owners += [graph + 1] * size
        kinds += [(node + graph) % 7 for node in range(size)]
    for part, lines in {
        "A": [f"{a}, {b}" for a, b in edges] + [f"{b}, {a}" for a, b in edges],
        "graph_indicator": owners,
        "graph_labels": [graph % 2 for graph in range(20)],
        "node_labels": kinds,
    }.items():
        (folder / f"MUTAG_{part}.txt").write_text("".join(f"{line}\n" for line in lines))


def graph(file: Path) -> None:
    """One graph of 120 nodes in two classes, in PyG's kind of file."""
    import torch

    nodes = torch.arange(120)
    pairs = torch.stack([nodes.repeat(3), torch.cat([(nodes + step) % 120 for step in (1, 2, 5)])])
    x = torch.from_numpy(_rng(0).normal(size=(120, 16)).astype(np.float32))
    torch.save([{"x": x, "edge_index": pairs, "y": nodes % 2}], file)


MAKERS: dict[str, Callable[[Path], None]] = {
    "photos": photos,
    "tiles": tiles,
    "fashion": fashion,
    "sounds": sounds,
    "texts": texts,
    "clouds": clouds,
    "clouds.npz": archive,
    "planetoid": planetoid,
    "MUTAG": mutag,
    "graph.pt": graph,
}
"""By the name below ``~``."""


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _idx(file: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    file.write_bytes(header + values.tobytes())
