"""How memory and time of GraphMAE's mini-batches grow with a graph, up to 200,000 nodes and 2 million edges.

Graphs are generated: communities of 100 nodes, 128 features, 10 edges per node (both directions counted), 8 in 10 of
them within the community. Each is written to a file, and a process of its own reads it by `graph.files`, cuts it into
clusters and trains `graph.graphmae` (GAT 2x256, 4 heads, float32) for some steps; peak memory is that of the process.

    python benchmarks/scale/graph.py [--nodes 200000] [--out graph-scale.png]

First the graph grows and a step does not, then the step grows and the graph does not. The picture shows all of it; the
exit code is 1 if more than 4 GB are used, or if anything grows with a power above 1.15 of its size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from unmask.tools.output import write_all

FEATURES, COMMUNITY, WITHIN, WIDTH = 128, 100, 0.8, 256
LIMIT_GB, POWER = 4.0, 1.15


class Found(NamedTuple):
    """What one process measured; ``step_s`` is the median."""

    num_nodes: int
    num_edges: int
    step_nodes: int
    peak_gb: float
    read_s: float
    step_s: float
    epoch_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200_000, help="of the largest graph")
    parser.add_argument("--edges_per_node", type=int, default=10, help="both directions counted")
    parser.add_argument("--step_nodes", type=int, default=2_000, help="nodes of a step, while the graph grows")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("graph-scale.png"))
    parser.add_argument("--only", nargs=2, metavar=("FILE", "NODES"), help="measure one file, and print JSON")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measured(Path(given.only[0]), int(given.only[1]), given.steps)._asdict()))
        return

    print(f"torch {torch.__version__}, {torch.get_num_threads()} of {os.cpu_count()} cores; {given.steps} steps each")
    sizes = [given.nodes // 8, given.nodes // 4, given.nodes // 2, given.nodes]
    steps = [given.step_nodes * factor for factor in (1, 2, 4, 8)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.pt"
        graphs = []
        for size in sizes:
            torch.save(generated(size, given.edges_per_node), file)
            graphs.append(in_process(file, steps[0], given.steps))
        batches = [graphs[-1], *(in_process(file, step, given.steps) for step in steps[1:])]

    nodes, asked = [one.num_nodes for one in graphs], [one.step_nodes for one in batches]
    panels = [
        ("peak memory, GB, by nodes of the graph", nodes, [one.peak_gb for one in graphs]),
        ("seconds of an epoch, by nodes of the graph", nodes, [one.epoch_s for one in graphs]),
        ("seconds of a step, by nodes of the graph", nodes, [one.step_s for one in graphs]),
        ("seconds of a step, by nodes of the step", asked, [one.step_s for one in batches]),
        ("peak memory, GB, by nodes of the step", asked, [one.peak_gb for one in batches]),
    ]
    powers = [float(np.polyfit(np.log(xs), np.log(ys), 1)[0]) for _, xs, ys in panels]
    for (title, _, _), power in zip(panels, powers, strict=True):
        print(f"{title}: power {power:.2f}")
    write_all(given.out, drawn(panels), {})
    peak = max(one.peak_gb for one in graphs)
    print(f"{nodes[-1]:,} nodes, {graphs[-1].num_edges:,} edges: {peak:.2f} GB; picture: {given.out}")
    sys.exit(int(peak > LIMIT_GB or max(powers) > POWER))


def generated(num_nodes: int, edges_per_node: int) -> dict[str, torch.Tensor]:
    """Communities whose nodes share a mean of their features, and a class in 10."""
    rng = np.random.default_rng(0)
    count = num_nodes * edges_per_node // 2  # pairs
    drawn = count * 5 // 4  # more, because some are drawn twice
    source = rng.integers(num_nodes, size=drawn)
    near = source // COMMUNITY * COMMUNITY + rng.integers(COMMUNITY, size=drawn)
    target = np.where(rng.random(drawn) < WITHIN, np.minimum(near, num_nodes - 1), rng.integers(num_nodes, size=drawn))
    low, high = np.minimum(source, target), np.maximum(source, target)
    pairs = rng.permutation(np.unique((low * num_nodes + high)[low < high]))[:count]
    source, target = np.divmod(pairs, num_nodes)
    community = np.arange(num_nodes) // COMMUNITY
    x = rng.standard_normal((community[-1] + 1, FEATURES), dtype=np.float32)[community]
    x += rng.standard_normal(x.shape, dtype=np.float32)
    order = rng.permutation(num_nodes)  # numbers say nothing of communities
    number = np.argsort(order)
    edges = torch.from_numpy(np.stack([number[source], number[target]]))
    return {"x": torch.from_numpy(x[order]), "edge_index": edges, "y": torch.from_numpy(community[order] % 10)}


def in_process(file: Path, step_nodes: int, steps: int) -> Found:
    command = [sys.executable, __file__, "--only", str(file), str(step_nodes), "--steps", str(steps)]
    found = Found(
        **json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    )
    print(
        f"  {found.num_nodes:>9,} nodes, {found.num_edges:>9,} edges, {found.step_nodes:>6,} nodes a step: "
        f"{found.peak_gb:.2f} GB, read in {found.read_s:.1f} s, step {found.step_s:.3f} s, epoch {found.epoch_s:.0f} s",
        flush=True,
    )
    return found


def measured(file: Path, step_nodes: int, steps: int) -> Found:
    from unmask_graph.data.files import GraphFilesData
    from unmask_graph.data.sampling import ClusterSampling
    from unmask_graph.encoders.gat import GATEncoder
    from unmask_graph.methods.graphmae import GraphMAE

    per_batch = 10
    began = time.perf_counter()
    num_nodes = len(torch.load(file, weights_only=True, mmap=True)["x"])
    num_clusters = num_nodes * per_batch // step_nodes
    data = GraphFilesData(str(file), sampling=ClusterSampling(num_clusters), batch_size=per_batch)
    data.setup("fit")
    read_s = time.perf_counter() - began

    torch.manual_seed(0)
    model = GraphMAE(encoder=GATEncoder(FEATURES, WIDTH, num_layers=2, num_heads=4))
    optimizer = model.optim.optimizer(model, 1e-3, 2e-4)
    times, sizes = [], []
    began = time.perf_counter()
    for batch in data.train_dataloader():
        loss = model.step(batch).loss.total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - began)  # with the making of its batch
        sizes.append(len(batch["x"]))
        began = time.perf_counter()
        if len(times) == steps + 2:
            break
    step_s = statistics.median(times[2:])
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB
    num_edges = data.graphs.samples[0]["edges"].shape[1]
    step_nodes = round(statistics.mean(sizes))
    return Found(num_nodes, num_edges, step_nodes, peak_gb, read_s, step_s, step_s * num_nodes / step_nodes)


def drawn(panels: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> np.ndarray:
    """Panels beside each other, each with its dots and the straight line that fits them best; both axes from 0."""
    side, margin = 320, 56
    image = Image.new("RGB", (len(panels) * (side + margin) + margin, side + 2 * margin), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for number, (title, xs, ys) in enumerate(panels):
        left, bottom = margin + number * (side + margin), margin + side
        slope, start = np.polyfit(xs, ys, 1)
        top = 1.1 * max(*ys, slope * max(xs) + start)

        def place(x: float, y: float, left: int = left, bottom: int = bottom, most: float = max(xs), top: float = top):
            return left + side * x / (1.05 * most), bottom - side * y / top

        draw.text((left, margin - 24), title, "black", font)
        draw.line([(left, margin), (left, bottom), (left + side, bottom)], "black")
        draw.line([place(0, start), place(max(xs), slope * max(xs) + start)], (150, 150, 150), 2)
        for x, y in zip(xs, ys, strict=True):
            across, down = place(x, y)
            draw.ellipse([across - 4, down - 4, across + 4, down + 4], (31, 90, 160))
            draw.text((across - 18, down - 20), f"{y:.3g}", (31, 90, 160), font)
            draw.text((across - 18, bottom + 6), f"{x:,.0f}", "black", font)
    return np.asarray(image)


if __name__ == "__main__":
    main()
