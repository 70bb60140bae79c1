"""Operations on point clouds against the plain torch code they stand for; the answers must be the same.

Farthest points against a loop over centres, ``minimum(nearest, ((points - centre) ** 2).sum(-1)).argmax(-1)``;
neighbours and Chamfer distance against all pairs at once, differences squared and summed. A training step of Point-MAE
at the paper's size (16 clouds of 1,024 points; 12 x 384, decoder 4 x 384) against the straightforward version of those
parts: the released PointNet of 1 x 1 convolutions on every patch, whole clouds in padded batches of patches, masks by
sorting; with the same weights and the same hidden patches, so with the same loss. Both run in the same process, turn by
turn; the figure is the ratio of the medians, so a slow minute of the machine slows both.

    python benchmarks/speed/pointcloud.py [--rounds 9] [--threads 1 2] [--device cpu] [--only farthest neighbours ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from turns import medians

from unmask.structures import Mask
from unmask_pointcloud.methods import PointMAE
from unmask_pointcloud.nn import PatchNet
from unmask_pointcloud.ops import chamfer_distance, farthest_point_sampling, knn

Pair = tuple[Callable[[], Tensor], Callable[[], Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    arguments = parser.parse_args()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"{threads} thread{'s' * (threads > 1)}, {arguments.device}")
        for part in arguments.only:
            for name, (ours, plain) in PARTS[part](arguments.device).items():
                compare(name, ours, plain, arguments.rounds, arguments.device)


def farthest(device: str) -> dict[str, Pair]:
    """Centres of a batch of objects, and of a batch of scenes."""
    pairs = {}
    for num_clouds, num_points, num_centres in ((16, 1024, 64), (4, 8192, 512)):
        points = cloud(num_clouds, num_points, device)
        pairs[f"farthest points {num_clouds} x {num_points} -> {num_centres}"] = (
            lambda points=points, count=num_centres: farthest_point_sampling(points, count),
            lambda points=points, count=num_centres: plain_farthest(points, count),
        )
    return pairs


def neighbours(device: str) -> dict[str, Pair]:
    """32 neighbours of 64 centres in objects, and of 512 in scenes."""
    pairs = {}
    for num_clouds, num_points, num_queries in ((16, 1024, 64), (4, 8192, 512)):
        points = cloud(num_clouds, num_points, device)
        pairs[f"32 nearest of {num_clouds} x {num_points}, {num_queries} queries"] = (
            lambda points=points, count=num_queries: knn(points[:, :count], points, 32).indices,
            lambda points=points, count=num_queries: squares(points[:, :count], points).topk(32, largest=False)[1],
        )
    return pairs


def chamfer(device: str) -> dict[str, Pair]:
    """The hidden patches of a batch of 16 in Point-MAE, and two whole clouds; with the gradient."""
    pairs = {}
    for num_sets, num_points in ((16 * 38, 32), (4, 2048)):
        a = cloud(num_sets, num_points, device).requires_grad_()
        b = cloud(num_sets, num_points, device) * 1.1
        pairs[f"Chamfer L2 and gradient, {num_sets} x {num_points}"] = (
            lambda a=a, b=b: torch.autograd.grad(chamfer_distance(a, b).mean(), a)[0],
            lambda a=a, b=b: torch.autograd.grad(plain_chamfer(a, b).mean(), a)[0],
        )
    return pairs


def step(device: str) -> dict[str, Pair]:
    """Forward and backward of a training step, without the optimiser."""
    torch.manual_seed(0)
    model = PointMAE().to(device).train()
    model.encoder.patch_net.eval()  # statistics of visible patches alone are ours, so the losses would differ
    for trunk in (model.encoder.trunk, model.predictor.trunk):  # drops nothing, so the losses are the same
        for block in trunk.blocks:
            block.drop_path_ratio = 0.0
    net = ReleasedPatchNet(model.encoder.patch_net)
    points = 0.3 * cloud(16, 1024, device)

    def ours() -> Tensor:
        loss = model.step({"points": points}, 0).loss.total
        return backward(loss, model)

    with torch.no_grad():
        mask: Mask = model.step({"points": points}, 0).mask

    def plain() -> Tensor:
        return backward(plain_step(model, net, points, mask.hidden), model)

    return {"Point-MAE step, 16 x 1024": (ours, plain)}


def backward(loss: Tensor, model: nn.Module) -> Tensor:
    model.zero_grad()
    loss.backward()
    return loss.detach()


PARTS = {"farthest": farthest, "neighbours": neighbours, "chamfer": chamfer, "step": step}


def compare(name: str, ours: Callable[[], Tensor], plain: Callable[[], Tensor], rounds: int, device: str) -> None:
    """Both sides, turn by turn, after one look at their answers."""
    mine, other = ours(), plain()
    same = torch.equal(mine, other) if mine.dtype == torch.int64 else torch.allclose(mine, other, rtol=1e-4, atol=1e-7)
    assert same, f"{name}: the answers differ"
    fast, slow = medians({"ours": ours, "plain": plain}, rounds, device, warm_up=0).values()
    print(f"  {name:44s} {fast * 1e3:8.2f} ms, plain {slow * 1e3:8.2f} ms: {slow / fast:6.2f} x")


def plain_farthest(points: Tensor, num_centres: int) -> Tensor:
    rows = torch.arange(len(points), device=points.device)
    nearest = torch.full(points.shape[:2], torch.inf, device=points.device)
    centre = torch.zeros_like(rows)
    chosen = torch.empty(len(points), num_centres, dtype=torch.int64, device=points.device)
    for place in range(num_centres):
        chosen[:, place] = centre
        nearest = torch.minimum(nearest, ((points - points[rows, centre][:, None]) ** 2).sum(-1))
        centre = nearest.argmax(-1)
    return chosen


class ReleasedPatchNet(nn.Module):
    """The PointNet of the released code, with the weights of ours: each maximum is repeated beside every point."""

    def __init__(self, ours: PatchNet) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, patches: Tensor) -> Tensor:
        """``[B, G, k, 3]`` to ``[B, G, D]``."""
        net, k = self.ours, patches.shape[2]
        x = patches.flatten(0, 1).mT  # [B * G, 3, k]
        x = convolved(net.fc2, torch.relu(net.norm1(convolved(net.fc1, x))))
        x = torch.cat([x.amax(2, keepdim=True).expand(-1, -1, k), x], dim=1)
        x = convolved(net.fc4, torch.relu(net.norm2(convolved(net.fc3, x))))
        return x.amax(2).unflatten(0, patches.shape[:2])


def convolved(layer: nn.Linear, x: Tensor) -> Tensor:
    return torch.nn.functional.conv1d(x, layer.weight[..., None], layer.bias)


def plain_step(model: PointMAE, net: ReleasedPatchNet, points: Tensor, hidden: Tensor) -> Tensor:
    rows = torch.arange(len(points), device=points.device)
    centres = points[rows[:, None], plain_farthest(points, 64)]
    near = squares(centres, points).topk(32, largest=False)[1]
    patches = points[rows[:, None, None], near] - centres[:, :, None]

    encoder, decoder = model.encoder, model.predictor
    visible = centres[~hidden].view(len(points), -1, 3)
    asked = centres[hidden].view(len(points), -1, 3)
    codes = encoder.trunk(net(patches)[~hidden].view(len(points), -1, 384), encoder.centres(visible))
    queries = decoder.mask_token.expand(*asked.shape[:2], -1)
    where = torch.cat([decoder.centres(visible), decoder.centres(asked)], dim=1)
    answers = decoder.head(decoder.trunk(torch.cat([codes, queries], dim=1), where)[:, -asked.shape[1] :])
    return plain_chamfer(answers.view(-1, 32, 3), patches[hidden]).mean()


def plain_chamfer(a: Tensor, b: Tensor) -> Tensor:
    pairs = squares(a, b)
    return pairs.amin(2).mean(1) + pairs.amin(1).mean(1)


def squares(a: Tensor, b: Tensor) -> Tensor:
    return ((a[:, :, None] - b[:, None]) ** 2).sum(-1)


def cloud(num_clouds: int, num_points: int, device: str) -> Tensor:
    return torch.randn(num_clouds, num_points, 3, generator=torch.Generator().manual_seed(num_points)).to(device)


if __name__ == "__main__":
    main()
