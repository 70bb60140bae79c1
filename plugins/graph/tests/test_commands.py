"""Every command on every method, by the contract."""

from pathlib import Path

from unmask.testing import RunContract

GRAPHS = str(Path(__file__).with_name("rings_and_trees.txt"))
"""72 small graphs, half of them rings with a chord and half trees, in GIN's layout."""
MANY_GRAPHS = (
    "--data", "graph.tu", "--data.path", GRAPHS, "--data.batch_size", "16", "--data.val_ratio", "0.25",
    "--model.num_features", "4",
)  # fmt: skip


class TestGraphMAE(RunContract):
    arguments = ["--config", "graph/graphmae-tu", *MANY_GRAPHS]


class TestGraphMAE2(RunContract):
    arguments = [
        "--model", "graph.graphmae2", *MANY_GRAPHS,
        "--model.width", "16", "--model.num_layers", "2", "--model.num_heads", "4",
    ]  # fmt: skip


class TestMaskGAE(RunContract):
    arguments = ["--model", "graph.maskgae", *MANY_GRAPHS]
