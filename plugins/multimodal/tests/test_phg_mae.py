"""PHG-MAE: whole parts are hidden; averaged answers are the mean over subsets of parts, as often as drawn."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch

from unmask import Draws, LossByPart, Mask, MaskedModel, PredictorByPart, TokenizerByPart, Tokens
from unmask.api import UserError, main
from unmask.losses import L1Loss, MSELoss
from unmask.targets import ValueTarget
from unmask.testing import shaken
from unmask_multimodal.encoders import JointEncoder, JointTrunk
from unmask_multimodal.ensemble import answered_under, drawn, ensembles
from unmask_multimodal.masks import WholePartMask
from unmask_multimodal.predictors import CrossDecoder
from unmask_multimodal.testing import JointContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

OPTIONS = {"embed_dim": 24, "num_heads": 3, "depth": 0, "class_token": False, "global_pool": "avg"}


def phg(names="abc"):
    stems = {n: ViTEncoder("vit_tiny_patch16_224", 8, 4, 1, positions="sincos", options=OPTIONS) for n in names}
    return MaskedModel(
        tokenizer=TokenizerByPart({n: PatchTokenizer(4, 1) for n in names}, {n: {"image": n} for n in names}),
        mask=WholePartMask(),
        encoder=JointEncoder(stems, JointTrunk(24, 2, 3, num_global=1)),
        predictor=PredictorByPart({n: CrossDecoder(n, names, 24, 16, 16, 1, 2) for n in names}),
        target=ValueTarget(),
        loss=LossByPart({n: L1Loss() if n == "a" else MSELoss() for n in names}, reduce="sample"),
    )


def batch(size=6):
    made = torch.rand(3, size, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return dict(zip("abc", made, strict=True))


class TestWholeParts(JointContract):
    no_alone = "a part of which all is hidden or nothing has no method of its own"
    no_lack = "which parts are shown depends on which are there; see the test below"

    def make(self):
        return phg()

    def batch(self):
        return batch()


def test_the_average_is_the_mean_over_subsets_as_often_as_they_are_drawn():
    """Of `a` from b, from c and from both: shown with chances 3/8, 3/8 and 1/4."""
    torch.manual_seed(0)
    model, samples, num_masks = shaken(phg()).eval(), batch(1), 100
    tokens = model.tokenizer(samples)
    answers, often = {}, Counter()
    with torch.no_grad():
        for shown in ("b", "c", "bc"):
            parts = {n: Mask(torch.full((1, 4), n not in shown)) for n in "abc"}
            answers[shown] = answered_under(model, samples, Mask.join(parts)).prediction.part("a").values
        for number in range(num_masks):
            mask = drawn(tokens, samples, "a", number)
            assert mask.part("a").hidden.all()
            often["".join(n for n in "abc" if not mask.part(n).hidden.any())] += 1
        (found,) = ensembles(model, [samples, batch(1)], "a", [num_masks])
    assert set(often) == {"b", "c", "bc"}
    assert [often[one] / num_masks for one in ("b", "c", "bc")] == pytest.approx([3 / 8, 3 / 8, 1 / 4], abs=0.12)
    mean = sum(count * answers[shown] for shown, count in often.items()) / num_masks
    assert found.loss == pytest.approx(float((mean - tokens.part("a").values).abs().mean()), rel=1e-5)
    assert max((one - other).abs().max() for one, other in itertools.combinations(answers.values(), 2)) > 1e-3


def test_averages_are_never_worse_than_their_masks_are_on_average():
    """By convexity of the loss: of 4 masks, averaged, against the mean loss of each alone."""
    torch.manual_seed(0)
    model, samples = shaken(phg()).eval(), batch()
    tokens = model.tokenizer(samples)
    (averaged,) = ensembles(model, [samples], "b", [4])
    with torch.no_grad():
        alone = [
            answered_under(model, samples, drawn(tokens, samples, "b", k)).terms["loss.b"].item() for k in range(4)
        ]
    assert averaged.loss < sum(alone) / 4
    assert averaged.samples == 6


def test_some_parts_are_always_hidden_and_parts_that_are_not_there_do_not_count():
    part = Tokens(torch.zeros(300, 4, 1), phg().tokenizer(batch()).part("a").layout)
    there = torch.ones(300, 4, dtype=torch.bool)
    there[:100] = False
    tokens = Tokens.join({"a": part, "b": replace(part, valid=there), "c": part})
    draws = Draws.of(0, torch.arange(300))
    mask = WholePartMask(0.5)(tokens, draws=draws)
    shown = torch.stack([(~mask.part(n).hidden & (there if n == "b" else True)).all(1) for n in "abc"], dim=1)
    hidden = torch.stack([mask.part(n).hidden.any(1) for n in "abc"], dim=1)
    assert shown.any(1).all()
    assert hidden.any(1).all()
    assert not hidden[:100, 1].any()
    always = WholePartMask(0.5, always=["a"])(tokens, draws=draws)
    assert always.part("a").hidden.all()
    assert not always.part("c").hidden[:100].any()  # all that is left to be shown
    assert 0.2 < always.part("c").hidden[100:].float().mean() < 0.55


@pytest.mark.parametrize(
    ("always", "said"),
    [(["x"], "`always` must be of parts a, b, c, but one is 'x'"), (list("abc"), "`always` must leave a part")],
)
def test_what_is_refused(always, said):
    with pytest.raises(ValueError, match=said):
        WholePartMask(0.5, always)(phg().tokenizer(batch()))
    with pytest.raises(UserError, match="--part"):
        ensembles(phg().eval(), [batch()], "x", [1])


def test_the_recipe_and_its_command(tmp_path, capsys):
    few = ["--data.init_args.num_train", "16", "--data.init_args.num_val", "8", "--data.init_args.batch_size", "8",
           "--trainer.max_steps", "2"]  # fmt: skip
    run = str(tmp_path / "run")
    assert main(["fit", "--config", "multimodal/phg-mae-solids", *few, "--out", run]) == 0
    capsys.readouterr()
    assert main(["multimodal-ensemble", run, "--part", "depth", "--num_masks", "1,3"]) == 0
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ["1", "3"]
