"""Core's own parts keep the contracts of `unmask.testing`; and each contract finds a part that breaks it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unmask import (
    Corruption,
    Encoder,
    Given,
    Latent,
    LossValue,
    Mask,
    MaskedDataModule,
    MaskedModel,
    Optimization,
    Prediction,
    Sequence,
    Set,
    Shown,
    Tokenizer,
    Tokens,
    losses,
)
from unmask.data import Splits
from unmask.masks import RandomMask
from unmask.nn import Transformer
from unmask.objectives import asking
from unmask.predictors import (
    LinearPredictor,
    MLPPredictor,
    PooledPredictor,
    TransformedPredictor,
    TransformerPredictor,
    WholePredictor,
)
from unmask.targets import (
    ClusterIds,
    DecoderTeacher,
    EMATeacher,
    FrozenTeacher,
    GivenTarget,
    LabelTarget,
    StagedTeacher,
    ValueTarget,
)
from unmask.terms import Relations, WholeMatch
from unmask.testing import (
    Contract,
    DataContract,
    EncoderContract,
    LossContract,
    MethodContract,
    PredictorContract,
    TargetContract,
    TermContract,
)


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Sequence())


class Mixer(Encoder):
    width, num_layers = 8, 2

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.mask_token = nn.Parameter(torch.randn(8) * 0.02)
        self.trunk = Transformer(8, 2, num_heads=2)

    def forward(self, tokens, mask=None, layer=None):
        self.depth(layer)
        seen = None if mask is None else mask.seen
        x = self.embed(tokens.values if seen is None else seen.gather(tokens.values))
        if mask is not None and mask.show is not None:
            x = torch.where(mask.hidden[..., None], self.mask_token, x)
        valid = tokens.valid if seen is None else seen.valid
        if layer is not None:
            for block in self.trunk.blocks[:layer]:
                x = block(x, valid)
            return Latent(x, seen)
        return Latent(self.trunk(x, valid), seen)


class Toy(MaskedModel):
    def __init__(self, encoder=None):
        super().__init__(
            tokenizer=Rows(),
            mask=RandomMask(ratio=0.5),
            encoder=encoder or Mixer(),
            predictor=TransformerPredictor(8, 4, width=8, depth=1, num_heads=2),
            target=ValueTarget(),
            loss=losses.MSELoss(),
            corruption=Corruption(drop=1),
            optim=Optimization(scale_lr=False),
        )


class Numbers(MaskedDataModule):
    def __init__(self, batch_size: int = 4, num_workers: int = 0):
        super().__init__(batch_size, num_workers, augment=jitter)

    def load(self):
        return Splits(train=Several(18), val=Several(6))


class Several(torch.utils.data.Dataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        return {"x": torch.full((6, 4), float(i))}


def jitter(sample):
    return {"x": sample["x"] + torch.randn(6, 4)}


def rows():
    valid = torch.arange(12) < torch.tensor([12, 9, 5])[:, None]
    return Tokens(torch.randn(3, 12, 4), Sequence(), valid=valid)


# What keeps its contract.


class TestMixer(EncoderContract):
    def make(self):
        return Mixer()

    def tokens(self):
        return rows()


class TestTransformerPredictor(PredictorContract):
    encoder_width = 8

    def make(self):
        return TransformerPredictor(8, 4, width=8, depth=1, num_heads=2)

    def tokens(self):
        return rows()


class TestLinearPredictor(PredictorContract):
    encoder_width = 8
    corruptions = [Corruption(token=1)]

    def make(self):
        return LinearPredictor(8, 4)

    def tokens(self):
        return rows()


class TestMLPPredictor(TestLinearPredictor):
    def make(self):
        return MLPPredictor(8, 4, depth=2)


class TestTransformedPredictor(TestLinearPredictor):
    def make(self):
        return TransformedPredictor(8, 4, hidden_width=6)


def sample_asked(count=3):
    everywhere = torch.zeros(count, 12, dtype=torch.bool)
    return asking(Mask(~everywhere, num_hidden=12), "sample")


def test_pooled_answers_are_one_for_a_sample():
    codes, mask = torch.randn(3, 12, 8), sample_asked()
    predictor = PooledPredictor(8, 5)
    answers = predictor(Latent(codes), rows().places, mask)
    real = rows().valid[..., None]
    mean = (codes * real).sum(1) / real.sum(1)
    torch.testing.assert_close(answers.values, predictor.head(mean)[:, None])
    with pytest.raises(ValueError, match="`ask` must be 'sample'"):
        predictor(Latent(codes), rows().places, Mask(mask.hidden))


def test_labels_are_read_from_the_batch():
    mask = sample_asked()
    given = Given({"label": torch.tensor([4, 0, 2], dtype=torch.int32)}, Shown(rows(), mask))
    assert LabelTarget()(rows(), mask, given).tolist() == [[4], [0], [2]]
    assert LabelTarget()(rows(), mask, given).dtype == torch.int64
    several = given._replace(batch={"label": torch.tensor([[1, 0], [0, 0], [1, 1]])})
    assert LabelTarget()(rows(), mask, several).tolist() == [[[1.0, 0.0]], [[0.0, 0.0]], [[1.0, 1.0]]]
    with pytest.raises(ValueError, match="A batch must have `kind` for `labels`"):
        LabelTarget("kind")(rows(), mask, given)
    with pytest.raises(ValueError, match="`ask` must be 'sample'"):
        LabelTarget()(rows(), Mask(mask.hidden), given)


class TestGivenTarget(TargetContract):
    def make(self):
        return GivenTarget("kinds")

    def tokens(self):
        return rows()

    def given(self):
        return Given({"kinds": torch.arange(36).view(3, 12)}, Shown(rows(), Mask(torch.zeros(3, 12) == 0)))


def test_given_answers_are_those_of_the_asked_places():
    hidden = torch.tensor([[False, True, True], [True, False, True]])
    batch = {"kinds": torch.tensor([[5, 6, 7], [8, 9, 1]]), "boxes": torch.arange(12.0).view(2, 3, 2)}
    tokens, mask = Tokens(torch.randn(2, 3, 4), Set()), Mask(hidden)
    given = Given(batch, Shown(tokens, mask))
    assert GivenTarget("kinds")(tokens, mask, given).tolist() == [[6, 7], [8, 1]]
    assert GivenTarget("boxes")(tokens, mask, given)[1].tolist() == [[6, 7], [10, 11]]
    with pytest.raises(ValueError, match="A batch must have `names` for `given`"):
        GivenTarget("names")(tokens, mask, given)
    with pytest.raises(ValueError, match=r"one answer for each of \(2, 3\) places, but is \(2, 2\)"):
        GivenTarget("few")(tokens, mask, Given({"few": torch.zeros(2, 2)}, given.shown))


class TestClusterIds(TargetContract):
    def make(self):
        made = ClusterIds(3)
        made.find(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)))
        return made

    def tokens(self):
        return rows()


def test_cluster_ids_tell_heaps_apart_and_travel_with_the_weights():
    heaps = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]])
    values = (heaps[:, None] + 0.1 * torch.randn(3, 10, 2)).flatten(0, 1)
    target = ClusterIds(3)
    tokens = Tokens(heaps[None], Set())
    with pytest.raises(ValueError, match="Clusters must be found before places have ids"):
        target.ids(tokens)
    target.find(values)
    assert sorted(target.ids(tokens)[0].tolist()) == [0, 1, 2]
    assert torch.equal(target.ids(Tokens(values.view(1, 30, 2), Set())).view(3, 10)[:, 0], target.ids(tokens)[0])
    other = ClusterIds(3)
    other.load_state_dict(target.state_dict())
    assert torch.equal(other.ids(tokens), target.ids(tokens))
    with pytest.raises(ValueError, match="`num_clusters` must be at most 2, the tokens, but is 3"):
        ClusterIds(3).find(values[:2])


class TestValueTarget(TargetContract):
    def make(self):
        return ValueTarget(normalize=True)

    def tokens(self):
        return rows()


class TestEMATeacher(TargetContract):
    def make(self):
        return EMATeacher(momentum=0.5)

    def tokens(self):
        return rows()

    def encoder(self):
        return Mixer()


class TestStagedTeacher(TargetContract):
    def make(self):
        return StagedTeacher(top=2)

    def tokens(self):
        return rows()

    def encoder(self):
        return Mixer()


class TestFrozenTeacher(TargetContract):
    def make(self):
        return FrozenTeacher(Mixer(), layer=[1, 2], normalize="length")

    def tokens(self):
        return rows()


class TestDecoderTeacher(TargetContract):
    def make(self):
        return DecoderTeacher(Mixer(), TransformerPredictor(8, 4, width=8, depth=2, num_heads=2), block=1)

    def tokens(self):
        return rows()


class TestMorphed(LossContract):
    def make(self):
        return losses.MorphedLoss()


class TestRelations(TermContract):
    def make(self):
        return Relations(ValueTarget(), num_heads=2)


class Wide(Encoder):
    """Codes as wide as the values of the contract's step."""

    width, num_layers = 8, 1

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.layer(tokens.values))


class TestWholeMatch(TermContract):
    overrides = {"test_one_finite_number_whose_gradient_reaches_the_codes": "its codes are those of a second pass"}

    def make(self):
        return WholeMatch(ValueTarget())

    def model(self):
        return SimpleNamespace(encoder=Wide())

    def test_one_finite_number_whose_gradient_reaches_the_codes(self):
        term, model, step = self._started()
        value = term(step, model)
        expected = (model.encoder.layer(step.tokens.values) - step.tokens.values).square().mean()
        torch.testing.assert_close(value, expected)
        value.backward()
        assert model.encoder.layer.weight.grad.any()


class TestWholePredictor(PredictorContract):
    encoder_width = 8

    def make(self):
        return WholePredictor(8, 4, width=8, depth=1, num_heads=2)

    def tokens(self):
        return rows()


class TestMSE(LossContract):
    def make(self):
        return losses.MSELoss()


class TestL1(LossContract):
    def make(self):
        return losses.L1Loss()


class TestFocalL1(LossContract):
    def make(self):
        return losses.FocalL1Loss()


class TestSmoothL1(LossContract):
    def make(self):
        return losses.SmoothL1Loss()


class TestDirectionL1(LossContract):
    def make(self):
        return losses.DirectionL1Loss()


class TestCosine(LossContract):
    def make(self):
        return losses.CosineLoss()


class TestScaledCosine(LossContract):
    def make(self):
        return losses.ScaledCosineLoss()


class TestCrossEntropy(LossContract):
    classes = True

    def make(self):
        return losses.CrossEntropyLoss(label_smoothing=0.1)


class TestBinaryCrossEntropy(LossContract):
    classes = True

    def make(self):
        return losses.BinaryCrossEntropyLoss()


class TestInfoNCE(LossContract):
    def make(self):
        return losses.InfoNCELoss()


class TestNumbers(DataContract):
    def make(self, **options):
        return Numbers(**options)


class TestToy(MethodContract):
    def make(self):
        return Toy()

    def batch(self):
        return {"x": torch.randn(4, 12, 4)}


# What breaks it.


class Leaky(Mixer):
    def forward(self, tokens, mask=None, layer=None):
        latent = super().forward(tokens, mask, layer)
        return replace(latent, values=latent.values + 1e-6 * tokens.values.mean())


class Deaf(Mixer):
    def forward(self, tokens, mask=None, layer=None):
        return (
            super()
            .forward(replace(tokens, values=tokens.values.detach()), mask, layer)
            .__class__(
                super().forward(tokens, mask, layer).values.detach() + self.embed.bias,
                None if mask is None else mask.seen,
            )
        )


class Forgetful(losses.MSELoss):
    def forward(self, prediction, target, given=None):
        value = self.per_token(prediction.values, target, None)
        return LossValue(value.mean(), value.detach())


class Careless(Numbers):
    """Draws from a generator of its own, and ignores where the run stands."""

    def train_dataloader(self):
        loader = torch.utils.data.DataLoader(Several(18), batch_size=4, shuffle=True)
        loader.where = None
        return loader

    def val_dataloader(self):
        return torch.utils.data.DataLoader([{"index": 0}, {"index": 0}])


def breaks(contract, test, **made):
    wrong = type("Wrong", (contract,), {name: staticmethod(value) for name, value in made.items()})
    with pytest.raises(AssertionError):
        getattr(wrong(), test)()


def test_a_leaking_encoder_is_found():
    breaks(EncoderContract, "test_no_hidden_value_reaches_the_codes", make=Leaky, tokens=rows)
    breaks(EncoderContract, "test_padding_reaches_no_code", make=lambda: Louder(Leaky), tokens=rows)
    batch = {"x": torch.randn(4, 12, 4)}
    breaks(MethodContract, "test_no_hidden_value_reaches_the_answers", make=lambda: Toy(Leaky()), batch=lambda: batch)


class Louder(Mixer):
    def __init__(self, kind):
        super().__init__()

    def forward(self, tokens, mask=None, layer=None):
        return super().forward(replace(tokens, valid=None), mask, layer)  # attends to padding


def test_samples_that_see_each_other_are_found():
    class Mixing(Mixer):
        def forward(self, tokens, mask=None, layer=None):
            latent = super().forward(tokens, mask, layer)
            return replace(latent, values=latent.values - latent.values.mean(0))

    breaks(EncoderContract, "test_samples_do_not_see_each_other", make=Mixing, tokens=rows)


def test_an_encoder_that_is_not_trained_is_found():
    batch = {"x": torch.randn(4, 12, 4)}
    made = {"make": lambda: Toy(Deaf()), "batch": lambda: batch}
    breaks(MethodContract, "test_the_gradient_reaches_all_of_the_encoder_and_none_of_the_target", **made)


def test_a_predictor_that_ignores_codes_is_found():
    class Ignoring(TransformerPredictor):
        def forward(self, latent, places, mask):
            return Prediction(super().forward(latent, places, mask).values * 0, mask.asked)

    made = {"make": lambda: Ignoring(8, 4, width=8, depth=1, num_heads=2), "tokens": rows}
    wrong = type("Wrong", (PredictorContract,), {"encoder_width": 8} | {k: staticmethod(v) for k, v in made.items()})
    with pytest.raises(AssertionError):
        wrong().test_codes_reach_the_answers_and_gradients_the_codes()


def test_a_target_with_a_gradient_is_found():
    class Learned(ValueTarget):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, tokens, mask, given=None):
            return super().forward(tokens, mask) * self.scale

    breaks(TargetContract, "test_one_answer_per_asked_place_and_none_has_a_gradient", make=Learned, tokens=rows)


def test_a_loss_that_counts_fillers_is_found():
    breaks(LossContract, "test_fillers_do_not_count", make=Forgetful)


@pytest.mark.parametrize("test", ["the_seed_decides_the_batches", "an_epoch_goes_on_where_it_stopped"])
def test_data_that_is_not_keyed_is_found(test):
    breaks(DataContract, f"test_{test}", make=lambda **options: Careless(**options))


def test_validation_that_repeats_a_sample_is_found():
    breaks(DataContract, "test_validation_sees_every_sample_once_in_order", make=lambda **options: Careless(**options))


# No contract is overridden in silence.


class Promise(Contract):
    def test_a(self): ...
    def test_b(self): ...


def test_an_override_needs_a_reason():
    with pytest.raises(TypeError, match=r"Silent overrides `test_a` of its contract; say why: overrides = "):
        type("Silent", (Promise,), {"test_a": lambda self: None})
    with pytest.raises(TypeError, match="Emptied overrides `test_b`"):
        type("Emptied", (Promise,), {"test_b": None})
    with pytest.raises(TypeError, match="overrides `test_a`"):
        type("Blank", (Promise,), {"test_a": None, "overrides": {"test_a": " "}})
    told = type("Told", (Promise,), {"test_a": None, "overrides": {"test_a": "a reason"}})
    with pytest.raises(TypeError, match="overrides `test_a`"):  # a second time, it is another override
        type("Again", (told,), {"test_a": None})
    assert type("Kept", (told,), {"test_more": lambda self: None})


def test_an_override_by_a_mixin_needs_a_reason_too():
    mixin = type("Mixin", (), {"test_a": lambda self: None})
    with pytest.raises(TypeError, match="Mixed overrides `test_a`"):
        type("Mixed", (mixin, Promise), {})
    told = type("Told", (mixin, Promise), {"overrides": {"test_a": "a reason"}})
    assert type("Kept", (told,), {})


def test_a_reason_for_nothing_is_refused():
    with pytest.raises(TypeError, match="names `test_c`, which it does not override; nearest: `test_a`"):
        type("Wrong", (Promise,), {"test_a": None, "overrides": {"test_a": "a reason", "test_c": "another"}})
