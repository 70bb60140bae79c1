"""The kernels of GPUs give the indices of CPU, run by Triton's interpreter where there is no GPU.

The interpreter must be asked for before Triton is imported, so a process of its own runs this very file.
"""

import os
import subprocess
import sys

import pytest
import torch

from unmask_pointcloud.ops import chamfer_distance, farthest_point_sampling, gpu, knn


def clouds():
    """By name, points ``[2, P, 3]``: a scattered cloud with duplicates beside a line, and single points."""
    torch.manual_seed(0)
    scattered = torch.randn(10, 3)
    scattered[4:6] = scattered[:2]
    line = torch.arange(10.0)[:, None] * torch.tensor([1.0, 2.0, 0.0])
    several = torch.stack([scattered, line])
    return {"several": several, "one": several[:, 3:4]}


def answers(points: torch.Tensor) -> list[torch.Tensor]:
    """Farthest points, neighbours and Chamfer distances, with padding and without."""
    count = points.shape[1]
    found = []
    for valid in (None, torch.arange(count) < torch.tensor([[count], [max(count - 3, 1)]])):
        few = min(4, count if valid is None else int(valid.sum(1).min()))
        found.append(farthest_point_sampling(points, few, valid))
        found.extend(knn(points[:, :2], points, few, valid))
        found.append(chamfer_distance(points * 1.1, points, 2, valid, valid))
    return found


def test_kernels_give_the_indices_of_cpu():
    pytest.importorskip("triton", reason="Triton comes with torch on Linux only")
    ran = subprocess.run(
        [sys.executable, __file__], env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == list(clouds())


def main() -> None:
    plain = {name: answers(points) for name, points in clouds().items()}
    ran = []
    for kernel in ("farthest", "nearest_keys"):
        setattr(gpu, kernel, _counted(getattr(gpu, kernel), ran))
    gpu.usable = lambda points: True  # type: ignore[assignment]
    for name, points in clouds().items():
        ran.clear()
        for one, other in zip(answers(points), plain[name], strict=True):
            assert torch.equal(one, other), name
        assert {"farthest", "nearest_keys"} <= set(ran), name  # the kernels, and not the way of CPU twice
        print(name)


def _counted(function, ran):
    def counted(*arguments):
        ran.append(function.__name__)
        return function(*arguments)

    return counted


if __name__ == "__main__":
    main()
