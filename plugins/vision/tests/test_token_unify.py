"""TokenUnify: hidden blocks, the next one, and all that follow, by scans over the blocks of a volume."""

from dataclasses import replace

import pytest
import torch

from unmask import Grid, Progress
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.testing import DataContract, MethodContract
from unmask_vision.cubes import CubeTokenizer
from unmask_vision.data import SolidVolumesData
from unmask_vision.encoders import ScanEncoder
from unmask_vision.methods import MAE, TokenUnify

SIZES = {"width": 12, "depth": 1, "decoder_width": 12, "decoder_depth": 1, "decoder_heads": 2}


def made(**options):
    torch.manual_seed(0)
    return TokenUnify(**{"cube_size": (2, 4, 4), **SIZES, **options})


def volumes(count=4):
    return {"volume": torch.rand(count, 1, 4, 8, 12, generator=torch.Generator().manual_seed(1))}


class TestTokenUnify(MethodContract):
    num_steps = 8
    lr = 1e-2

    def make(self):
        return made()

    def batch(self):
        return volumes()


class TestSolidVolumes(DataContract):
    def make(self, **options):
        return SolidVolumesData(num_solids=40, side=4, batch_size=4, **options)


def test_the_loss_by_hand():
    model = made(next_weight=0.5, following_weight=0.25).eval()
    step = model.step(volumes(), 0)
    masks = step.given.shown.mask
    hidden, prefix = masks.part("random").hidden, masks.part("prefix").hidden
    assert hidden.sum(1).tolist() == [9] * 4
    assert len(set(prefix.sum(1).tolist())) > 1, "prefixes of other lengths"
    values = step.tokens.values
    total = torch.zeros(())
    for view, asked, weight in (
        ("random", hidden, 1.0),
        ("prefix", prefix & (prefix.cumsum(1) == 1), 0.5),
        ("prefix", prefix, 0.25),
    ):
        mask = masks.part(view)
        latent = model.encoder(step.tokens, mask)
        made_there = model.predictor(latent, step.tokens.places, replace(mask, predict=asked, num_predict=None))
        real = made_there.asked.valid
        answers = made_there.values.flatten(0, 1) if real is None else made_there.values[real]
        total = total + weight * (answers - values[asked]).square().mean()
    torch.testing.assert_close(step.loss.total, total, rtol=1e-4, atol=1e-6)
    assert list(step.terms) == ["next", "following"]


def test_without_prefixes_it_is_a_masked_autoencoder_bit_for_bit():
    ours = made(next_weight=0.0, following_weight=0.0).eval()
    mae = MAE(
        tokenizer=CubeTokenizer((2, 4, 4)), encoder=ScanEncoder(12, 1, (2, 4, 4), 1), target=ours.target,
        predictor=TransformerPredictor(12, 32, 12, 1, 2), mask=RandomMask(0.75),
    ).eval()  # fmt: skip
    mae.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.startswith("objectives")})
    batch = volumes()
    step = ours.step(batch, 0)
    shown = step.given.shown
    alone = mae.corruption(shown.tokens, shown.mask.part("random"))
    answers = mae.predictor(mae.encoded(alone).codes, shown.tokens.places, alone.mask)
    right = mae.target(shown.tokens, alone.mask)
    assert torch.equal(mae.loss(answers, right).total, step.loss.total)


def test_turns_follow_epochs():
    model = made(turn_epochs=100)
    schedules = [model.loss_weight, *(one.weight for one in model.objectives.values())]
    for epoch, turn in ((0, 0), (99, 0), (100, 1), (250, 2), (300, 0)):
        assert [one(Progress(epoch=epoch)) for one in schedules] == [float(number == turn) for number in range(3)]
    with pytest.raises(ValueError, match="must be left at 1 where `turn_epochs` is given"):
        made(turn_epochs=2, next_weight=0.5)


def test_blocks_and_volumes():
    tokenizer = CubeTokenizer((1, 2, 2), channels=4)
    volume = torch.rand(2, 4, 2, 4, 6)
    tokens = tokenizer(volume)
    assert tokens.layout == Grid((2, 2, 3)) and tokens.values.shape == (2, 12, 16)
    assert torch.equal(tokens.values[0, 0].view(2, 2, 4), volume[0, :, 0, :2, :2].permute(1, 2, 0))
    assert torch.equal(tokenizer.volume(tokens.values, tokens.layout), volume)
    picture = tokenizer.render(tokens, torch.ones(2, 12, dtype=torch.bool))[0]
    assert picture.shape == (4, 6, 3) and set(picture.flatten().tolist()) == {140}
    with pytest.raises(ValueError, match="multiples of `cube_size` 1x2x2, but are 2x3x6; nearest: 2x4x6"):
        tokenizer(torch.rand(2, 4, 2, 3, 6))
    with pytest.raises(ValueError, match="`channels` must be 1, as in the volumes, but is 4"):
        tokenizer(torch.rand(2, 1, 2, 4, 6))


def test_solids_are_the_same_in_every_run():
    data = SolidVolumesData(num_solids=40, side=8, values="rgba", batch_size=4)
    first, again = data.load().train[3], SolidVolumesData(num_solids=40, side=8, values="rgba", seed=0).load().train[3]
    assert torch.equal(first["volume"], again["volume"]) and first["volume"].shape == (4, 8, 8, 8)
    for sample in (data.load().val[number] for number in range(8)):
        alpha = sample["volume"][3]
        assert 0.02 < float((alpha > 0.5).float().mean()) < 0.7, "a solid fills a part of its volume"
        assert not sample["volume"][:3][:, alpha < 0.01].any(), "nothing has no colour"
    with pytest.raises(ValueError, match="`values` must be 'grey' or 'rgba', but is 'rgb'"):
        SolidVolumesData(values="rgb")
