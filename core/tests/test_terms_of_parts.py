"""Terms between parts: contrast at several layers, matching, alignment and transport, by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unmask import Encoder, Latent, LossValue, Mask, Step, Tokens
from unmask.draws import Draws
from unmask.nn.transport import transport_plan
from unmask.step import Given, Shown
from unmask.structures import Grid, Sequence
from unmask.terms import Alignment, Contrast, Matching, Transport
from unmask.testing import TermContract


def joint_step(a, b, inner=None, valid=None, hidden=None, positions=None, values=None):
    """A step of the parts ``image`` and ``text`` with these codes, nothing hidden unless it is said."""
    codes = {"image": a, "text": b}
    tokens, masks, parts = {}, {}, {}
    for name, one in codes.items():
        shape = one.shape[:2]
        layout = Grid((2, 2)) if name == "image" and shape[1] == 4 else Sequence()
        known = None if valid is None else valid.get(name)
        clean = one.detach() if values is None else values[name]
        tokens[name] = Tokens(clean, layout, valid=known, positions=positions if name == "text" else None)
        gone = torch.zeros(shape, dtype=torch.bool) if hidden is None else hidden[name]
        masks[name] = Mask(gone, valid=known, draws=Draws.of(0, torch.arange(shape[0])))
        parts[name] = Latent(one, inner=None if inner is None else inner[name])
    mask = Mask.join(masks)
    joined = Tokens.join(tokens)
    loss = LossValue(torch.zeros(()), torch.zeros(0, 0))
    return Step(joined, mask, None, Latent.join(parts), None, loss, given=Given(None, Shown(joined, mask)))


def codes(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), requires_grad=True)


class Pair(Encoder):
    """Both parts become their values plus the other part's mean: what is read together shows."""

    joint = True
    width, num_layers = 8, 1

    def forward(self, tokens, mask=None, layer=None):
        a, b = (tokens.part(name).values for name in ("image", "text"))
        return Latent.join({"image": Latent(a + b.mean(1, keepdim=True)), "text": Latent(b + a.mean(1, keepdim=True))})


# Contrast.


class OfParts(TermContract):
    def step(self):
        return joint_step(codes(4, 4, 8), codes(4, 6, 8, seed=1))

    def model(self):
        return SimpleNamespace(encoder=Pair(), terms={})


class TestContrast(OfParts):
    def make(self):
        return Contrast(width=5)


class TestMatching(OfParts):
    overrides = {"test_one_finite_number_whose_gradient_reaches_the_codes": "its codes are those of a second pass"}

    def make(self):
        return Matching(num_negatives=2)

    def test_one_finite_number_whose_gradient_reaches_the_codes(self):
        term, model, step = self._started()
        value = term(step, model)
        assert torch.isfinite(value)
        value.backward()
        assert term.poolers[0].weight.grad.abs().sum() > 0


class TestTransport(OfParts):
    def make(self):
        return Transport()


class TestAlignment(OfParts):
    def step(self):
        hidden = {"image": torch.eye(4, dtype=torch.bool), "text": torch.zeros(4, 6, dtype=torch.bool)}
        return joint_step(codes(4, 4, 8), codes(4, 6, 8, seed=1), hidden=hidden, positions=torch.rand(4, 6, 2))

    def make(self):
        return Alignment()


def test_contrast_at_several_layers_by_hand():
    """Two samples of one place: after norming, every code is (1, -1) or (-1, 1), so cosines are 1 and -1."""
    up, down = torch.tensor([3.0, 1.0]), torch.tensor([0.0, 4.0])
    inner = {
        "image": {1: Latent(torch.stack([up, down])[:, None]), 2: Latent(torch.stack([up, down])[:, None])},
        "text": {1: Latent(torch.stack([up, down])[:, None]), 2: Latent(torch.stack([down, up])[:, None])},
    }
    step = joint_step(torch.zeros(2, 1, 2), torch.zeros(2, 1, 2), inner)
    term = Contrast(width=None, layers=[1, 2], temperature=0.5, learned=False)
    term.start(SimpleNamespace(encoder=SimpleNamespace(width=2)))
    right, wrong = math.log(1 + math.exp(-4)), math.log(1 + math.exp(4))  # scores 2 against -2
    assert term(step, None).item() == pytest.approx(right + wrong, rel=1e-4)
    assert term.reads == (1, 2)
    assert not any(parameter.requires_grad for parameter in term.parameters())
    assert term.update(None, None) == {}


def test_samples_that_lack_a_part_are_compared_with_nobody():
    a, b = codes(4, 4, 8), codes(4, 6, 8, seed=1)
    there = torch.tensor([True, False, True, True])
    term = Contrast(width=None)
    term.start(SimpleNamespace(encoder=Pair()))
    found = term(joint_step(a, b, valid={"text": there[:, None].expand(-1, 6)}), None)
    assert torch.allclose(found, term(joint_step(a[there], b[there]), None))
    nobody = joint_step(a, b, valid={"text": torch.zeros(4, 6, dtype=torch.bool)})
    assert term(nobody, None).item() == 0


# Transport.


def test_a_plan_of_two_by_two_is_the_assignment():
    """Costs (0, 1; 1, 0) and turned round: all goes where it costs nothing."""
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    plan = transport_plan(cost)
    assert torch.allclose(plan, (1 - cost) / 2, atol=1e-6)


def test_plans_have_even_margins_and_sum_to_one():
    torch.manual_seed(0)
    cost = torch.rand(5, 7, 4)
    rows, columns = (
        torch.arange(7) < torch.tensor([[7], [3], [5], [1], [6]]),
        torch.arange(4) < torch.tensor([[4], [2], [3], [4], [1]]),
    )
    plan = transport_plan(cost, rows, columns)
    assert torch.allclose(plan.sum((1, 2)), torch.ones(5), atol=1e-5)
    assert torch.allclose(plan.sum(1), columns / columns.sum(1, keepdim=True), atol=1e-5)
    assert torch.allclose(plan.sum(2), rows / rows.sum(1, keepdim=True), atol=2e-3)  # as far as 50 iterations go
    assert not plan[~(rows[:, :, None] & columns[:, None])].any()
    half = transport_plan(cost.bfloat16(), rows, columns)
    assert half.dtype == torch.float32
    assert not transport_plan(cost.requires_grad_()).requires_grad


def test_the_distance_is_that_of_the_best_assignment():
    """Three words and their patches in another order: matched, they cost nothing; the gradient draws them nearer."""
    a = F.one_hot(torch.arange(3), 4).float()[None].requires_grad_()
    b = a.detach()[:, [2, 0, 1]]
    assert Transport(iterations=200)(joint_step(a, b), None).item() == pytest.approx(0, abs=1e-4)
    far = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0]]]).requires_grad_()
    other = torch.tensor([[[1.0, 1, 0, 0], [1, 1, 0, 0]]])
    value = Transport()(joint_step(far, other), None)
    assert value.item() == pytest.approx(1 - math.sqrt(0.5), rel=1e-4)
    value.backward()
    assert far.grad[0, 0, 1] < 0 and far.grad[0, 1, 0] < 0


def test_padding_and_samples_that_lack_a_part_cost_nothing():
    a, b = codes(3, 4, 8), codes(3, 6, 8, seed=1)
    valid = torch.arange(6) < torch.tensor([[6], [4], [0]])
    found = Transport()(joint_step(a, b, valid={"text": valid}), None)
    alone = [Transport()(joint_step(a[i : i + 1], b[i : i + 1, :n]), None) for i, n in ((0, 6), (1, 4))]
    assert torch.allclose(found, torch.stack(alone).mean(), atol=1e-5)


# Alignment.


def test_words_on_hidden_patches_by_hand():
    """Three words, four patches, of which the first is hidden: a word on it, one hidden itself, one elsewhere."""
    boxes = torch.tensor([[[0.0, 0.0, 0.4, 0.4], [0.6, 0.0, 1.0, 0.4], [0.5, 0.9, 0.9, 1.0]]])
    hidden = {"image": torch.tensor([[True, False, False, False]]), "text": torch.tensor([[False, True, False]])}
    step = joint_step(
        torch.zeros(1, 4, 2), torch.tensor([[[1.0, 0.0], [9.0, 9.0], [2.0, 0.0]]]), hidden=hidden, positions=boxes
    )
    term = Alignment()
    term.start(SimpleNamespace(encoder=SimpleNamespace(width=2)))
    assert term.places(step).tolist() == [[0, 1, 3]]
    term.head = nn.Linear(2, 1)
    with torch.no_grad():
        term.head.weight.copy_(torch.tensor([[1.0, 0.0]]))
        term.head.bias.zero_()
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert term(step, None).item() == pytest.approx(expected, rel=1e-5)


def test_alignment_refuses_words_that_lie_nowhere():
    term = Alignment()
    with pytest.raises(
        ValueError, match="Tokens of `text` must have positions of 2 or 4 numbers on `image`, but have none"
    ):
        term.places(joint_step(torch.zeros(1, 4, 2), torch.zeros(1, 3, 2)))
    with pytest.raises(ValueError, match="must lie on a grid"):
        term.places(joint_step(torch.zeros(1, 5, 2), torch.zeros(1, 3, 2), positions=torch.zeros(1, 3, 2)))


# Matching.


def matching(num_samples=3, encoder=None, **options):
    encoder = encoder or Pair()
    term = Matching("image", "text", **options)
    terms = {"contrast": Contrast(width=None)}
    model = SimpleNamespace(encoder=encoder, terms=terms)
    terms["contrast"].start(model)
    term.start(model)
    return term, model, joint_step(codes(num_samples, 4, 8), codes(num_samples, 6, 8, seed=1))


def test_wrong_partners_are_others_and_each_once():
    term, model, step = matching(5, num_negatives=3)
    found = term.partners(step, model, 3)
    for own, row in enumerate(found.tolist()):
        assert own not in row
        assert len(set(row)) == 3


def test_hard_partners_are_the_most_alike():
    term, model, step = matching(4, hard="contrast")
    with torch.no_grad():
        model.terms["contrast"].log_scale.fill_(math.log(100))
    scores = model.terms["contrast"].similarities(step, ("image", "text")).fill_diagonal_(-1e9)
    assert torch.equal(term.partners(step, model, 1)[:, 0], scores.argmax(1))


def test_the_encoder_reads_wrong_pairs_together_and_the_loss_is_by_hand():
    term, model, step = matching(2)
    a, b = (step.tokens.part(name).values for name in ("image", "text"))
    told = []
    for one, other in ((0, 0), (1, 1), (0, 1), (1, 0)):  # of two samples, each is the other's wrong partner
        image = (a[one] + b[other].mean(0)).mean(0)
        text = (b[other] + a[one].mean(0)).mean(0)
        pooled = [torch.tanh(pooler(code)) for pooler, code in zip(term.poolers, (image, text), strict=True)]
        told.append(F.log_softmax(term.head(torch.cat(pooled)), -1))
    expected = -(told[0][1] + told[1][1] + told[2][0] + told[3][0]) / 4
    assert torch.allclose(term(step, model), expected, atol=1e-6)


def test_a_choice_of_several_by_hand():
    term, model, step = matching(2, form="choice", temperature=0.5)
    with torch.no_grad():
        term.head.weight.zero_()
    assert term(step, model).item() == pytest.approx(math.log(2))


def test_transport_of_wrong_pairs_is_subtracted():
    term, model, step = matching(2, transport=Transport("image", "text", weight=0.1))
    alone = Matching("image", "text")
    alone.start(model)
    alone.load_state_dict(term.state_dict())
    wrong = step.tokens.part("text").values.flip(0)
    right, other = (
        Transport("image", "text").distances(model.encoder(tokens), tokens)[0].mean()
        for tokens in (step.tokens, joint_step(step.tokens.part("image").values, wrong).tokens)
    )
    assert torch.allclose(term(step, model), alone(step, model) + 0.1 * (right - other), atol=1e-6)


def test_a_single_sample_has_no_wrong_partner():
    term, model, step = matching(1)
    assert term(step, model).item() == 0


def test_pairs_are_read_with_their_masks_where_asked():
    seen = []

    class Watched(Pair):
        def forward(self, tokens, mask=None, layer=None):
            seen.append(mask)
            return super().forward(tokens, mask)

    term, model, step = matching(3, Watched(), hides=True)
    hidden = torch.tensor([[True, False, False, False], [False] * 4, [False] * 4])
    step.mask.parts["image"].hidden.copy_(hidden)
    term(step, model)
    assert torch.equal(seen[-1].part("image").hidden, hidden.repeat(2, 1))
    term.hides = False
    term(step, model)
    assert seen[-1] is None


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Contrast(layers=[]), "`layers` must be different numbers from 1"),
        (lambda: Contrast(layers=[2, 2]), "`layers` must be different numbers from 1"),
        (lambda: Contrast(layers=[1], whole=True), "`layers` must be None where `whole` is true"),
        (lambda: Matching(pools="all"), "`pools` must be 'trunk', 'first' or one of each part, but is 'all'"),
        (lambda: Matching(num_negatives=0), "`num_negatives` must be at least 1, but is 0"),
        (lambda: Matching(form="triple"), "`form` must be 'pairs' or 'choice', but is 'triple'"),
        (lambda: Matching(temperature=0), "`temperature` must be above 0"),
        (lambda: matching(hard="nothing"), "`hard` must name a contrast among the model's terms, but is 'nothing'"),
        (lambda: Transport(beta=0), "`beta` must be above 0"),
        (lambda: Transport(iterations=0), "`iterations` must be at least 1"),
        (lambda: Transport()(joint_step(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)), None), "codes of one width"),
        (lambda: Alignment(width=0), "`width` must be at least 1, but is 0"),
    ],
)
def test_what_is_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


def test_parts_of_two_widths_are_not_compared_as_they_are():
    narrow, wide = SimpleNamespace(width=4, num_layers=1), SimpleNamespace(width=8, num_layers=1)
    model = SimpleNamespace(encoder=SimpleNamespace(encoders={"image": narrow, "text": wide}))
    with pytest.raises(ValueError, match=r"`width` must be given where codes have several widths, but \[4, 8\]"):
        Contrast(width=None).start(model)
