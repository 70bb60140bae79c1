"""Previews: measured shares by hand, covered and coloured pixels, files, and what modalities without pictures get."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from unmask import Grid, MaskedModel, Sequence, Tokens
from unmask.cli import main
from unmask.data import MaskedDataModule, Splits
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.parts import MaskSampler, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.structures import Mask
from unmask.targets import ValueTarget
from unmask.tools.output import named, write, write_all
from unmask.tools.pictures.picture_grid import GAP, LINE, Strip, sheet
from unmask.tools.pictures.preview import COLORS, preview

GREY = 128


class Cells(Tokenizer):
    """A 2 x 2 grid of values in [0, 1], drawn as pixels; hidden ones at 128."""

    def forward(self, batch):
        return Tokens(batch["x"], Grid((2, 2)))

    def render(self, tokens, hidden=None):
        shown = (tokens.values * 255).round()
        if hidden is not None:
            shown = shown.masked_fill(hidden[..., None], GREY)
        return list(shown.reshape(-1, 2, 2, 1).expand(-1, -1, -1, 3).byte().numpy())


class Words(Tokenizer):
    """Ids of several lengths, packed or padded, which have files and no pictures."""

    def __init__(self, packed=True):
        super().__init__()
        self.packed = packed

    def forward(self, batch):
        ids, lengths = batch["x"], batch["length"]
        valid = torch.arange(ids.shape[1]) < lengths[:, None]
        if not self.packed:
            return Tokens(ids, Sequence(), valid=valid)
        return Tokens(ids[valid], Sequence(), offsets=torch.nn.functional.pad(lengths.cumsum(0), (1, 0)))

    def files(self, tokens, hidden=None, prediction=None):
        if tokens.offsets is None:
            pairs = zip(tokens.values, hidden, tokens.valid, strict=True)
            rows = [(ids[real], covered[real]) for ids, covered, real in pairs]
        else:
            sizes = tokens.offsets.diff().tolist()
            rows = zip(tokens.values.split(sizes), hidden.split(sizes), strict=True)
        texts = [
            " ".join("?" if h else str(i) for i, h in zip(*(r.tolist() for r in row), strict=True)) for row in rows
        ]
        return {".txt": [text.encode() for text in texts]}


class Silent(Tokenizer):
    """Neither pictures nor files."""

    def forward(self, batch):
        return Tokens(batch["x"].float()[..., None], Sequence())


class Given(MaskSampler):
    """Hides and asks what it is told."""

    def __init__(self, hidden, predict=None):
        super().__init__()
        self.hidden, self.predict = torch.tensor(hidden), None if predict is None else torch.tensor(predict)

    def sample(self, among, draws):
        return Mask(self.hidden, predict=self.predict)


class Few(MaskedDataModule):
    """Four samples, of 2 to 5 tokens where lengths count."""

    def __init__(self):
        super().__init__(batch_size=2, num_workers=0)

    def load(self):
        values = [torch.tensor([0.0, 0.2, 0.4, 0.6])[:, None], torch.tensor([1.0, 0.2, 0.4, GREY / 255])[:, None]]
        cells = [{"x": value} for value in values]
        words = [{"x": torch.arange(5) + 10 * i, "length": 5 - i} for i in range(4)]
        return Splits(train=words, val=cells)


def model(tokenizer, mask):
    return MaskedModel(
        tokenizer=tokenizer, mask=mask, encoder=torch.nn.Identity(), predictor=LinearPredictor(1, 1),
        target=type("Nothing", (ValueTarget,), {"start": lambda self, model: None})(), loss=MSELoss(),
    )  # fmt: skip


def cell(picture, row, column):
    """The 2 x 2 pixels of a cell of a sheet with a heading and captions, in columns of 128 pixels."""
    top, left = GAP + 2 * LINE + LINE + row * (128 + LINE + GAP), GAP + column * (128 + GAP)
    return picture[top + 32 : top + 128 : 64, left + 32 : left + 128 : 64]


def test_hidden_places_are_covered_and_their_share_is_measured():
    mask = Given([[True, False, False, False], [True, False, True, True]])
    made = preview(model(Cells(), mask), Few(), num_samples=2, seeds=[7, 3])
    assert made.hidden_ratios == {7: [0.25, 0.75], 3: [0.25, 0.75]}
    assert made.asked_ratios == {}
    assert (made.num_tokens, made.samples, made.mask, made.files) == ([4, 4], [0, 1], "Given", {})
    assert made.about == "Given hides 50.0%; 4 tokens per sample"
    assert cell(made.picture, 0, 0)[..., 0].flatten().tolist() == [0, 51, 102, 153]
    assert cell(made.picture, 0, 1)[..., 0].flatten().tolist() == [GREY, 51, 102, 153]
    assert cell(made.picture, 1, 2)[..., 0].flatten().tolist() == [GREY, 51, GREY, GREY]
    assert made.picture.shape[1] == 3 * 128 + 4 * GAP


def test_asked_groups_have_colours_mixed_where_they_overlap_even_on_what_looks_like_the_cover():
    hidden = [[True, True, True, False], [False, False, True, True]]
    predict = [
        [[True, False, False, False], [True, True, False, False]],
        [[False, False, False, True], [False, False, False, True]],
    ]
    made = preview(model(Cells(), Given(hidden, predict)), Few(), num_samples=2, seeds=[0])
    assert made.hidden_ratios == {0: [0.75, 0.5]}
    assert made.asked_ratios == {0: [0.5, 0.25]}
    assert "asks at 37.5%" in made.about
    first, second = COLORS[0], COLORS[1]
    got = cell(made.picture, 0, 2).reshape(4, 3)
    assert got[0].tolist() == (0.6 * (first + second) / 2).astype(int).tolist()  # the value there is 0
    assert got[1].tolist() == (0.4 * 51 + 0.6 * second).astype(int).tolist()
    assert got[2].tolist() == [GREY] * 3  # hidden, and not asked
    assert got[3].tolist() == [153] * 3  # shown
    looks_covered = cell(made.picture, 1, 2).reshape(4, 3)[3]
    assert looks_covered.tolist() == (0.4 * GREY + 0.6 * (first + second) / 2).astype(int).tolist()


@pytest.mark.parametrize("packed", [True, False])
def test_ragged_samples_are_measured_by_their_own_length_and_written_to_files(packed):
    made = preview(model(Words(packed), RandomMask(0.5)), Few(), num_samples=4, seeds=[0, 5], split="train")
    assert made.num_tokens == [5, 4, 3, 2]
    assert made.hidden_ratios[0] == made.hidden_ratios[5] == pytest.approx([3 / 5, 2 / 4, 2 / 3, 1 / 2])
    assert made.about.endswith("2 to 5 tokens per sample")
    assert made.picture is None
    assert set(made.files) == {f"{row}-seed{seed}.txt" for row in range(4) for seed in (0, 5)}
    words = made.files["1-seed5.txt"].decode().split()
    assert len(words) == 4
    assert words.count("?") == 2
    assert set(words) <= {"?", "10", "11", "12", "13"}


def test_samples_are_spread_over_the_split_and_seeds_alone_decide():
    first, again = (preview(model(Words(), RandomMask(0.5)), Few(), num_samples=2, split="train") for _ in range(2))
    assert first.samples == [0, 2]
    assert first.files == again.files
    assert first.files["0-seed0.txt"] != first.files["0-seed1.txt"]
    with pytest.raises(ValueError, match="`num_samples` must be at least 1, but is 0"):
        preview(model(Words(), RandomMask(0.5)), Few(), num_samples=0)
    with pytest.raises(ValueError, match="`seeds` must have at least one"):
        preview(model(Words(), RandomMask(0.5)), Few(), seeds=[])


def test_sheets_hold_pictures_of_any_sizes_and_clip_no_text():
    sizes = [(2, 3), (4, 1)]
    columns = [
        Strip(
            title, [np.full((height, width, 3), 50 * (row + 1), np.uint8) for row, (height, width) in enumerate(sizes)]
        )
        for title in ("a", "a title that is much wider than its pictures are")
    ]
    drawn = sheet(columns)
    factor = 32  # the largest side, 4, becomes 128
    assert drawn.shape[0] == GAP + LINE + (2 + 4) * factor + 2 * GAP
    for row, top in enumerate((GAP + LINE, GAP + LINE + 2 * factor + GAP)):
        height, width = sizes[row]
        here = drawn[top : top + height * factor, GAP : GAP + width * factor]
        assert (here == 50 * (row + 1)).all()
        assert (drawn[top + height * factor, GAP : GAP + width * factor] == 255).all()
        assert (drawn[top : top + height * factor, GAP + width * factor] == 255).all()
    headed = sheet([Strip("a", [np.zeros((4, 4, 3), np.uint8)])], "a heading that is much wider than all the pictures")
    for picture in (drawn, headed):
        assert (picture[:, -GAP // 2 :] == 255).all()  # white beyond the end of all text
        assert (picture[: GAP + LINE] != 255).any()


def test_files_appear_whole_or_not_at_all(tmp_path):
    out = tmp_path / "new" / "this.png"
    written = write_all(out, np.zeros((2, 2, 3), np.uint8), {"0-a.txt": b"a"})
    assert [path.name for path in written] == ["this.png", "this-0-a.txt"]
    assert np.asarray(Image.open(out)).shape == (2, 2, 3)
    assert named(written) == f"{out}, {out.with_name('this-0-a.txt')}"
    many = write_all(out, None, {f"{i}.txt": b"" for i in range(5)})
    assert named(many) == f"5 files (.txt): {many[0]} to this-4.txt"
    with pytest.raises(TypeError):
        write(out.with_name("this-0-a.txt"), object())
    assert out.with_name("this-0-a.txt").read_bytes() == b"a"


def test_a_modality_without_pictures_or_files_still_gets_its_shares(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unmask.cli.building.built", lambda command, words: (model(Silent(), RandomMask(0.5)), Few()))
    assert main(["preview", "--config", "any", "--split", "train", "--seeds", "4", "--num_samples", "2"]) == 2
    said = capsys.readouterr()
    assert "RandomMask hides 60.0%; 5 tokens per sample." in said.out
    assert "seed 4" in said.out
    assert said.err == "Nothing to look at: Silent draws no pictures and makes no files.\n"
    assert not list(tmp_path.iterdir())


def test_options_are_checked_before_anything_is_built(capsys):
    for words, told in [
        (["x", "--seeds", "a"], "`--seeds` must be a whole number, but is `a`."),
        (["x", "--out", "a.jpg"], "`--out` must end in .png, but is `a.jpg`."),
        (["--config", "x", "--num_sample", "3"], "There is no option `--num_sample`; nearest: `--num_samples`."),
        ([], "`unmask preview` needs a recipe or file (`--config NAME`), or a run folder."),
        (["no-such-run"], "There is no run `no-such-run`"),
    ]:
        assert main(["preview", *words]) == 2
        assert capsys.readouterr().err.startswith(told)
