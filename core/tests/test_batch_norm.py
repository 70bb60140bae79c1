"""BatchNorm over several processes: as on one that has all rows."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from unmask.training import batch_norm
from unmask.training.batch_norm import SyncBatchNorm, synchronise

SHARES = (4, 3)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(3, 5, 1), nn.BatchNorm1d(5), nn.ReLU(), nn.BatchNorm1d(5, momentum=None), nn.Flatten()
    )


def rows() -> torch.Tensor:
    return torch.randn(sum(SHARES), 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def trained(model: nn.Module, x: torch.Tensor, scale: float = 1.0) -> list[torch.Tensor]:
    """What three steps end with: outputs, gradients of parameters and of the input, and running statistics."""
    for _ in range(3):
        model.zero_grad()
        given = x.clone().requires_grad_()
        out = model(given.float())
        (out.pow(3).sum() * scale).backward()
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    gradients = [p.grad for p in inner.parameters()]
    return [out.detach(), given.grad, *gradients, *(one.float() for one in inner.buffers())]


def test_alone_it_is_torchs():
    ours, theirs = net(), net()
    names = list(theirs.state_dict())
    assert synchronise(ours, "cpu") == 2 and list(ours.state_dict()) == names
    assert [type(one) for one in ours] == [nn.Conv1d, SyncBatchNorm, nn.ReLU, SyncBatchNorm, nn.Flatten]
    torch.testing.assert_close(trained(ours, rows()), trained(theirs, rows()), rtol=1e-4, atol=2e-4)
    torch.testing.assert_close(ours.eval()(rows().float()), theirs.eval()(rows().float()))
    assert synchronise(ours, "cpu") == 2 and isinstance(synchronised_for_gpus()[1], nn.SyncBatchNorm)


def synchronised_for_gpus() -> nn.Sequential:
    model = net()
    synchronise(model, "cuda")
    return model


def test_statistics_are_of_all_rows_whatever_each_process_has(monkeypatch):
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(2)) * 3 + 1000
    theirs = nn.BatchNorm1d(5)
    expected = theirs(x)
    parts = x.split(SHARES)
    sent = [torch.cat([torch.tensor([float(len(p))]), p.mean(0), p.var(0, correction=0)]) for p in parts]
    ours = SyncBatchNorm(5)
    monkeypatch.setattr(batch_norm, "of_all_devices", lambda own, always: torch.cat([own, sent[1][None]]))
    torch.testing.assert_close(ours(parts[0]), expected[: SHARES[0]], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-4, atol=1e-4)


def test_input_without_channels_is_refused():
    with pytest.raises(ValueError, match=r"must be given \[N, C\]"):
        SyncBatchNorm(3)(torch.zeros(3))


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=len(SHARES))
    model = net()
    synchronise(model, "cpu")
    found = trained(nn.parallel.DistributedDataParallel(model), rows().split(SHARES)[rank], len(SHARES))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, (port, str(tmp_path)), nprocs=len(SHARES))
    out, given, *rest = trained(net(), rows())
    each = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(SHARES))]
    close = {"rtol": 1e-4, "atol": 5e-4}
    torch.testing.assert_close(torch.cat([one[0] for one in each]), out, **close)
    torch.testing.assert_close(torch.cat([one[1] for one in each]) / len(SHARES), given, **close)  # DDP takes the mean
    for one in each:
        torch.testing.assert_close(one[2:], rest, **close)
