"""4M: the contract of joint methods; parts do not read each other's questions; losses by hand; ids of trained codes."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from unmask import Draws, Grid, LossByPart, Mask, Places, Prediction, Tokenizer, TokenizerByPart, Tokens
from unmask.api import UserError, load_run, main
from unmask.losses import CrossEntropyLoss
from unmask.testing import shaken
from unmask_multimodal.encoders import JointEncoder, JointTrunk
from unmask_multimodal.maps import CodesTokenizer, IdStem
from unmask_multimodal.masks import BudgetMask
from unmask_multimodal.methods import FourM
from unmask_multimodal.predictors import SharedDecoder
from unmask_multimodal.testing import JointContract

SIZES = {"a": 9, "b": 7, "c": 5}


class Ids(Tokenizer):
    """Ids as they are in the batch."""

    def __init__(self, key):
        super().__init__()
        self.key, self.num_codes = key, SIZES[key]

    def forward(self, batch):
        return Tokens(batch[self.key], Grid((4, 4)))


def four_m(**options):
    given = {
        "tokenizer": TokenizerByPart({name: Ids(name) for name in SIZES}),
        "encoder": JointEncoder({n: IdStem(24, size) for n, size in SIZES.items()}, JointTrunk(24, 2, 3), True),
        "decoder_width": 24,
        "decoder_depth": 2,
        "decoder_heads": 3,
        "mask": BudgetMask(12, 0.5, num_asked=10, asked_alpha=0.5, rounding="floor"),
    }
    return FourM(**given | options)


def batch(size=6):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randint(codes, (size, 16), generator=generator) for name, codes in SIZES.items()}


class TestFourM(JointContract):
    num_visible = 12
    no_alone = "no method of one part has its decoder"
    unused = ("mask_token", "ids.weight")  # the last of few shown codes may be no one's

    def make(self):
        return four_m()

    def batch(self):
        return batch()


def test_what_is_asked_of_a_part_does_not_move_the_answers_of_another():
    """And where else is asked of the same part does."""
    torch.manual_seed(0)
    model = shaken(four_m()).eval()
    step = model.step(batch(), 0)
    places = step.tokens.places

    def answers(drop):
        mask = step.mask
        part = mask.part(drop)
        keep = part.predict & (part.predict.cumsum(1) > 1)  # one question fewer
        other = Mask.join({**mask.parts, drop: dataclasses.replace(part, predict=keep)})
        with torch.no_grad():
            return model.predictor(step.latent.codes, places, other)

    with torch.no_grad():
        first = model.predictor(step.latent.codes, places, step.mask)
    for drop in SIZES:
        again = answers(drop)
        for name in SIZES:
            one, other = (_at_places(made.part(name)) for made in (first, again))
            if name == drop:
                both = ~one.isnan() & ~other.isnan()
                assert not torch.allclose(one[both], other[both], atol=1e-6)
            else:
                assert torch.allclose(one, other, atol=1e-6, equal_nan=True)


def _at_places(prediction):
    """Answers at their places ``[B, N, T]``, nan elsewhere."""
    asked = prediction.asked
    into = torch.full((len(asked.index), 16, prediction.values.shape[-1]), float("nan"))
    return asked.scatter(prediction.values, into)


def test_given_and_asked_places_are_disjoint_and_exact():
    mask = four_m().mask(four_m().tokenizer(batch(200)), draws=Draws.of(0, torch.arange(200)))
    given, asked = (
        torch.stack([one(mask.part(n)).sum(1) for n in SIZES], dim=1)
        for one in (lambda part: ~part.hidden, lambda part: part.predict)
    )
    assert (given.sum(1) == 12).all()
    assert (asked.sum(1) == 10).all()
    assert not any((~mask.part(n).hidden & mask.part(n).predict).any() for n in SIZES)


def test_the_loss_is_the_mean_over_all_parts_and_one_that_is_asked_nothing_counts_as_0():
    torch.manual_seed(0)
    model = four_m().eval()
    tokens = model.tokenizer(batch())
    mask = model.mask(tokens, draws=Draws.of(0, torch.arange(6)))
    silent = dataclasses.replace(mask.part("b"), predict=torch.zeros(6, 16, dtype=torch.bool))
    model.mask.forward = lambda *_: Mask.join({**mask.parts, "b": silent})
    with torch.no_grad():
        step = model.step(batch(), 0)
    total = 0.0
    for name in "ac":
        right = tokens.part(name).values[mask.part(name).predict]
        scores = _at_places(step.prediction.part(name))[mask.part(name).predict]
        total += float(F.cross_entropy(scores, right)) / 3
    assert step.terms["loss.b"] == 0
    assert step.loss.total.item() == pytest.approx(total, rel=1e-5)


def test_a_loss_of_no_answer_is_0():
    nothing = Prediction(torch.zeros(2, 0, 3, requires_grad=True), Places(torch.zeros(2, 0, dtype=torch.long)))
    value = LossByPart({"a": CrossEntropyLoss()})(Prediction.join({"a": nothing}), {"a": torch.zeros(2, 0).long()})
    assert value.total == 0


def test_what_is_refused():
    with pytest.raises(ValueError, match="`encoder` must be given"):
        four_m(encoder=None)
    with pytest.raises(ValueError, match="`target_widths` must name at least one part"):
        SharedDecoder({}, 8)
    with pytest.raises(ValueError, match="must be ids"):
        IdStem(8, 4)(Tokens(torch.zeros(2, 4, 1), Grid((2, 2))))


def test_the_recipes_from_codes_to_ids(tmp_path, monkeypatch):
    """Both books are trained, then ids are predicted; the tokenizer's ids are the book's own, and stay frozen."""
    monkeypatch.chdir(tmp_path)
    few = ["--data.init_args.num_train", "16", "--data.init_args.num_val", "8", "--data.init_args.batch_size", "8",
           "--trainer.max_steps", "2"]  # fmt: skip
    for part in ("image", "depth"):
        folder = f"runs/multimodal/vq-{part}-solids"
        assert main(["fit", "--config", f"multimodal/vq-{part}-solids", *few, "--out", folder]) == 0
    assert main(["fit", "--config", "multimodal/4m-solids", *few, "--out", "run"]) == 0
    trained, book = load_run("run"), load_run("runs/multimodal/vq-depth-solids")
    samples = next(iter(trained.datamodule.val_dataloader()))
    tokens = trained.model.tokenizer(samples).part("depth")
    assert torch.equal(tokens.values, book.model.encoder.ids(book.model.tokenizer(samples)))
    tokenizer = trained.model.tokenizer.tokenizers["depth"]
    assert not any(parameter.requires_grad for parameter in tokenizer.parameters())
    assert tokenizer.render(tokens)[0].shape == (8, 8, 3)
    step = trained.model.step(samples, 0)
    answers = step.prediction.part("depth")
    drawn = trained.model.target.restore(answers, tokens, step.mask.part("depth"))
    assert torch.equal(drawn, answers.values.argmax(-1))
    with pytest.raises(UserError, match="`run` must be of a method with codes, but run is of FourM"):
        CodesTokenizer("run")
