"""One GraphMAE training step of ours against the same step on PyG's `GATConv` and, where installed, on DGL's.

A graph of Cora's size, generated (2,708 nodes with 18 of 1,433 words each, 10,556 edges), and the paper's model for it:
GAT, 2 layers of 512 in 4 heads, PReLU, a decoder of one GAT layer, half of the nodes hidden, dropout 0.2 and 0.1.
Masking, forward, backward and Adam (torch's fused one on all sides) are timed, in the same process, turn by turn; the
figure is the ratio of the medians, so a slow minute of the machine slows all. First all get the same weights and the
same mask without dropout, and must give the same loss.

    python benchmarks/speed/graph.py [--rounds 15] [--precision float32 bf16] [--device cpu]

DGL (`pip install dgl==1.1.3`) is optional, and timed in float32 only.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv
from turns import medians, stepper

from unmask import Mask
from unmask.structures import RANDOM
from unmask_graph.methods.graphmae import GraphMAE

NODES, EDGES, WORDS, WORDS_PER_NODE = 2_708, 10_556, 1_433, 18
WIDTH, HEADS, GAMMA, DROPOUT, ATTENTION_DROPOUT = 512, 4, 3, 0.2, 0.1
BOUNDS = {"PyG": 1.7, "DGL": 1.25}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=["float32", "bf16"])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = arguments.device
    x, edges = (tensor.to(device) for tensor in graph())
    for precision in arguments.precision:
        torch.manual_seed(0)
        ours = GraphMAE(num_features=WORDS).to(device)
        peers: dict[str, Peer] = {"PyG": PyGPeer(edges)}
        if precision == "float32" and importlib.util.find_spec("dgl"):
            peers["DGL"] = DGLPeer(edges)
        print(f"{precision}, {torch.get_num_threads()} threads")
        for name, peer in peers.items():
            peer.to(device).take(ours)
            same_loss(name, ours, peer, x, edges, precision)
        compare(ours, peers, x, edges, arguments.rounds, precision)


class Peer(nn.Module):
    """GraphMAE's step in the plain way; a subclass gives the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, WORDS))
        self.activations = nn.ModuleList([nn.PReLU(), nn.PReLU()])
        self.project = nn.Linear(WIDTH, WIDTH, bias=False)

    def layer(self, index: int, x: Tensor) -> Tensor:
        """Layers 0 and 1 are the encoder's, 2 is the decoder."""
        raise NotImplementedError

    def forward(self, x: Tensor, hidden: Tensor, replaced: Tensor, donors: Tensor) -> Tensor:
        """The loss where the nodes ``hidden`` are, of which ``replaced`` are shown with the features of ``donors``."""
        shown = x.clone()
        shown[hidden] = self.token
        shown[replaced] = x[donors]
        for index, activation in enumerate(self.activations):
            shown = activation(self.layer(index, shown))
        codes = self.project(shown)
        codes[hidden] = 0
        answer = F.normalize(self.layer(2, codes)[hidden].float(), dim=-1)
        truth = F.normalize(x[hidden], dim=-1)
        return (1 - (answer * truth).sum(-1)).pow(GAMMA).mean()

    def take(self, ours: GraphMAE) -> None:
        """The weights of ``ours``."""
        with torch.no_grad():
            self.token.copy_(ours.encoder.mask_token)
            self.project.weight.copy_(ours.predictor.remask.project.weight)

    def drawn(self, x: Tensor) -> Tensor:
        """The loss where half of the nodes are hidden, 5% of those replaced."""
        order = torch.randperm(NODES, device=x.device)
        hidden = order[: NODES // 2]
        replaced = hidden[: round(0.05 * len(hidden))]
        return self(x, hidden, replaced, torch.randperm(NODES, device=x.device)[: len(replaced)])


class PyGPeer(Peer):
    """On PyG's layers, which add the self-loops."""

    def __init__(self, edges: Tensor) -> None:
        super().__init__()
        self.edges = edges
        drop = {"dropout": ATTENTION_DROPOUT}
        self.layers = nn.ModuleList([
            GATConv(WORDS, WIDTH // HEADS, HEADS, **drop), GATConv(WIDTH, WIDTH // HEADS, HEADS, **drop),
            GATConv(WIDTH, WORDS, **drop),
        ])  # fmt: skip

    def layer(self, index: int, x: Tensor) -> Tensor:
        return self.layers[index](F.dropout(x, DROPOUT, self.training), self.edges)

    def take(self, ours: GraphMAE) -> None:
        super().take(ours)
        for mine, theirs in zip(self.layers, convolutions(ours), strict=True):
            mine.load_state_dict(theirs.state_dict())


class DGLPeer(Peer):
    """On DGL's layers, as the released code has it."""

    def __init__(self, edges: Tensor) -> None:
        super().__init__()
        import dgl
        from dgl.nn.pytorch import GATConv as Layer

        self.graph = dgl.graph((edges[0], edges[1]), num_nodes=NODES).add_self_loop()
        self.layers = nn.ModuleList([
            Layer(WORDS, WIDTH // HEADS, HEADS, DROPOUT, ATTENTION_DROPOUT),
            Layer(WIDTH, WIDTH // HEADS, HEADS, DROPOUT, ATTENTION_DROPOUT),
            Layer(WIDTH, WORDS, 1, DROPOUT, ATTENTION_DROPOUT),
        ])  # fmt: skip

    def layer(self, index: int, x: Tensor) -> Tensor:
        return self.layers[index](self.graph, x).flatten(1)

    def take(self, ours: GraphMAE) -> None:
        super().take(ours)
        with torch.no_grad():
            for mine, theirs in zip(self.layers, convolutions(ours), strict=True):
                mine.fc.weight.copy_(theirs.lin.weight)
                mine.attn_l.copy_(theirs.att_src)
                mine.attn_r.copy_(theirs.att_dst)
                mine.bias.copy_(theirs.bias)


def convolutions(ours: GraphMAE) -> list[GATConv]:
    return [*(layer.conv for layer in ours.encoder.layers), ours.predictor.answers.conv]


def same_loss(name: str, ours: GraphMAE, peer: Peer, x: Tensor, edges: Tensor, precision: str) -> None:
    """The same weights and mask give the same loss on both sides, without dropout."""
    ours.eval(), peer.eval()
    with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        step = ours.step(batch(x, edges), 1)
        mask: Mask = step.mask
        assert mask.show is not None
        assert mask.donor is not None
        replaced = (mask.hidden & (mask.show == RANDOM)).nonzero().squeeze(1)
        mine = float(step.loss.total)
        other = float(peer(x, mask.asked.index, replaced, mask.donor[replaced]))
    print(f"  same mask: loss {mine:.6f}, on {name} {other:.6f}")
    assert abs(mine - other) < (1e-5 if precision == "float32" else 1e-2) * other, "the losses differ"


def compare(ours: GraphMAE, peers: dict[str, Peer], x: Tensor, edges: Tensor, rounds: int, precision: str) -> None:
    """All sides, turn by turn."""
    losses: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        "unmask": (ours, lambda: ours.step(batch(x, edges)).loss.total)
    }
    losses |= {name: (peer, lambda peer=peer: peer.drawn(x)) for name, peer in peers.items()}
    steps = {}
    for name, (model, loss) in losses.items():
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=2e-4, fused=True)
        steps[name] = stepper(model, loss, optimizer, x.device.type, precision == "bf16")
    found = medians(steps, rounds, x.device.type, warm_up=3)
    for name, median in found.items():
        ratio = median / found["unmask"]
        told = "" if name == "unmask" else f"   ours is {ratio:.2f} x as quick (asked for: {BOUNDS[name]})"
        print(f"  {name:8s} {median * 1e3:8.1f} ms a step{told}")


def batch(x: Tensor, edges: Tensor) -> dict[str, Tensor]:
    """As the data modules of unmask-graph make it."""
    return {"x": x, "edges": edges, "offsets": torch.tensor([0, len(x)], device=x.device)}


def graph() -> tuple[Tensor, Tensor]:
    """Features of rows that sum to 1, and undirected edges, a few of whose nodes have many."""
    rng = torch.Generator().manual_seed(0)
    x = torch.zeros(NODES, WORDS)
    words = (torch.rand(NODES, WORDS_PER_NODE, generator=rng) ** 2 * WORDS).long()  # some words are frequent
    x.scatter_(1, words, 1.0)
    x /= x.sum(1, keepdim=True)
    pairs = torch.empty(2, 0, dtype=torch.long)
    while pairs.shape[1] < EDGES // 2:
        draw = (torch.rand(2, EDGES, generator=rng) ** torch.tensor([[1.0], [2.0]]) * NODES).long()
        draw = torch.stack([draw.amin(0), draw.amax(0)])
        pairs = torch.cat([pairs, draw[:, draw[0] != draw[1]]], dim=1).unique(dim=1)
    pairs = pairs[:, torch.randperm(pairs.shape[1], generator=rng)[: EDGES // 2]]
    return x, torch.cat([pairs, pairs.flip(0)], dim=1)


if __name__ == "__main__":
    main()
