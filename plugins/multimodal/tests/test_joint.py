"""Joint encoders, trunks and masks: limits, leaks, budgets, order, missing parts."""

import copy
import dataclasses

import pytest
import torch
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from unmask import (
    Draws,
    EncoderByPart,
    Grid,
    LossByPart,
    Mask,
    MaskedModel,
    Places,
    Prediction,
    PredictorByPart,
    TokenizerByPart,
    Tokens,
)
from unmask.losses import L1Loss, MSELoss
from unmask.masks import MaskByPart, RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_multimodal.encoders import CrossTrunk, JointEncoder, JointTrunk
from unmask_multimodal.encoders.trunks import CrossLayer
from unmask_multimodal.masks import BudgetMask, OnePartMask, WholePartMask
from unmask_multimodal.predictors import CrossDecoder
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE
from unmask_vision.tokenizer import PatchTokenizer

OPTIONS = {"embed_dim": 24, "num_heads": 3}


def stem(depth=0, class_token=False, patch_size=2):
    options = {**OPTIONS, "depth": depth, "class_token": class_token, "global_pool": "token" if class_token else "avg"}
    return ViTEncoder("vit_tiny_patch16_224", 8, patch_size, 1, positions="sincos", options=options)


def joint(names="ab", trunk=None, **options):
    """A MultiMAE-like model over images under several names, tiny."""
    trunk = trunk or JointTrunk(24, 2, 3, num_global=1)
    names = list(names)
    return MaskedModel(
        tokenizer=TokenizerByPart(
            {name: PatchTokenizer(2, 1) for name in names}, {name: {"image": name} for name in names}
        ),
        mask=BudgetMask(8),
        encoder=JointEncoder({name: stem() for name in names}, trunk),
        predictor=PredictorByPart({name: CrossDecoder(name, names, 24, 4, 16, 1, 2) for name in names}),
        target=ValueTarget(),
        loss=LossByPart({name: MSELoss() for name in names}, reduce="sample"),
        **options,
    )


def batch(names="ab", size=6, seed=0):
    images = torch.rand(len(names), size, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return {name: images[i] for i, name in enumerate(names)}


def test_one_part_alone_is_mae_bit_for_bit():
    torch.manual_seed(0)
    encoder = stem(3, class_token=True)
    decoder = TransformerPredictor(24, 4, 16, 1, 2)
    mae = MAE(patch_size=2, channels=1, encoder=encoder, predictor=decoder)
    trunk = JointTrunk(24, 3, 3)
    trunk.load_state_dict({k.removeprefix("vit."): v for k, v in encoder.state_dict().items() if "blocks" in k
                           or k.startswith("vit.norm.")})  # fmt: skip
    first = stem(0, class_token=True)
    first.load_state_dict({k: v for k, v in encoder.state_dict().items() if "blocks" not in k})
    model = MaskedModel(
        tokenizer=TokenizerByPart({"image": mae.tokenizer}),
        mask=MaskByPart({"image": RandomMask(0.75)}),
        encoder=JointEncoder({"image": first}, trunk),
        predictor=PredictorByPart({"image": copy.deepcopy(mae.predictor)}),
        target=ValueTarget(normalize=True),
        loss=LossByPart({"image": MSELoss()}),
    )
    samples = {"image": torch.rand(5, 1, 8, 8)}
    tokens = mae.tokenizer(samples)
    mask = mae.mask(tokens, draws=Draws.of(3, torch.arange(5)))
    fixed = Mask.join({"image": mask})
    mae.mask.forward = lambda *_: mask
    model.mask.forward = lambda *_: fixed
    one, other = mae.step(samples, 0), model.step(samples, 0)
    assert torch.equal(one.latent.values, other.latent.part("image").values)
    assert torch.equal(one.loss.total, other.loss.total)
    one.loss.total.backward()
    other.loss.total.backward()
    assert torch.equal(encoder.vit.blocks[0].attn.qkv.weight.grad, trunk.blocks[0].attn.qkv.weight.grad)


@pytest.mark.parametrize("trunk", ["joint", "routed", "cross"])
def test_hidden_values_of_no_part_reach_codes_or_answers(trunk):
    torch.manual_seed(0)
    made = {
        "joint": lambda: JointTrunk(24, 2, 3, num_global=2),
        "routed": lambda: JointTrunk(24, 2, 3, num_global=2, routes={"a": ["a"], "b": ["b"]}),
        "cross": lambda: CrossTrunk(24, 2, 3),
    }[trunk]()
    model = joint(trunk=made)
    samples = batch()
    before = model.step(samples, seed=1)
    for name in "ab":
        hidden = before.mask.part(name).hidden  # [B, 16]
        changed = dict(samples)
        pixels = hidden.view(-1, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
        changed[name] = torch.where(pixels, samples[name] + 1, samples[name])
        after = model.step(changed, seed=1)
        for part in "ab":
            assert torch.equal(after.latent.part(part).values, before.latent.part(part).values)
            assert torch.equal(after.prediction.part(part).values, before.prediction.part(part).values)


def test_routes_keep_streams_pure():
    """Zorro's invariant: what another stream holds never reaches this one; the fusion tokens read both."""
    torch.manual_seed(0)
    encoder = JointEncoder(
        {"a": stem(), "b": stem()}, JointTrunk(24, 2, 3, num_global=2, routes={"a": ["a"], "b": ["b"]})
    ).eval()
    tokenizer = joint().tokenizer
    samples = batch()
    other = {**samples, "b": samples["b"] + 1}
    one, two = encoder(tokenizer(samples)), encoder(tokenizer(other))
    assert torch.equal(one.part("a").values, two.part("a").values)
    assert not torch.equal(one.part("b").values, two.part("b").values)
    assert not torch.equal(one.prefix, two.prefix)
    free = JointEncoder({"a": stem(), "b": stem()}, JointTrunk(24, 2, 3, num_global=2)).eval()
    assert not torch.equal(free(tokenizer(samples)).part("a").values, free(tokenizer(other)).part("a").values)


def test_the_order_of_parts_does_not_change_the_loss():
    torch.manual_seed(0)
    model = joint()
    turned = copy.deepcopy(model)
    turned.tokenizer = TokenizerByPart(
        {name: PatchTokenizer(2, 1) for name in "ba"}, {name: {"image": name} for name in "ba"}
    )
    samples = batch()
    mask = model.mask(model.tokenizer(samples), draws=Draws.of(0, torch.arange(6)))
    back = dataclasses.replace(Mask.join({name: mask.part(name) for name in "ba"}), num_hidden=mask.num_hidden)
    model.mask.forward, turned.mask.forward = lambda *_: mask, lambda *_: back
    assert torch.allclose(model.step(samples, 0).loss.total, turned.step(samples, 0).loss.total, rtol=1e-6)


@pytest.mark.parametrize("kind", ["stems", "encoders"])
def test_a_sample_that_lacks_a_part_has_the_codes_of_the_others_alone(kind):
    torch.manual_seed(0)
    own = (lambda: stem()) if kind == "stems" else (lambda: stem(1, class_token=True))
    for trunk in (JointTrunk(24, 2, 3, num_global=1), CrossTrunk(24, 2, 3)):
        encoder = JointEncoder({"a": own(), "b": own()}, trunk).eval()
        tokens = joint().tokenizer(batch())
        there = torch.tensor([True, False, True, True, False, True])
        valid = there[:, None].expand(-1, 16).clone()
        lacking = Tokens.join({"a": tokens.part("a"), "b": dataclasses.replace(tokens.part("b"), valid=valid)})
        found = encoder(lacking).part("a").values
        assert torch.allclose(found[there], encoder(tokens).part("a").values[there], atol=1e-5)
        noise = dataclasses.replace(tokens.part("b"), values=torch.randn(6, 16, 4), valid=valid)
        again = encoder(Tokens.join({"a": tokens.part("a"), "b": noise})).part("a").values
        assert torch.equal(found[~there], again[~there])  # nothing of what is not there is read
        assert not found.isnan().any()
        if isinstance(trunk, JointTrunk):
            alone = encoder(Tokens.join({"a": tokens.part("a")})).part("a").values
            assert torch.allclose(found[~there], alone[~there], atol=1e-5)


def test_a_cross_layer_is_berts_with_cross_attention():
    """Self, cross and feed-forward, each with a norm after its sum: transformers' `BertLayer`."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=24, num_attention_heads=3, intermediate_size=96, is_decoder=True, add_cross_attention=True,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs = BertLayer(config).eval()
    ours = CrossLayer(24, 3, 4.0, "self-cross", norm_first=False, norm_eps=config.layer_norm_eps)
    for mine, attention in ((ours.own, theirs.attention), (ours.cross, theirs.crossattention)):
        for one, name in (("q", "query"), ("k", "key"), ("v", "value")):
            getattr(mine, one).load_state_dict(getattr(attention.self, name).state_dict())
        mine.proj.load_state_dict(attention.output.dense.state_dict())
    ours.own_norm.load_state_dict(theirs.attention.output.LayerNorm.state_dict())
    ours.cross_norm.load_state_dict(theirs.crossattention.output.LayerNorm.state_dict())
    ours.fc1.load_state_dict(theirs.intermediate.dense.state_dict())
    ours.fc2.load_state_dict(theirs.output.dense.state_dict())
    ours.mlp_norm.load_state_dict(theirs.output.LayerNorm.state_dict())
    x, memory = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    with torch.no_grad():
        found = theirs(x, attention_mask=torch.zeros(2, 1, 5, 5), encoder_hidden_states=memory)
    found = found[0] if isinstance(found, tuple) else found
    assert torch.allclose(ours(x, memory), found, atol=1e-5)


def test_layers_are_counted_through_encoders_and_trunk():
    torch.manual_seed(0)
    encoder = JointEncoder({"a": stem(2), "b": stem(3)}, JointTrunk(24, 2, 3)).eval()
    assert (encoder.own_layers, encoder.num_layers) == (2, 4)
    tokens = joint().tokenizer(batch())
    first, met, last = encoder.codes_of(tokens, None, [1, 2, None])
    assert torch.equal(first.part("a").values, encoder.encoders["a"](tokens.part("a"), None, 1).values)
    assert torch.equal(met.part("b").values, encoder.encoders["b"](tokens.part("b")).values)
    assert torch.equal(last.part("a").values, encoder(tokens).part("a").values)


def grids(sizes=((4, 4), (4, 4)), size=50, valid=None):
    names = "abc"[: len(sizes)]
    parts = {
        name: Tokens(torch.zeros(size, side[0] * side[1], 1), Grid(side))
        for name, side in zip(names, sizes, strict=True)
    }
    if valid is not None:
        parts["a"] = dataclasses.replace(parts["a"], valid=valid)
    return Tokens.join(parts)


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("alpha", [1.0, 0.2, 1e-5, 1000.0, {"a": 1.0, "b": 1e-5, "c": 1.0}])
def test_a_budget_is_exact(alpha, rounding):
    tokens = grids(((4, 4), (2, 2), (4, 4)), 200)
    mask = BudgetMask(10, alpha, num_asked=6, asked_alpha=0.5, rounding=rounding)(
        tokens, draws=Draws.of(0, torch.arange(200))
    )
    shown = torch.stack([(~mask.part(name).hidden).sum(1) for name in "abc"], dim=1)
    assert (shown.sum(1) == 10).all()
    assert mask.num_hidden == 26
    asked = torch.stack([mask.part(name).predict.sum(1) for name in "abc"], dim=1)
    assert (asked.sum(1) == 6).all()
    assert all(not (mask.part(name).predict & ~mask.part(name).hidden).any() for name in "abc")
    if alpha == 1000.0 and rounding == "nearest":
        assert ((shown[:, [0, 2]] >= 3).all()) and (shown[:, 1] <= 4).all()
    if isinstance(alpha, dict):
        assert (shown[:, 1] == 0).float().mean() > 0.9
    if alpha == 1e-5:
        assert ((shown == 10).any(1) | (shown[:, 1] == 4)).float().mean() > 0.95


def test_shares_are_dirichlet():
    """Mean and variance of 20,000 draws, against the distribution's own."""
    from unmask_multimodal.masks.budget import dirichlet

    alphas = [0.5, 1.0, 2.0]
    shares = dirichlet(alphas, Draws.of(1, torch.arange(20_000)))
    mean = torch.tensor(alphas) / 3.5
    assert torch.allclose(shares.mean(0), mean, atol=0.005)
    assert torch.allclose(shares.var(0), mean * (1 - mean) / 4.5, atol=0.003)


def test_a_budget_by_hand():
    """Shares 0.6 and 0.4 of 5 are 3 and 2; of 0.7 and 0.3, 3.5 and 1.5, which round to 4 and 2: one is given up."""
    sampler = BudgetMask(5)
    tokens = grids(((2, 2), (2, 2)), 2)
    import unmask_multimodal.masks.budget as budget

    given = budget.dirichlet
    try:
        budget.dirichlet = lambda alphas, draws: torch.tensor([[0.6, 0.4], [0.7, 0.3]])
        mask = sampler(tokens, draws=Draws.of(0, torch.arange(2)))
    finally:
        budget.dirichlet = given
    shown = torch.stack([(~mask.part(name).hidden).sum(1) for name in "ab"], dim=1)
    assert shown[0].tolist() == [3, 2]
    assert shown[1].tolist() in ([4, 1], [3, 2])


def test_budgets_never_show_padding():
    valid = torch.arange(16) < torch.randint(1, 17, (50, 1))
    mask = BudgetMask(12)(grids(valid=valid), draws=Draws.of(0, torch.arange(50)))
    assert not (mask.part("a").hidden & ~valid).any()
    shown = (~mask.part("a").hidden & valid).sum(1) + (~mask.part("b").hidden).sum(1)
    assert (shown == 12).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BudgetMask(0), "`num_visible` must be at least 1"),
        (lambda: BudgetMask(3, alpha=0.0), "`alpha` must be above 0"),
        (lambda: BudgetMask(32)(grids()), "must be below 32, the tokens of a sample, but is 32; nearest: 31"),
        (lambda: BudgetMask(3, {"a": 1.0})(grids()), "`alpha` must name each part, a, b"),
        (lambda: BudgetMask(3)(grids().part("a")), "several parts"),
        (lambda: WholePartMask()(grids(((4, 4),))), "two parts or more"),
        (lambda: OnePartMask({"x": RandomMask(0.5)})(grids()), "`masks` must name the parts"),
        (lambda: CrossDecoder("x", "ab", 8, 8), "`part` must be one of"),
        (lambda: JointTrunk(24, 2, 3, routed_layers=3), "routed_layers"),
        (lambda: CrossTrunk(24, 2, 3, shared=True, one_way=True), "one direction"),
        (lambda: CrossTrunk(25, 2, 3), "multiple of `num_heads`"),
    ],
)
def test_what_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_whole_parts_are_hidden_and_one_is_masked_alone():
    draws = Draws.of(0, torch.arange(500))
    mask = WholePartMask(0.5)(grids(((2, 2),) * 3, 500), draws=draws)
    gone = torch.stack([mask.part(name).hidden.all(1) for name in "abc"], dim=1)
    some = torch.stack([mask.part(name).hidden.any(1) for name in "abc"], dim=1)
    assert torch.equal(gone, some)
    assert gone.any(1).all() and not gone.all(1).any()
    assert 0.3 < gone.float().mean() < 0.6

    one = OnePartMask({name: RandomMask(0.5) for name in "ab"})(grids(size=500), draws=draws)
    counts = torch.stack([one.part(name).hidden.sum(1) for name in "ab"], dim=1)
    assert (counts.sum(1) == 8).all() and (counts.max(1).values == 8).all()
    assert 0.4 < (counts[:, 0] == 8).float().mean() < 0.6


def test_the_loss_by_sample_by_hand():
    """MultiMAE's mean: of each sample over its hidden places, then over samples that have any."""
    prediction = torch.tensor([[[1.0], [3.0]], [[2.0], [0.0]], [[0.0], [0.0]]])  # [3, 2, 1]
    valid = torch.tensor([[True, True], [True, False], [False, False]])
    answers = Prediction.join({"a": Prediction(prediction, Places(torch.zeros(3, 2, dtype=torch.long), valid))})
    target = {"a": torch.zeros(3, 2, 1)}
    by_sample = LossByPart({"a": MSELoss()}, reduce="sample")(answers, target)
    assert by_sample.total == pytest.approx(((1 + 9) / 2 + 4) / 2)
    assert LossByPart({"a": MSELoss()})(answers, target).total == pytest.approx((1 + 9 + 4) / 3)
    assert LossByPart({"a": L1Loss()}, {"a": 2.0})(answers, target).total == pytest.approx(2 * (1 + 3 + 2) / 3)
    assert by_sample.parts == {"a": by_sample.total}


def test_losses_of_parts_are_logged_and_a_part_may_be_asked_alone():
    from unmask import Objective

    torch.manual_seed(0)
    names = list("ab")
    more = Objective(predictor=CrossDecoder("a", names, 24, 4, 16, 1, 2), target=ValueTarget(normalize=True),
                     loss=MSELoss(), part="a")  # fmt: skip
    model = joint(objectives={"normed": more})
    step = model.step(batch(), 0)
    assert set(step.terms) == {"loss.a", "loss.b", "normed"}
    asked = step.objectives["normed"].prediction.asked
    assert torch.equal(asked.index, step.mask.part("a").asked.index)
    assert step.loss.total.item() == pytest.approx(sum(float(value) for value in step.terms.values()), rel=1e-6)
    wrong = joint(objectives={"normed": Objective(part="x")})
    with pytest.raises(ValueError, match="`part` must be one of the tokens' parts, a, b, but is 'x'"):
        wrong.step(batch(), 0)


def test_encoders_by_part_stay_as_they_are():
    encoder = EncoderByPart({"a": stem(1), "b": stem(1)})
    assert encoder(joint().tokenizer(batch())).part("a").values.shape == (6, 16, 24)
