"""Which layers of a network are its blocks, and blocks that are computed again in the backward pass."""

from __future__ import annotations

import copy

import torch
from torch import nn

from unmask.nn import Transformer
from unmask.training.activations import checkpoint_activations
from unmask.training.blocks import blocks_of, rows_of
from unmask.training.in_place import as_it_was


class Noisy(nn.Module):
    """A block with what is drawn, and with statistics of the batch."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(width, width), nn.BatchNorm1d(width), nn.Dropout(0.3)

    def forward(self, x, scale=1.0):
        kept = torch.empty(len(x), 1).bernoulli_(0.7)
        return x + kept * self.drop(self.norm(self.linear(x))).relu() * scale


class Stage(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(x)


def noisy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), Stage(Noisy(), Noisy(), Noisy()))


def test_blocks_of_a_transformer():
    trunk = Transformer(8, 3, 2)
    assert blocks_of(trunk) == list(trunk.blocks)
    assert list(rows_of(nn.ModuleDict({"trunk": trunk}))) == ["trunk.blocks"]


def test_blocks_of_stages_are_the_inner_ones_and_single_ones_count_with_them():
    stages = nn.Sequential(Stage(Noisy()), Stage(Noisy(), Noisy()))
    assert [len(row) for row in rows_of(stages).values()] == [1, 2]
    assert blocks_of(stages) == [stages[0].blocks[0], *stages[1].blocks]
    assert blocks_of(Stage(Noisy())) == []


def test_bare_layers_and_mixed_rows_are_no_blocks():
    assert blocks_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == []
    assert blocks_of(nn.Sequential(Noisy(), Stage(nn.Linear(2, 2)))) == []


def test_rows_that_are_shared_count_once_and_frozen_ones_apart():
    trunk = Transformer(8, 2, 2)
    both = nn.ModuleDict({"one": trunk, "two": trunk, "teacher": copy.deepcopy(trunk).requires_grad_(False)})
    assert blocks_of(both) == list(trunk.blocks)
    assert list(rows_of(both, frozen=True)) == ["teacher.blocks"]


def trained(model: nn.Module, steps: int = 2) -> dict[str, torch.Tensor]:
    """Losses, gradients and what is saved, after so many steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = {}
    for step in range(steps):
        torch.manual_seed(step)
        loss = model(torch.randn(6, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found[f"loss {step}"] = loss.detach()
    return found | {f"grad {name}": p.grad for name, p in model.named_parameters()} | model.state_dict()


def test_checkpointed_activations_change_nothing_though_blocks_draw_and_count():
    model, blocks = noisy(), 3
    again = copy.deepcopy(model)
    assert checkpoint_activations(again) == blocks
    copied = copy.deepcopy(again)  # is checkpointed, too, and on its own weights
    plain = trained(model)
    assert plain["1.blocks.0.norm.num_batches_tracked"] == 2
    for other in (again, copied):
        found = trained(other)
        assert list(found) == list(plain)
        assert all(torch.equal(found[name], plain[name]) for name in plain)


def saved_bytes(model: nn.Module, x: torch.Tensor) -> int:
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x).sum().backward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_a_checkpointed_block_keeps_its_input_alone():
    trunk, x = Transformer(16, 6, 2), torch.randn(4, 10, 16)
    plain = saved_bytes(trunk, x)
    checkpoint_activations(trunk)
    kept = saved_bytes(trunk, x)
    norm = x.numel() * 4 + 2 * x.shape[0] * x.shape[1] * 4  # what the last norm keeps
    assert kept <= len(trunk.blocks) * x.numel() * 4 + norm
    assert kept < plain / 10
    as_it_was(trunk)
    assert saved_bytes(trunk, x) == plain
    assert "forward" not in vars(trunk.blocks[0])


def test_only_training_computes_blocks_again():
    model, calls = noisy(), []
    checkpoint_activations(model)
    model[1].blocks[0].linear.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(6, 8)
    model(x).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        model(x)
    model.eval()(x).sum().backward()
    assert len(calls) == 4


def test_hooks_of_a_block_run_once():
    model, calls = noisy(), []
    checkpoint_activations(model)
    model[1].blocks[0].register_forward_hook(lambda *_: calls.append(1))
    model(torch.randn(6, 8)).sum().backward()
    assert calls == [1]


def test_arguments_by_name_are_passed_on():
    found = []
    for checkpointed in (False, True):
        stage = noisy()[1]
        if checkpointed:
            checkpoint_activations(stage)
        x = torch.ones(6, 8, requires_grad=True)
        torch.manual_seed(0)
        stage.blocks[0](x, scale=0.5).sum().backward()
        found.append(x.grad)
    assert torch.equal(*found)
    assert not torch.equal(found[0], torch.ones(6, 8))
