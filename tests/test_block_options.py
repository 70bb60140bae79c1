"""Activation checkpointing and compiled blocks, on the recipes of every method: the same losses, less memory.

Methods that build on another run are left out: their encoders are those of others here.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import record_steps
import torch
from timm.layers import DropPath
from torch import nn

from unmask.cli.building import built
from unmask.runs.weights import read_torch
from unmask.seeds import mix
from unmask.training.activations import checkpoint_activations
from unmask.training.compile_report import Counts, start_counting
from unmask.training.compiling import compile_parts

STEPS = 5
OPTIONS = ["--checkpoint_activations", "true", "--compile", "true", "--compile_backend", "eager"]
METHODS = {name: runs[0] for name, runs in record_steps.RUNS.items() if len(runs) == 1}
WITHOUT_BLOCKS = ["pointcloud.dvae", "vision.dvae", "vision.vq-vae"]
BY_INDUCTOR = {"vision.mae", "vision.simmim", "vision.ijepa"}  # of one plugin, whose blocks are timm's as well
NOT_COMPILED = [*WITHOUT_BLOCKS, "graph.graphmae", "graph.graphmae2", "graph.maskgae", "vision.spark"]
LEAST_SAVED = {  # of the bytes kept for the backward pass; where little of a model is in its blocks, little is saved
    "audio.wav2vec2": 0.4, "graph.graphmae": 0.5, "graph.graphmae2": 0.3, "graph.maskgae": 0.1,
    "pointcloud.point-mae": 0.1, "vision.crate-mae": 0.75, "vision.masked-denoising": 0.7, "vision.spark": 0.7,
}  # fmt: skip


def made(method: str, steps: int = STEPS):
    torch.manual_seed(0)
    found = built("preview", ["--config", *METHODS[method], "--trainer.precision", "32-true"])
    assert found is not None
    model, data = found
    data.num_workers = 0
    data.prepare_data()
    data.setup("fit")
    batches = [batch for batch, _ in zip(data.train_dataloader(), range(steps), strict=False)]
    return model.train(), (batches * steps)[:steps]


def dropping(model: nn.Module) -> None:
    """Whatever can be dropped is."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
        elif hasattr(module, "drop_path_ratio"):
            module.drop_path_ratio = 0.2
        elif hasattr(module, "drop_path1"):
            module.drop_path1, module.drop_path2 = DropPath(0.2), DropPath(0.3)


def trained(model, batches, bf16: bool = False) -> dict[str, torch.Tensor]:
    """Losses of the steps, the last gradients, and the weights."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    found = {}
    for number, batch in enumerate(batches):
        torch.manual_seed(mix(number))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model.step(batch, mix("step", number)).loss.total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found[f"loss {number}"] = loss.detach()
    grads = {f"grad {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | grads | model.state_dict()


def kept_bytes(model, batch) -> int:
    """For the backward pass, weights and buffers aside."""
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor):
        if tensor.layout == torch.strided and tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.step(batch, 1).loss.total.backward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in WITHOUT_BLOCKS])
def test_checkpointed_activations_change_nothing(method, bf16):
    """Losses, gradients, weights and buffers, bit for bit, with whatever drops."""
    model, batches = made(method, 2)
    dropping(model)
    again = copy.deepcopy(model)
    assert checkpoint_activations(again) >= 2
    plain, found = trained(model, batches, bf16), trained(again, batches, bf16)
    assert list(found) == list(plain)
    for name in plain:
        assert torch.equal(found[name], plain[name]), name
    saved = 1 - kept_bytes(again, batches[0]) / kept_bytes(model, batches[0])
    assert saved >= LEAST_SAVED.get(method, 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method in METHODS if method not in NOT_COMPILED])
def test_compiled_blocks_give_the_same_losses(method):
    """By inductor, whose sums are in another order: five steps within 1e-4, and nothing is given up.

    Other methods on images are traced alike, but run by torch's own kernels, in a tenth of the time.
    """
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    model, batches = made(method)
    plain = trained(copy.deepcopy(model), batches)
    start_counting()
    traced = method.startswith("vision.") and method not in BY_INDUCTOR
    compiled = compile_parts(model, backend="aot_eager" if traced else "inductor")
    checkpoint_activations(model)
    with inductor.patch(fallback_random=True):  # draws dropout's numbers as torch does
        found = trained(model, batches)
    counts = Counts(compiled)
    assert not counts.given_up
    for number in range(STEPS):
        torch.testing.assert_close(found[f"loss {number}"], plain[f"loss {number}"], rtol=1e-4, atol=0)
    # Masks and targets are not called in every step, nor decoders of volumes, which digits are not.
    called = [part for part in compiled.parts if not part.startswith(("target", "mask")) and ".volumes." not in part]
    assert called and all(counts.graphs[part] for part in called)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_train_as_without(strategy, tmp_path):
    """To the same weights, both options given; the run then goes on without them, and other commands read it."""
    common = [
        "--config", "vision/mae-digits", "--trainer.max_steps", "6", "--trainer.devices", "2", "--trainer.strategy",
        strategy, "--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.enable_progress_bar",
        "false", "--trainer.limit_val_batches", "1",
    ]  # fmt: skip
    _unmask(tmp_path, ["fit", *common, "--out", "plain"])
    _unmask(tmp_path, ["fit", *common, "--out", "other", *OPTIONS])
    plain, other = (read_torch(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("plain", "other"))
    assert list(plain["state_dict"]) == list(other["state_dict"])
    assert all(torch.equal(other["state_dict"][name], value) for name, value in plain["state_dict"].items())
    _unmask(tmp_path, ["fit", *common, "--out", "other", "--ckpt_path", "last", "--trainer.max_steps", "8"])
    _unmask(tmp_path, ["export", "other", "--out", "exported.pt2", "--format", "torch-export"])
    _unmask(tmp_path, ["embed", "other"])


def _unmask(folder: Path, words: list[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "unmask", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
