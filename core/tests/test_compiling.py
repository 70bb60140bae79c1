"""Compiled parts compute the same, keep their names, and tell what torch made of them."""

from __future__ import annotations

import copy
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from unmask.cli import main
from unmask.nn import Transformer
from unmask.seeds import mix
from unmask.support.errors import UserError
from unmask.training.activations import checkpoint_activations
from unmask.training.compile_report import Counts, report, start_counting
from unmask.training.compiling import check_backend, compile_parts
from unmask.training.in_place import as_it_was

FIT = ["fit", "--config", "toy.yaml", "--trainer.precision", "32-true"]
EAGER = ["--compile", "true", "--compile_backend", "eager"]


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()


def losses(model: nn.Module, steps: int = 5) -> list[float]:
    """Of so many steps, the batches of which differ in length."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    found = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        batch = {"x": torch.randn(4, 6 + 2 * (step % 3), 2, generator=generator)}
        loss = model.train().step(batch, mix(step)).loss.total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize(
    ("method", "how", "backend"),
    [("Toy", "regional", "eager"), ("Taught", "regional", "eager"), ("Taught", "whole", "eager"),
     pytest.param("Toy", "regional", "aot_eager", marks=pytest.mark.slow)],
)  # fmt: skip
def test_losses_are_the_same(toys, method, how, backend):
    torch.manual_seed(0)
    model = getattr(import_module("toy_modality"), method)()
    compiled, names = copy.deepcopy(model), list(model.state_dict())
    start_counting()
    found = compile_parts(compiled, how, backend)
    teacher = {"regional": "target.teacher.trunk.blocks", "whole": "target.teacher"}[how]
    assert (teacher in found.parts) == (method == "Taught")
    copied = copy.deepcopy(compiled)  # is compiled, too, and has weights of its own
    checkpointed = copy.deepcopy(compiled)
    assert checkpoint_activations(checkpointed) == 3
    expected = losses(model)
    if backend == "aot_eager":
        assert losses(checkpointed) == pytest.approx(expected, rel=1e-5)
    else:
        assert [losses(compiled), losses(copied), losses(checkpointed)] == 3 * [expected]
    assert list(checkpointed.state_dict()) == names
    counts = Counts(found)
    assert all(counts.graphs[part] >= 1 for part in found.parts)
    assert counts.graphs.total() <= 24  # of 15 steps whose batches have three lengths


def test_rows_of_one_class_are_compiled_apart_and_blocks_of_a_row_together():
    """So a trunk of another width does not make the first one's sizes change."""
    model = nn.ModuleDict({"encoder": Transformer(16, 4, 2), "predictor": Transformer(8, 3, 2)})
    start_counting()
    found = compile_parts(model, backend="eager")
    for _ in range(2):
        model["encoder"](torch.randn(2, 12, 16, requires_grad=True)).sum().backward()
        model["predictor"](torch.randn(2, 5, 8, requires_grad=True)).sum().backward()
    counts = Counts(found)
    assert counts.graphs == {"encoder.blocks": 1, "predictor.blocks": 1}
    assert not counts.again
    text = report(found, "regional", "eager")
    assert "1 graphs of encoder.blocks (4 Block)" in text


def test_what_is_trained_is_compiled_for_training_alone():
    trunk, x = Transformer(8, 2, 2), torch.randn(2, 4, 8)
    start_counting()
    found = compile_parts(trunk, backend="eager")
    with torch.no_grad():
        trunk(x)
    assert not Counts(found).graphs
    trunk.requires_grad_(False)(x)
    assert Counts(found).graphs["blocks"] == 1


class Breaking(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        x = self.linear(x)
        return x * 2 if float(x.detach().sum()) > 0 else x


class Numbered(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.linear, self.number = nn.Linear(4, 4), f"{number}"

    def forward(self, x):
        return self.linear(x) + len(self.number) if self.number else x


def test_blocks_that_are_given_up_after_too_many_graphs_are_told():
    model = nn.Sequential(*[Numbered(10**number) for number in range(12)])
    start_counting()
    found = compile_parts(nn.Sequential(model), backend="eager")
    model(torch.randn(2, 4, requires_grad=True)).sum().backward()
    counts = Counts(found)
    assert counts.graphs.total() < 12
    assert counts.given_up.total() >= 1
    assert "given up after too many" in counts.line
    assert "part_0_0" in report(found, "regional", "eager").split("Given up after too many:")[1]


class Sparse(Breaking):
    compilable = False


def test_breaks_and_what_was_compiled_again_are_reported():
    model = nn.Sequential(Breaking(), Breaking())
    start_counting()
    found = compile_parts(nn.Sequential(model), backend="eager")
    for length in (2, 3, 4):
        model(torch.randn(length, 4, requires_grad=True)).sum().backward()
    text = report(found, "regional", "eager")
    breaks, again = text.split("Graph breaks:")[1].split("Given up")[0].split("Compiled again:")
    assert "Tensor.item()" in breaks
    assert "size mismatch at index 0. expected 2, actual 3" in again


def test_what_cannot_be_compiled_is_left_as_it_is():
    both = nn.ModuleDict({"graph": nn.Sequential(Sparse(), Sparse()), "trunk": Transformer(8, 2, 2)})
    found = compile_parts(both, backend="eager")
    assert found.parts == {"trunk.blocks": "2 Block"}
    assert found.left == {"graph": "2 Sparse"}
    assert "forward" not in vars(both["graph"][0])
    with pytest.raises(ValueError, match="`compile` must be false for ModuleDict, whose parts cannot be compiled"):
        compile_parts(nn.ModuleDict({"graph": nn.Sequential(Sparse(), Sparse())}))
    with pytest.raises(ValueError, match="must be false for Linear, which has no repeated layers; nearest: 'whole'"):
        compile_parts(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="`compile_backend` must be one of inductor, aot_eager, eager"):
        compile_parts(both, backend="gcc")  # type: ignore[arg-type]


def test_without_a_compiler_one_line_names_what_needs_none():
    import torch._inductor.config as inductor

    missing = inductor.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with (
        missing,
        pytest.raises(UserError, match=r"needs a C\+\+ compiler.*`--compile_backend aot_eager`") as told,
    ):
        check_backend("inductor", torch.device("cpu"))
    assert "\n" not in str(told.value)


def test_a_compiled_run_ends_as_a_plain_one_and_each_goes_on_from_the_other(toys, capsys):
    assert main([*FIT, "--out", "plain"]) == 0
    assert main([*FIT, "--out", "other", *EAGER, "--checkpoint_activations", "true"]) == 0
    out = capsys.readouterr().out
    assert "Compiling (regional, eager): encoder.trunk.blocks (2 Block), predictor.trunk.blocks (1 Block)." in out
    assert "Activation checkpointing: 3 blocks keep their inputs alone." in out
    assert "Compiled: 2 graphs" in out
    assert "2 graphs" in Path("other/compile.txt").read_text()
    config = yaml.safe_load(Path("other/config.yaml").read_text())
    assert (config["compile"], config["compile_backend"], config["checkpoint_activations"]) == (True, "eager", True)

    shutil.copytree("plain", "straight")
    more = [*FIT, "--ckpt_path", "last", "--trainer.max_steps", "8", "--out"]
    assert main([*more, "straight"]) == 0
    assert main([*more, "other"]) == 0
    capsys.readouterr()
    assert main([*more, "plain", *EAGER]) == 0
    assert "`compile` false -> true" in capsys.readouterr().out
    expected = weights("straight")
    for run in ("plain", "other"):
        found = weights(run)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected), run
    assert main(["score", "other"]) == 0


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(run, "checkpoints", "last.ckpt"), weights_only=True)["state_dict"]


def test_options_of_the_command_line_are_checked(toys, capsys):
    assert main([*FIT, "--out", "run", "--compile", "blocks"]) == 2
    assert "compile" in capsys.readouterr().err
    assert main([*FIT, "--out", "run", "--model.depth", "1", "--checkpoint_activations", "true"]) == 2
    told = capsys.readouterr().err
    assert "`checkpoint_activations` must be false for Toy, which has no repeated layers." in told
    assert not Path("run").exists()


def test_a_model_is_as_it_was_after_the_fit(toys):
    model = import_module("toy_modality").Toy()
    compile_parts(model, backend="eager")
    checkpoint_activations(model)
    as_it_was(model)
    assert not any("forward" in vars(module) for module in model.modules())
