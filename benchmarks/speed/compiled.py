"""Blocks that are compiled, or computed again in the backward pass, against the same model as it is.

A step is forward, backward and AdamW. All variants of a model take their steps turn by turn in one process, on the same
batches, so a slow minute slows all of them; figures are ratios of medians, of the processor's time. Start-up is the
processor's time, compilers included, of the first two steps, in which all but changing sizes is compiled; torch's
caches on disk are switched off.

    python benchmarks/speed/compiled.py [--models mae mlm] [--variants checkpointed compiled] [--rounds 9]

Bytes kept for the backward pass are counted once each, weights left out. The first loss of all variants is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import text
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn
from turns import adamw, medians

from unmask.cli.building import built
from unmask.training.activations import checkpoint_activations
from unmask.training.compile_report import Counts, start_counting
from unmask.training.compiling import compile_parts
from unmask_text.methods.mlm import MLM
from unmask_vision.methods import MAE

NUM_BATCHES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    arguments = parser.parse_args()
    torch._inductor.config.force_disable_caches = True
    torch._inductor.config.compile_threads = 1  # in this process, whose time is taken
    print("| model | variant | kept for backward | step, against the plain one | first two steps | compiled |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models:
        torch.manual_seed(0)
        model, batches = MODELS[name]()
        batches = move_data_to_device(batches, torch.device(arguments.device))
        measure(name, model.to(arguments.device).train(), batches, arguments)


def measure(name: str, model: Any, batches: list[Any], arguments: argparse.Namespace) -> None:
    """Rows of one model: each variant beside the plain one."""
    kept = kept_bytes(model, batches[0], arguments)
    print(f"| {name} | plain | {kept / 1e6:.1f} MB | 1 | | |", flush=True)
    for variant in arguments.variants:
        torch._dynamo.reset()
        plain, own = copy.deepcopy(model), copy.deepcopy(model)
        try:
            parts = VARIANTS[variant](own)
        except ValueError as error:  # nothing to compile
            print(f"| {name} | {variant} | | | | {error} |", flush=True)
            continue
        steps = {key: stepper(one, batches, arguments) for key, one in (("plain", plain), (variant, own))}
        expected, *_ = [steps["plain"]() for _ in range(2)]
        began = sum(os.times()[:4])
        loss, *_ = [steps[variant]() for _ in range(2)]
        start = sum(os.times()[:4]) - began
        assert abs(loss - expected) <= (2e-2 if arguments.bf16 else 1e-4) * abs(expected), (variant, loss, expected)
        clock = time.process_time if arguments.device == "cpu" else time.perf_counter
        found = medians(steps, arguments.rounds, arguments.device, warm_up=NUM_BATCHES, clock=clock)
        less = kept_bytes(own, batches[0], arguments)
        told = Counts(parts).line if parts else ""
        ratio = found[variant] / found["plain"]
        print(
            f"| {name} | {variant} | {less / 1e6:.1f} MB ({less / kept:.0%}) | {ratio:.2f} | {start:.1f} s | {told} |",
            flush=True,
        )


def stepper(model: Any, batches: list[Any], arguments: argparse.Namespace) -> Callable[[], float]:
    """A step, on the next batch, that gives its loss."""
    optimizer, turns, numbers = adamw(model), itertools.cycle(batches), itertools.count()

    def step() -> float:
        torch.manual_seed(next(numbers))  # as training does, so that dropout is the same for all
        with torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.bf16):
            loss = model.step(next(turns), 1).loss.total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def kept_bytes(model: nn.Module, batch: Any, arguments: argparse.Namespace) -> int:
    """What a step keeps for its backward pass, weights and buffers aside."""
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout == torch.strided and tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.bf16):
            loss = model.step(batch, 1).loss.total  # type: ignore[operator]
        loss.backward()
    model.zero_grad()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def mae() -> tuple[Any, list[Any]]:
    """ViT-Ti on images of 224 pixels."""
    return MAE(size="tiny"), [{"image": torch.rand(8, 3, 224, 224)} for _ in range(NUM_BATCHES)]


def mlm() -> tuple[Any, list[Any]]:
    """A 4x512 encoder on paragraphs as they come, packed."""
    model = MLM(size="small", vocab_size=text.VOCAB_SIZE, dropout=0)
    return model, [text.packed(documents) for documents in text.ragged(NUM_BATCHES)]


def recipe(*words: str) -> Callable[[], tuple[Any, list[Any]]]:
    """The model and the batches of a recipe."""

    def make() -> tuple[Any, list[Any]]:
        with contextlib.redirect_stdout(io.StringIO()):
            found = built(
                "benchmark", ["--config", *words, "--data.num_workers", "0", "--trainer.precision", "32-true"]
            )
            assert found is not None
            model, data = found
            data.prepare_data()
            data.setup("fit")
            batches = list(itertools.islice(itertools.cycle(data.train_dataloader()), NUM_BATCHES))
        return model, batches

    return make


def compiled(model: nn.Module) -> Any:
    start_counting()
    return compile_parts(model)


def both(model: nn.Module) -> Any:
    found = compiled(model)
    checkpoint_activations(model)
    return found


def checkpointed(model: nn.Module) -> None:
    checkpoint_activations(model)


MODELS: dict[str, Callable[[], tuple[Any, list[Any]]]] = {
    "mae": mae,
    "mlm": mlm,
    "audio-mae": recipe("audio/audio-mae-synth", "--data.num_sounds", "200"),
    "point-mae": recipe("pointcloud/point-mae-solids", "--data.num_solids", "200"),
    "graphmae": recipe("graph/graphmae-imports"),
}
VARIANTS: dict[str, Callable[[nn.Module], Any]] = {"checkpointed": checkpointed, "compiled": compiled, "both": both}


if __name__ == "__main__":
    main()
