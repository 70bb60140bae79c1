"""Reconstructions: packed, padded and id tokens drawn by hand-checked pixels; files and errors worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from unmask import Latent, MaskedModel, Sequence, Tokens
from unmask.cli import main
from unmask.data import MaskedDataModule, Splits
from unmask.losses import CrossEntropyLoss, MSELoss
from unmask.masks import RandomMask
from unmask.parts import Corruption, Encoder, MaskSampler, Predictor, Target, Tokenizer
from unmask.structures import RANDOM, TOKEN, Mask, Prediction
from unmask.targets import ValueTarget
from unmask.tools.pictures.drawing import draw, views
from unmask.tools.pictures.picture_grid import GAP, LINE
from unmask.tools.pictures.reconstruct import reconstruct

GREY, SIDE = 128, 32


class Beads(Tokenizer):
    """Values in [0, 1] (or ids below 10) on strings of several lengths: one pixel each, hidden ones at 128."""

    def __init__(self, form="packed", ids=False):
        super().__init__()
        self.form, self.ids = form, ids

    def forward(self, batch):
        x, lengths = batch["x"], batch["length"]
        valid = torch.arange(x.shape[1]) < lengths[:, None]
        x = (x * 10).round().long() if self.ids else x[..., None]
        if self.form == "padded":
            return Tokens(x, Sequence(), valid=valid)
        return Tokens(x[valid], Sequence(), offsets=nn.functional.pad(lengths.cumsum(0), (1, 0)))

    def render(self, tokens, hidden=None):
        level = tokens.values / 10 if self.ids else tokens.values[..., 0]
        shown = (level * 255).round()
        if hidden is not None:
            shown = shown.masked_fill(hidden, GREY)
        if tokens.offsets is None:
            rows = [row[real] for row, real in zip(shown, tokens.valid, strict=True)]
        else:
            rows = shown.split(tokens.offsets.diff().tolist())
        return [row.expand(3, 1, -1).permute(1, 2, 0).byte().numpy() for row in rows]

    def files(self, tokens, hidden=None, prediction=None):
        return {".raw": [picture.tobytes() for picture in self.render(tokens, hidden)]}


class Guessing(Beads):
    """Reads predictions itself, and draws nothing."""

    def render(self, tokens, hidden=None):
        raise NotImplementedError("Guessing draws no pictures.")

    def files(self, tokens, hidden=None, prediction=None):
        told = "nothing" if prediction is None else str(tuple(prediction.values.shape))
        return {".txt": [told.encode()] * tokens.num_samples}


class Given(MaskSampler):
    """Hides what it is told, of samples of lengths 2 and 4."""

    def __init__(self, hidden=((0, 1, 0, 0), (1, 0, 1, 1)), predict=None):
        super().__init__()
        self.hidden = torch.tensor(hidden).bool()
        self.predict = None if predict is None else torch.tensor(predict).bool()

    def sample(self, among, draws):
        return Mask(self.hidden, self.predict)


class Codes(Encoder):
    width = num_layers = 1

    def forward(self, tokens, mask=None, layer=None):
        return Latent(tokens.values.float(), mask.seen)


class Answers(Predictor):
    """What it is told, in the order of the asked places."""

    def __init__(self, answers):
        super().__init__()
        self.answers = torch.tensor(answers)

    def forward(self, latent, places, mask):
        return Prediction(self.answers, mask.asked)


class Hidden(Target):
    """Ids at asked places; answers are no values, or the likeliest ids."""

    def __init__(self, restores=True):
        super().__init__()
        self.restores = restores

    def forward(self, tokens, mask, given=None):
        return mask.asked.gather(tokens.values)

    def restore(self, prediction, tokens, mask):
        return prediction.values.argmax(-1) if self.restores else None


class Strings(MaskedDataModule):
    def __init__(self):
        super().__init__(batch_size=2, num_workers=0)

    def load(self):
        x = torch.tensor([[0.0, 0.2, 0.0, 0.0], [0.4, 0.6, 0.8, 1.0]])
        samples = [{"x": x[i], "length": 2 + 2 * i} for i in range(2)]
        return Splits(samples, samples)


def model(answers, form="packed", ids=False, target=None, loss=None, mask=None, **kwargs):
    return MaskedModel(
        tokenizer=Beads(form, ids), mask=mask or Given(), encoder=Codes(), predictor=Answers(answers),
        target=target or ValueTarget(), loss=loss or MSELoss(), **kwargs,
    )  # fmt: skip


def strings(picture):
    """The beads of both samples in each column: the sheet has rows of one bead, each of 32 pixels, in 128 columns."""
    found, left = [], GAP
    for width in (128, 128, 128):
        tops = [GAP + LINE + row * (SIDE + GAP) + SIDE // 2 for row in range(2)]
        found.append([picture[top, left + SIDE // 2 : left + 128 : SIDE, 0].tolist() for top in tops])
        left += width + GAP
    return found


PACKED = [[0.9], [0.1], [0.3], [0.5]]  # of sample 0, place 1, and of sample 1, places 0, 2, 3
PADDED = [[[0.9], [0.0], [0.0]], [[0.1], [0.3], [0.5]]]  # the same; zeros fill up


@pytest.mark.parametrize(("form", "answers"), [("packed", PACKED), ("padded", PADDED)])
def test_ragged_tokens_are_drawn_restored_measured_and_written(form, answers):
    made = reconstruct(model(answers, form), Strings(), num_samples=2)
    given, seen, rebuilt = strings(made.picture)
    white = [255, 255]  # the first string has two beads
    assert given == [[0, 51, *white], [102, 153, 204, 255]]
    assert seen == [[0, GREY, *white], [GREY, 153, GREY, GREY]]
    assert rebuilt == [[0, 230, *white], [26, 153, 76, 128]]
    assert made.files["1-input.raw"] == bytes(v for v in (102, 153, 204, 255) for _ in range(3))
    assert made.files["0-seen.raw"] == bytes(v for v in (0, GREY) for _ in range(3))
    assert made.files["1-prediction.raw"] == bytes(v for v in (26, 153, 76, 128) for _ in range(3))
    assert len(made.files) == 6
    # Right: 0.2, 0.4, 0.8, 1, of mean 0.6 and deviations .4, .2, .2, .4; missed by .7, .3, .5, .5.
    assert made.loss == pytest.approx((0.49 + 0.09 + 0.25 + 0.25) / 4)
    assert made.error == pytest.approx((0.49 + 0.09 + 0.25 + 0.25) / 0.4)
    assert made.accuracy is None


@pytest.mark.parametrize("form", ["packed", "padded"])
def test_answers_that_are_no_values_are_a_map_of_the_loss_sample_by_sample(form):
    made = model(
        PACKED if form == "packed" else PADDED,
        form,
        target=type("Latents", (ValueTarget,), {"restore": lambda *_: None})(),
    )
    step = made.step(Strings().val_dataloader().collate_fn([*Strings().splits.val]))
    losses = [0.2, 0.1, 0.3, 0.9] if form == "packed" else [[0.2, 0.0, 0.0], [0.1, 0.3, 0.9]]
    picture = draw(made, step._replace(loss=step.loss._replace(per_token=torch.tensor(losses))))
    _, _, asked = strings(picture)
    assert asked == [[GREY, 51, 255, 255], [102, GREY, 204, 255]]
    assert len(views(made, step)) == 2
    left, top = GAP + 3 * (128 + GAP), GAP + LINE + SIDE // 2
    first = picture[top, left + SIDE // 2 :: SIDE].astype(int)
    second = picture[top + SIDE + GAP, left + SIDE // 2 :: SIDE].astype(int)
    assert first[0].tolist() == [0, 0, 0]  # not asked: dimmed
    assert second[1].tolist() == [int(0.4 * 153)] * 3
    assert first[1][2] > first[1][0]  # alone in its sample, and so the least
    assert second[0].tolist() == [int(0.16 * 102), int(0.16 * 102), int(0.16 * 102 + 0.75 * 255)]  # blue
    assert second[3].tolist() == [int(0.16 * 255 + 0.75 * 255), int(0.16 * 255), int(0.16 * 255)]  # red
    share = round((0.3 - 0.1) / (0.9 - 0.1) * 15) / 15
    color = [share, 1 - abs(2 * share - 1), 1 - share]
    assert second[2].tolist() == [int(0.16 * 204 + 0.75 * 255 * c) for c in color]


@pytest.mark.parametrize("form", ["packed", "padded"])
def test_ids_are_put_back_where_they_were_asked_and_counted(form):
    logits = nn.functional.one_hot(torch.tensor([2, 4, 7, 10]), 11).float()  # right, right, wrong, right
    if form == "padded":
        logits = torch.stack([torch.cat([logits[:1], torch.ones(2, 11)]), logits[1:]])
    made = reconstruct(
        model(logits.tolist(), form, ids=True, target=Hidden(), loss=CrossEntropyLoss()), Strings(), num_samples=2
    )
    _, _, rebuilt = strings(made.picture)
    assert rebuilt == [[0, 51, 255, 255], [102, 153, 178, 255]]
    assert made.accuracy == 0.75
    assert made.error is None
    assert made.loss > 0


def test_values_of_overlapping_groups_are_averaged_in_the_picture_and_each_counts_in_the_error():
    predict = [[[0, 1, 0, 0], [0, 1, 0, 0]], [[1, 0, 0, 0], [0, 0, 1, 0]]]
    answers = [[[[0.4]], [[0.8]]], [[[0.4]], [[0.8]]]]
    made = reconstruct(model(answers, "padded", mask=Given(predict=predict)), Strings(), num_samples=2)
    _, _, rebuilt = strings(made.picture)
    assert rebuilt == [[0, 153, 255, 255], [102, 153, 204, GREY]]
    # Right: 0.2, 0.2, 0.4, 0.8, of mean 0.4 and squares .04, .04, 0, .16; missed by .2, .6, 0, 0.
    assert made.error == pytest.approx((0.04 + 0.36) / 0.24)


@pytest.mark.parametrize("ids", [False, True])
def test_what_stands_in_for_hidden_places_is_what_the_encoder_sees(ids):
    """A donor of values is a place of the sample; one of ids is an id, as encoders of ids read it."""
    step = model(PADDED, "padded").step(Strings().val_dataloader().collate_fn([*Strings().splits.val]))
    given = step.tokens if not ids else replace(step.tokens, values=(step.tokens.values[..., 0] * 10).round().long())
    show, donor = torch.full((2, 4), TOKEN), torch.zeros(2, 4, dtype=torch.long)
    show[1, 0], donor[1, 0] = RANDOM, 9 if ids else 1  # there is no place 9
    changed = step._replace(tokens=given, mask=replace(step.mask, show=show, donor=donor))
    seen = views(model(PADDED, target=Hidden(False)), changed)[1]
    assert seen.tokens.values[1, :2].flatten().tolist() == ([9, 6] if ids else pytest.approx([0.6, 0.6]))
    assert seen.hidden.int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]


def test_a_tokenizer_that_reads_predictions_gets_them_and_needs_no_picture():
    made = model(PACKED, target=Hidden(False))
    made.tokenizer = Guessing()
    shown = reconstruct(made, Strings(), num_samples=2)
    assert shown.picture is None
    assert shown.files["0-input.txt"] == shown.files["0-seen.txt"] == b"nothing"
    assert shown.files["1-prediction.txt"] == b"(4, 1)"
    assert (shown.error, shown.accuracy) == (None, None)


def test_the_seed_alone_decides_and_the_model_is_left_as_it_was():
    made = model(PACKED, mask=RandomMask(0.5), corruption=Corruption(token=1)).train()
    made.predictor = Zeros()
    runs = [reconstruct(made, Strings(), seed=seed).files["1-seen.raw"] for seed in (0, 0, *range(1, 6))]
    assert runs[0] == runs[1]
    assert len(set(runs)) > 1
    assert made.training
    with pytest.raises(ValueError, match="`split` must be one that the data has"):
        reconstruct(made, Strings(), split="probe_train")


class Zeros(Predictor):
    def forward(self, latent, places, mask):
        return Prediction(torch.zeros(len(mask.asked.index), 1), mask.asked)


def test_options_are_checked_before_anything_is_read(capsys):
    for words, told in [
        (["run", "--ratio", "1.5"], "`--ratio` must be a number in (0, 1), but is `1.5`."),
        (["run", "--num_samples", "0"], "`--num_samples` must be at least 1, but is 0."),
        (["run", "--out", "a.jpg"], "`--out` must end in .png, but is `a.jpg`."),
        (["run", "--split", "vall"], "`--split` must be one of"),
    ]:
        assert main(["reconstruct", *words]) == 2
        assert capsys.readouterr().err.startswith(told)
