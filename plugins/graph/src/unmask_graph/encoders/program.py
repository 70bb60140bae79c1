"""Graph encoders as programs, for any numbers of nodes, edges and graphs: what `unmask export` traces and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unmask import Tokens
from unmask.api import Program
from unmask_graph.layout import Graph
from unmask_graph.nn.adjacency import EdgeList, counts_of, starts_of
from unmask_graph.nn.aggregate import maxima_at, sums_at

if TYPE_CHECKING:
    from unmask_graph.encoders.stack import GraphEncoder

MADE_UP = (((5, 7), (3, 4)), ((9, 12), (4, 2), (2, 1)), ((1, 0),))
"""Nodes and edges of the graphs of each batch that a program is traced (the first) and checked with."""
NOTE = (
    "`x` are nodes' features as the data of the run makes them; `edge_index` are rows of `x`, sources above targets: "
    "an undirected edge in both directions, no edge twice, no self-loop"
)


class GraphProgram(nn.Module):
    """A dict of tensors to codes of nodes ``[T, D]``, or of graphs ``[B, D]`` (``[B, 2 D]`` for mean+max).

    The dict holds, under the names of PyG's ``Data``:

    - ``x`` float32 ``[T, F]``, nodes' features as the data of the run makes them;
    - ``edge_index`` int64 ``[2, E]``, rows of ``x``, sources above targets; an undirected edge in both directions, no
      edge twice, no self-loop;
    - ``edge_attr`` float32 ``[E, V]``, values of edges, where the encoder reads any (`edge_width`);
    - ``batch`` int64 ``[T]``, ascending, from 0 on: the graph of each node, where codes are pooled or the encoder
      attends to whole graphs (GPS).

    Edges are summed up by scattering, which takes memory for a row of D numbers per edge.

    Args:
        encoder: whose layers run, on edges in the order they are given.
        pool: as in `Latent.pool`; None: codes of nodes.
    """

    def __init__(self, encoder: GraphEncoder, pool: str | None) -> None:
        super().__init__()
        self.layers = encoder.layers
        self.self_loops = encoder.self_loops
        self.reads_edges = encoder.edge_width is not None
        self.reads_graphs = pool is not None or encoder.reads_graphs
        self.pool = pool

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        codes, values = batch["x"], batch["edge_attr"] if self.reads_edges else None
        edges = EdgeList.of(batch["edge_index"], codes.shape[0], values, self.self_loops)
        owner = batch["batch"] if self.reads_graphs else edges.target.new_zeros(codes.shape[0])  # [T]
        num_graphs: Any = owner.max().item() + 1 if self.reads_graphs else 1  # `int` of it cannot be traced
        counts = counts_of(owner, num_graphs)
        for layer in self.layers:
            codes = layer(codes, edges, starts_of(counts))
        if self.pool is None:
            return codes
        mean = sums_at(owner, codes, num_graphs) / counts[:, None]
        largest = maxima_at(owner, codes, num_graphs)
        return {"mean": mean, "max": largest, "mean+max": torch.cat([mean, largest], dim=-1)}[self.pool]


def program_of(encoder: GraphEncoder, pool: str | None) -> Program:
    """The program of an encoder, checked with graphs made up here, so that nothing of the data travels."""
    module = GraphProgram(encoder, pool).eval()
    samples = [made_up(encoder, sizes, seed) for seed, sizes in enumerate(MADE_UP)]
    nodes, edges = torch.export.Dim("nodes"), torch.export.Dim("edges")
    sizes = {"x": {0: nodes}, "edge_index": {1: edges}, "edge_attr": {0: edges}, "batch": {0: nodes}}
    batches = [_named(module, tokens) for tokens in samples]
    return Program(
        module,
        batches=batches,
        expected=[_codes(encoder, tokens, pool) for tokens in samples],
        sizes={name: sizes[name] for name in batches[0]},
        note=_note(module),
    )


def made_up(encoder: GraphEncoder, sizes: tuple[tuple[int, int], ...], seed: int) -> Tokens:
    """Packed random graphs with an isolated node each, of so many nodes and directed edges; the same in every call."""
    random = torch.Generator().manual_seed(seed)
    edges, offsets = [], [0]
    for num_nodes, num_edges in sizes:
        pairs = torch.combinations(torch.arange(num_nodes - 1), 2)  # [pairs, 2]
        pairs = torch.cat([pairs, pairs.flip(1)])
        edges.append(pairs[torch.randperm(len(pairs), generator=random)[:num_edges]].T + offsets[-1])
        offsets.append(offsets[-1] + num_nodes)
    joined = torch.cat(edges, dim=1)  # [2, E]
    x = torch.randn(offsets[-1], encoder.num_features, generator=random)
    values = torch.rand(joined.shape[1], encoder.edge_width, generator=random) if encoder.edge_width else None
    return Tokens(x, Graph(joined, values), offsets=torch.tensor(offsets))


@torch.no_grad()
def _codes(encoder: GraphEncoder, tokens: Tokens, pool: str | None) -> Tensor:
    latent = encoder(tokens)
    return latent.values if pool is None else latent.pool(pool, tokens)


def _named(module: GraphProgram, tokens: Tokens) -> dict[str, Tensor]:
    layout = tokens.layout
    assert isinstance(layout, Graph)
    named = {"x": tokens.values, "edge_index": layout.edges}
    if layout.edge_values is not None:
        named["edge_attr"] = layout.edge_values
    return named | ({"batch": tokens.owner} if module.reads_graphs else {})


def _note(module: GraphProgram) -> str:
    parts = [NOTE]
    if module.reads_edges:
        parts.append("`edge_attr` are their values")
    if module.reads_graphs:
        parts.append("`batch` is the graph of each node, ascending from 0")
    end = "" if module.pool is None else " `--codes` gives a code of each node instead of one of each graph."
    return "; ".join(parts) + "." + end
