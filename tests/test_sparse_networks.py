"""Networks on visible cells alone, with what core does to any network: BatchNorm of several processes, blocks that are
computed again."""

import pytest
import torch

from unmask import Corruption
from unmask.masks import RandomMask
from unmask.testing import masked, shaken
from unmask.training.activations import checkpoint_activations
from unmask.training.batch_norm import SyncBatchNorm, synchronise
from unmask_vision.encoders import CNNEncoder
from unmask_vision.tokenizer import PatchTokenizer

NAMES = {"resnet": ("resnet18", {"channels": (8, 8, 16, 16)}), "efficientnet": ("test_efficientnet", {})}


def made(kind):
    torch.manual_seed(0)
    name, own = NAMES[kind]
    return shaken(CNNEncoder(name, options=own), 0.05)


def images():
    return {"image": torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("kind", NAMES)
def test_statistics_over_processes_stay_those_of_visible_cells(kind):
    """What takes the place of BatchNorm where there are several processes keeps hooks and activations."""
    tokens = PatchTokenizer(32)(images())
    mask = masked(tokens, RandomMask(0.5), Corruption(drop=1))
    plain, ours = made(kind).train(), made(kind).train()
    assert synchronise(ours, "cpu") > 0
    assert any(isinstance(one, SyncBatchNorm) for one in ours.modules())
    assert list(ours.state_dict()) == list(plain.state_dict())
    first, second = plain(tokens, mask), ours(tokens, mask)
    torch.testing.assert_close(second.values, first.values, rtol=1e-3, atol=1e-3 * first.values.abs().max().item())
    for a, b in zip(plain.buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4)


def test_two_masks_before_one_backward_pass():
    """Blocks that are computed again take the mask of their own forward pass."""
    tokens = PatchTokenizer(32)(images())
    masks = [masked(tokens, RandomMask(0.5), Corruption(drop=1), seed) for seed in (0, 1)]
    assert not torch.equal(masks[0].hidden, masks[1].hidden)
    found = []
    for again in (False, True):
        encoder = made("resnet").train()
        assert not again or checkpoint_activations(encoder) > 0
        sum(encoder(tokens, mask).values.square().sum() for mask in masks).backward()
        found.append({name: p.grad for name, p in encoder.named_parameters()})
    assert all(torch.equal(found[1][name], gradient) for name, gradient in found[0].items())
