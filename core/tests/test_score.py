"""The label-free score: masks that are the same for all, decoders by hand, and what compares with what."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV
from torch import nn

from unmask.cli import main
from unmask.data import MaskedDataModule, Splits
from unmask.losses import CrossEntropyLoss, MSELoss
from unmask.masks import RandomMask
from unmask.model import MaskedModel
from unmask.parts import Corruption, Encoder, Tokenizer
from unmask.predictors import LinearPredictor, TransformerPredictor
from unmask.structures import Grid, Latent, Layout, Sequence, Set, Tokens
from unmask.targets import ValueTarget
from unmask.tools.probe.probe import PRETRAINED, RAW, UNTRAINED
from unmask.tools.report.tables import comparison
from unmask.tools.results import Results
from unmask.tools.score.decoder import ALPHAS, filled, unexplained
from unmask.tools.score.rows import FixedMask, answers, choose, coded, raw, shown
from unmask.tools.score.score import BATCH_SIZE, comparable, score
from unmask.tools.score.table import by_measure, letters, side_by_side


class Rows(Tokenizer):
    layout: Layout = Sequence()

    def forward(self, batch):
        return Tokens(batch["x"], self.layout, valid=batch.get("valid"))


class Codes(Encoder):
    """``scale * x`` of what is visible, zeros for what is hidden and shown as a token."""

    width, num_layers = 2, 1

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, tokens, mask=None, layer=None):
        values = tokens.values * self.scale
        if mask is None:
            return Latent(values)
        if mask.seen is not None:
            return Latent(mask.seen.gather(values), mask.seen)
        return Latent(values.masked_fill(mask.hidden[..., None], 0))


class Mean(Codes):
    """At every place the mean of what is visible: shown tokens only."""

    def forward(self, tokens, mask=None, layer=None):
        shown = (~mask.hidden)[..., None].float()
        mean = (tokens.values * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True)
        return Latent((mean * self.scale).expand_as(tokens.values))


def model(encoder=None, corruption=Corruption(token=1), predictor=None):
    torch.manual_seed(0)
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.9), encoder=encoder or Codes(), target=ValueTarget(), loss=MSELoss(),
        predictor=predictor or LinearPredictor(2, 2), corruption=corruption,
    )  # fmt: skip


class Data(MaskedDataModule):
    """Each place of a sample is the sample's own vector, and a little noise."""

    def __init__(self, num=150, batch_size=16, seed=0, noise=0.1):
        super().__init__(batch_size=batch_size, num_workers=0)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(num, 1, 2, generator=generator) + noise * torch.randn(num, 8, 2, generator=generator)
        self.x = x

    def load(self):
        samples = [{"x": one} for one in self.x]
        return Splits(samples, samples)


def test_the_fixed_mask_hides_half_and_depends_on_the_batch_alone():
    tokens = Tokens(torch.randn(4, 8, 2), Grid((2, 4)))
    before = torch.get_rng_state()
    masks = FixedMask()
    hidden = masks(tokens).hidden
    assert hidden.sum(1).tolist() == [4] * 4
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(5)
    assert torch.equal(FixedMask()(replace(tokens, values=tokens.values * 3)).hidden, hidden)
    masks.number = 1
    assert not torch.equal(masks(tokens).hidden, hidden)

    @dataclass(frozen=True)
    class Unheard(Layout):
        """Of a plugin."""

    valid = torch.arange(8) < torch.tensor([8, 6, 4, 2])[:, None]
    padded = FixedMask()(Tokens(tokens.values, Unheard(), valid=valid))
    assert padded.hidden.sum(1).tolist() == [4, 3, 2, 1]
    packed = Tokens(tokens.values[valid], Unheard(), offsets=torch.tensor([0, 8, 14, 18, 20]))
    assert torch.equal(FixedMask()(packed).hidden, padded.hidden[valid])


def test_rows_are_the_mean_and_the_near_mean_of_visible_codes():
    tokens = Tokens(torch.randn(1, 5, 2), Sequence())
    hidden = torch.tensor([[False, True, False, True, False]])
    mask = replace(FixedMask()(tokens), hidden=hidden, num_hidden=2)
    chosen = choose(tokens, mask, 0, 9, fixed=False)
    assert chosen[0].asked.tolist() == [1, 3]
    seen = tokens.values[0, [0, 2, 4]]
    weights = torch.tensor([[1, 1, 3], [3, 1, 1]]).float().square().div(-2).softmax(1)
    expected = torch.cat([seen.mean(0).expand(2, 2), weights @ seen], dim=1)
    torch.testing.assert_close(raw(tokens, chosen), expected)
    torch.testing.assert_close(coded(Codes(3.0), tokens, mask, chosen), 3 * expected)
    stand_in = coded(
        Codes(3.0), tokens, Corruption(token=1)(tokens, mask).mask, chosen
    )  # and the code at the place itself
    torch.testing.assert_close(stand_in, torch.cat([3 * expected, torch.zeros(2, 2)], dim=1))
    torch.testing.assert_close(answers(tokens, chosen), tokens.values[0, [1, 3]])
    changed = replace(tokens, values=tokens.values + 7 * hidden[..., None])
    torch.testing.assert_close(raw(changed, chosen), expected)  # no hidden value is looked at


@pytest.mark.parametrize("stand_in", [False, True])
def test_packed_rows_are_those_of_padded_ones(stand_in):
    valid = torch.arange(6) < torch.tensor([6, 4, 3])[:, None]
    padded = Tokens(torch.randn(3, 6, 2), Sequence(), valid=valid)
    packed = Tokens(padded.values[valid], Sequence(), offsets=torch.tensor([0, 6, 10, 13]))
    found = []
    for tokens in (padded, packed):
        mask = FixedMask()(tokens)
        chosen = choose(tokens, mask, 0, 2, fixed=False)
        mask = Corruption(token=1)(tokens, mask).mask if stand_in else mask
        found.append((coded(Codes(), tokens, mask, chosen), raw(tokens, chosen), answers(tokens, chosen)))
    for one, other in zip(*found, strict=True):
        assert one.shape[0] == 6  # of 3, 2 and 2 hidden places at most two each
        torch.testing.assert_close(one, other)


def test_coarser_codes_lie_at_the_centres_of_their_cells():
    class Coarse(Encoder):
        def forward(self, tokens, mask=None, layer=None):
            return Latent(torch.tensor([[[1.0], [2], [3], [4]]]))

    tokens = Tokens(torch.randn(1, 16, 2), Grid((4, 4)))
    hidden = torch.zeros(1, 16, dtype=torch.bool)
    hidden[0, 0] = True
    mask = replace(FixedMask()(tokens), hidden=hidden, num_hidden=1)
    stand_in = Corruption(token=1)(tokens, mask).mask
    rows = coded(Coarse(), tokens, stand_in, choose(tokens, mask, 0, 1, fixed=False))
    squares = torch.tensor([0.5, 6.5, 6.5, 12.5])  # from the corner to centres at 0.5 and 2.5
    near = ((-squares / 2).softmax(0) * torch.arange(1, 5)).sum()
    torch.testing.assert_close(rows, torch.tensor([[2.5, near]]))


def test_decoders_are_ridge_regressions_of_each_place_on_other_samples():
    rng = np.random.default_rng(0)
    samples, places = np.repeat(np.arange(120), 2), np.tile([0, 1], 120)
    rows = rng.normal(size=(240, 5)).astype(np.float32)
    maps = rng.normal(size=(2, 5, 3))
    values = (np.einsum("mf,mfv->mv", rows, maps[places]) + rng.normal(size=(240, 3))).astype(np.float32)
    found = unexplained(rows, np.arange(240), values, samples, places)
    for fold in range(5):
        missed = total = 0
        for place in (0, 1):
            fit, test = ((places == place) & part for part in (samples % 5 != fold, samples % 5 == fold))
            X = rows[fit].astype(np.float64)
            scale = np.sqrt(X.var(0).mean())
            ridge = RidgeCV(ALPHAS).fit((X - X.mean(0)) / scale, values[fit])
            missed += ((ridge.predict((rows[test] - X.mean(0)) / scale) - values[test]) ** 2).sum()
            total += ((values[fit].mean(0) - values[test]) ** 2).sum()
        assert found[fold] == pytest.approx(missed / total, rel=1e-4)
        assert 0.1 < found[fold] < 0.5
    shared = unexplained(rows, np.arange(240), values, samples, None)
    assert min(shared) > max(found)  # one map cannot be both
    noise = unexplained(rng.normal(size=rows.shape), np.arange(240), values, samples, places)
    assert 0.95 < np.mean(noise) < 1.15
    with pytest.raises(ValueError, match="must be finite"):
        unexplained(rows * np.nan, np.arange(240), values, samples, places)
    with pytest.raises(ValueError, match="must vary"):
        unexplained(rows, np.arange(240), values * 0, samples, places)


def test_long_rows_are_rotated_without_loss():
    rng = np.random.default_rng(0)
    values, seen = rng.normal(size=(30, 20, 4)).astype(np.float32), rng.random((30, 20)) < 0.5
    short = filled(values, seen)
    assert short.shape == (30, 30)
    mean = (values * seen[..., None]).sum(0) / seen.sum(0)[:, None]
    whole = np.where(seen[..., None], values - mean, 0).reshape(30, -1)
    y = rng.normal(size=20)
    expected, found = (Ridge(0.5).fit(rows[:20], y).predict(rows[20:]) for rows in (whole, short))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        filled(values[:, :2], seen[:, :2]), whole.reshape(30, 20, 4)[:, :2].reshape(30, 8), atol=1e-6
    )


@pytest.mark.parametrize("corruption", [Corruption(token=1), Corruption(drop=1)])
def test_an_encoder_that_knows_scores_below_one_that_does_not(corruption):
    predictor = TransformerPredictor(2, 2, width=8, depth=1, num_heads=1) if corruption.drop else None
    knows, blank = model(Codes(1.0), corruption, predictor), model(Codes(0.0), corruption, predictor)
    own_mask, state = knows.mask, torch.get_rng_state()
    found = score(knows, blank, Data())
    assert knows.mask is own_mask
    assert torch.equal(state, torch.get_rng_state())
    assert found == score(knows, blank, Data(batch_size=7))
    assert found.by_place
    assert found.shown == ("dropped" if corruption.drop else "token")
    assert found.unexplained[PRETRAINED][0] < 0.03  # noise of 0.1 beside 1, and a little more for its estimate
    assert found.unexplained[RAW][0] < 0.03
    assert 1 <= found.unexplained[UNTRAINED][0] < 1.1
    assert found.unexplained[RAW][1] == pytest.approx(np.std(found.folds[RAW], ddof=1) / math.sqrt(5))
    assert (found.num_samples, found.note) == (150, "")
    assert found.num_answers == 150 * 4


def test_own_loss_is_that_of_steps_under_the_fixed_masks():
    trained = model(Mean())
    found = score(trained, model(), Data())
    masks, losses = FixedMask(), []
    for number, x in enumerate(Data().x.split(BATCH_SIZE)):
        masks.number = number
        hidden = masks(Tokens(x, Sequence())).hidden
        visible = (~hidden)[..., None].float()
        mean = ((x * visible).sum(1, keepdim=True) / visible.sum(1, keepdim=True)).expand_as(x)
        losses.append((trained.predictor.head(mean) - x)[hidden].square().mean().item())
    mean, error = found.own_loss[PRETRAINED]
    assert mean == pytest.approx(np.average(losses, weights=[64, 64, 22]), rel=1e-5)
    assert error == pytest.approx(np.std(losses, ddof=1) / math.sqrt(3), rel=1e-4)


def test_few_samples_of_a_set_share_one_decoder():
    class Points(Rows):
        def forward(self, batch):
            return Tokens(batch["x"], Set(), positions=batch["x"][..., :1].cumsum(1))

    class Few(Data):
        def load(self):
            x = torch.sin(torch.arange(200.0) / 9)[None, :, None].repeat(2, 1, 2)
            return Splits([{"x": one} for one in x], [{"x": one} for one in x])

    trained, blank = model(Codes(1.0)), model(Codes(0.0))
    for one in (trained, blank):
        one.tokenizer = Points()
    found = score(trained, blank, Few())
    assert not found.by_place
    assert found.unexplained[PRETRAINED][0] < found.unexplained[UNTRAINED][0] == pytest.approx(1, abs=0.05)


def test_ids_have_a_loss_but_nothing_to_explain():
    class Embedded(Codes):
        def forward(self, tokens, mask=None, layer=None):
            return Latent(torch.nn.functional.one_hot(tokens.values.masked_fill(mask.hidden, 0), 2).float())

    class Ids(Data):
        def load(self):
            samples = [{"x": (one[:, 0] > 0).long()} for one in self.x]
            return Splits(samples, samples)

    class Same(ValueTarget):
        def forward(self, tokens, mask, given=None):
            return mask.asked.gather(tokens.values)

    pair = [model(Embedded()), model(Embedded())]
    for one in pair:
        one.target, one.loss = Same(), CrossEntropyLoss()
    found = score(*pair, Ids())
    assert found.unexplained == {} and found.variance is None
    assert set(found.own_loss) == {UNTRAINED, PRETRAINED}
    assert "ids, which have no values" in found.note
    assert "ids, which have no values" in side_by_side(["r"], [found], [""]).text()
    assert not comparable(found, score(*pair, Ids(seed=1)))


def test_what_cannot_be_measured_is_said():
    class Picky(LinearPredictor):
        def forward(self, latent, places, mask):
            raise ValueError("`groups` must be asked for.")

    found = score(model(predictor=Picky(2, 2)), model(predictor=Picky(2, 2)), Data())
    assert found.own_loss == {}
    assert found.note == "No own loss under these masks: `groups` must be asked for."
    assert found.unexplained[PRETRAINED][0] < 0.1
    with pytest.raises(ValueError, match="must hide something"):
        score(model(corruption=Corruption(keep=1)), model(), Data())
    assert shown(Corruption(token=0.8, random=0.1, keep=0.1)).token == 1
    assert shown(Corruption(random=0.5, keep=0.5)).random == 1


def test_the_file_of_a_score_is_a_table_that_report_compares():
    first, other = (score(model(), model(), Data(noise=noise)) for noise in (0.0, 2.0))
    files = [json.loads(by_measure(one, "Toy", "A run.").to_json()) for one in (first, other)]
    read = Results.from_json(files[0])
    assert [row.name for row in read.rows] == ["unexplained", "own loss of Toy"]
    assert read.columns == [RAW, UNTRAINED, PRETRAINED]
    assert (
        read.rows[0].cells[PRETRAINED].mean
        == first.unexplained[PRETRAINED][0]
        == files[0]["unexplained"][PRETRAINED][0]
    )
    assert read.rows[0].cells[RAW].scores == first.folds[RAW]
    assert comparison([files[0], files[0]], ["a", "b"]) is not None
    changed = files[0] | {"fingerprint": "of other data"}
    assert comparison([files[0], changed], ["a", "b"]) is None


def test_scores_compare_on_the_same_data_and_tokens_only():
    first, again = (score(model(encoder), model(), Data()) for encoder in (Codes(), Mean()))
    other, fewer = score(model(), model(), Data(noise=2.0)), score(model(), model(), Data(num=140))
    assert comparable(first, again)
    assert not comparable(first, other)
    assert letters([first, other, again, fewer]) == ["A", "B", "A", "C"]
    assert "do not compare" in side_by_side(["a", "b"], [first, other], ["", ""]).text()
    assert "do not compare" not in side_by_side(["a", "b"], [first, again], ["", ""]).text()


def test_the_same_run_has_the_same_score(toys):
    shutil.copytree("toy", "other")
    assert main(["score", "toy", "other"]) == 0
    found, again = (json.loads(Path(folder, "score.json").read_text()) for folder in ("toy", "other"))
    assert {k: v for k, v in found.items() if k != "caption"} == {k: v for k, v in again.items() if k != "caption"}
