"""Masked diffusion: the loss is the bound, worked out by hand; a trained model writes what it has read."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from unmask import Draws, Mask, MaskSampler
from unmask.masks import DiffusionMask
from unmask.noise import Process
from unmask_text import generate
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.methods.mdlm import MDLM
from unmask_text.writing import ORDERS, SAMPLERS, denoiser, write


def tiny(settings, **options):
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings("bert", vocab_size=8), cls_id=5, sep_id=6, mask_id=7)
    model = MDLM(encoder=encoder, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


class AllMasks(MaskSampler):
    """One mask, at one time."""

    def __init__(self, hidden, time):
        super().__init__()
        self.hidden, self.time = hidden, time

    def sample(self, among, draws):
        weight = torch.full(among.valid.shape, 1 / (self.time * self.hidden.numel()))
        return Mask(self.hidden.view(among.valid.shape), weight=weight)


def test_the_loss_is_the_bound_by_hand(settings):
    """For one text of three tokens, ``E_t [1 / t sum over hidden of -log p] / 3``: over all eight masks, with
    probability t^hidden (1 - t)^shown, the integral over t by hand is Beta(hidden, shown + 1)."""
    model = tiny(settings)
    ids = torch.tensor([1, 4, 2])
    offsets = torch.tensor([0, 3])
    bound = 0.0
    for bits in itertools.product([False, True], repeat=3):
        hidden = torch.tensor(bits)
        if not hidden.any():
            continue
        count = int(hidden.sum())
        read = torch.tensor([[5, *torch.where(hidden, 7, ids).tolist(), 6]])
        encoder = model.encoder.model
        encoder.set_attn_implementation("eager")
        codes = encoder(read, position_ids=torch.arange(5)[None]).last_hidden_state[0, 1:-1]
        encoder.set_attn_implementation("unmask_packed")
        head = model.predictor
        scores = head.norm(head.activation(head.dense(codes))) @ head.table.T + head.bias
        scores[:, 7] = float("-inf")  # [MASK] is no answer
        nll = -scores.log_softmax(-1)[torch.arange(3), ids].detach()
        beta = torch.exp(
            torch.lgamma(torch.tensor(float(count)))
            + torch.lgamma(torch.tensor(4.0 - count))
            - torch.lgamma(torch.tensor(4.0))
        )
        bound += float(beta * nll[hidden].sum() / 3)

        # The loss of the step with this mask, at a time of 0.25.
        model.mask = AllMasks(hidden, 0.25)
        step = model.step({"ids": ids, "word": torch.arange(3), "offsets": offsets})
        assert step.loss.total.item() == pytest.approx(float(nll[hidden].sum()) / 0.25 / 3, rel=1e-5)
        torch.testing.assert_close(step.loss.per_token, nll[hidden], rtol=1e-5, atol=1e-6)

    # And with masks as the method draws them, the mean over many is the bound.
    model.mask = DiffusionMask(Process(shortest=1e-4))
    with torch.no_grad():
        copies = 20_000
        many = {
            "ids": ids.repeat(copies),
            "word": torch.arange(3).repeat(copies),
            "offsets": torch.arange(copies + 1) * 3,
        }
        loss = model.step(many, 0).loss.total
    assert float(loss) == pytest.approx(bound, rel=0.03)


@pytest.mark.parametrize("form", ["packed", "padded"])
def test_the_loss_is_that_of_before_at_equal_times_and_masks(form, settings, documents, dense):
    """``sum over hidden of -log p / (t T)``, T all tokens of the batch."""
    torch.manual_seed(0)
    model = MDLM(encoder=TransformersEncoder(settings("bert"))).eval()
    batch = documents() | {"index": torch.arange(5)}
    step = model.step(batch if form == "packed" else dense(batch) | {"index": batch["index"]}, 3)
    asked = step.mask.asked
    logits, target, losses = step.prediction.logits(), step.target, step.loss.per_token
    if asked.valid is not None:
        logits, target, losses = logits[asked.valid], target[asked.valid], losses[asked.valid]
    nll = F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(losses, nll.detach())
    times = model.mask.process.times(Draws.of(3, batch["index"]), even=True)
    document = (step.mask.hidden & (step.mask.weight > 0)).nonzero()[:, 0]
    if form == "packed":
        document = torch.searchsorted(batch["offsets"], document, right=True) - 1
    torch.testing.assert_close(step.loss.total, (nll / (times[document] * 75)).sum())


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_other_schedules_learn_as_well(schedule, settings, documents):
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings("bert"))
    model = MDLM(encoder=encoder, mask=DiffusionMask(Process(schedule, eps=1e-4)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for number in range(60):
        optimizer.zero_grad()
        loss = model.step(documents(), number % 4).loss.total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_a_batch_without_anything_hidden_has_no_loss_and_no_gradient(settings):
    model = tiny(settings)
    model.mask = AllMasks(torch.zeros(3, dtype=torch.bool), 0.5)
    loss = model.step({"ids": torch.tensor([1, 4, 2]), "word": torch.arange(3), "offsets": torch.tensor([0, 3])}).loss
    loss.total.backward()
    assert loss.total == 0
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())


def test_the_trained_model_writes_what_it_learned(settings):
    """A few steps on texts of one pattern (1 2 1 2 ... or 3 4 3 4 ...), and it writes and completes that pattern."""
    model = tiny(settings, corruption=VocabularyCorruption(token=1)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    texts = torch.tensor([[1, 2] * 3, [3, 4] * 3]).repeat(8, 1)
    batch = {"ids": texts.flatten(), "word": torch.arange(6).repeat(16), "offsets": torch.arange(17) * 6}
    for number in range(150):
        optimizer.zero_grad()
        model.step(batch, number).loss.total.backward()
        optimizer.step()
    model.eval()
    known = {(1, 2) * 3, (3, 4) * 3}
    for order in ("fixed", "probability", "margin", "correction"):
        for sampler in SAMPLERS:
            rows = write(model, torch.full((50, 6), 7), sampler, num_steps=12, order=order, choice_noise=1.0)
            assert sum(tuple(row) in known for row in rows.tolist()) > 20, (sampler, order)
    for sampler in ("first-hitting", "ancestral"):
        written = write(model, torch.full((200, 6), 7), sampler, num_steps=60)
        right = [tuple(row) in known for row in written.tolist()]
        assert sum(right) > 170, sampler
        firsts = written[:, 0].bincount(minlength=8)[[1, 3]]
        assert firsts.min() > 50, sampler  # both, about as often
    filled = write(model, torch.tensor([[7, 7, 3, 7, 7, 7]]))
    assert filled.tolist() == [[3, 4, 3, 4, 3, 4]]
    assert torch.equal(write(model, torch.full((5, 6), 7), seed=3), write(model, torch.full((5, 6), 7), seed=3))
    with pytest.raises(ValueError, match="`sampler`"):
        write(model, torch.full((1, 6), 7), sampler="greedy")
    assert (generate.SAMPLERS, generate.ORDERS) == (SAMPLERS, ORDERS)


def test_only_a_model_with_a_vocabulary_head_writes(settings):
    from unmask_text.methods.mae_lm import MAELM

    with pytest.raises(ValueError, match="vocabulary head"):
        denoiser(MAELM(encoder=TransformersEncoder(settings("bert"))))
