"""Nothing of a hidden patch's points reaches the codes, in training, batch norm included, and in evaluation."""

from dataclasses import replace

import pytest
import torch

from unmask import Corruption, Uniform
from unmask.masks import RandomMask
from unmask.testing import masked
from unmask_pointcloud.encoders import PointTransformer
from unmask_pointcloud.masks import PatchBlockMask, SectorMask
from unmask_pointcloud.methods import PointBERT, PointMAE
from unmask_pointcloud.tokenizer import PointTokenizer

CORRUPTIONS = [Corruption(drop=1), Corruption(token=1), Corruption(token=0.4, random=0.6)]


def tokens_of(channels=0):
    points = torch.randn(3, 100, 3 + channels, generator=torch.Generator().manual_seed(0))
    return PointTokenizer(12, 6, channels)(points)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=["drop", "token", "random"])
@pytest.mark.parametrize("sampler", [RandomMask(0.6), PatchBlockMask(Uniform(0.25, 0.45)), SectorMask(0.5)], ids=repr)
def test_codes_do_not_depend_on_hidden_points(sampler, corruption, training):
    torch.manual_seed(0)
    encoder = PointTransformer(32, 2, 2, 1, 16, 8, drop_path_ratio=0.0, class_token=True, mask_token=True)
    encoder.train(training)
    tokens = tokens_of(channels=1)
    mask = masked(tokens, sampler, corruption, 0)

    def codes(values):
        with torch.no_grad():
            latent = encoder(replace(tokens, values=values), mask)
        return torch.cat([latent.prefix, latent.values], dim=1)

    before = codes(tokens.values)
    hidden = mask.hidden[..., None, None]
    for other in (torch.randn_like(tokens.values), torch.full_like(tokens.values, float("nan"))):
        assert torch.equal(codes(torch.where(hidden, other, tokens.values)), before)
    # The test can fail: a visible point does change the codes.
    assert not torch.equal(codes(torch.where(hidden, tokens.values, tokens.values + 0.1)), before)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("method", ["mae", "bert"])
def test_predictions_of_a_whole_step_do_not_see_hidden_points(method, training, monkeypatch):
    torch.manual_seed(0)
    size = {"num_patches": 12, "patch_size": 6, "size": "tiny"}
    if method == "mae":
        model = PointMAE(**size)
    else:
        model = PointBERT(**size, num_codes=32, dvae_width=16, hidden_width=8, mixing=False)
    model.train(training)
    tokens = tokens_of()
    batch = {"points": None}
    seen = []
    for _ in range(2):
        monkeypatch.setattr(PointTokenizer, "forward", lambda self, batch, tokens=tokens: tokens)
        torch.manual_seed(5)  # drop path
        with torch.no_grad():
            step = model.step(batch, 5)
        seen.append(step)
        other = torch.where(step.mask.hidden[..., None, None], torch.randn_like(tokens.values), tokens.values)
        tokens = replace(tokens, values=other)
    assert torch.equal(seen[0].prediction.values, seen[1].prediction.values)
    assert not torch.equal(seen[0].target, seen[1].target)
