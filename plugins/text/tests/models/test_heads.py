"""Heads and losses: numbers of torch's own functions, spans worked out by hand, memory that stays small."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unmask import Draws, Latent, Mask, Places, Prediction, Sequence, Tokens
from unmask_text.heads.span_boundary import SpanBoundaryHead, SpanBoundaryLoss, spans
from unmask_text.heads.vocabulary import VocabularyHead, VocabularyPrediction, sample
from unmask_text.losses import VocabularyLoss, linear_cross_entropy


def parts(num_tokens, width, vocab_size, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(num_tokens, width, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocab_size, width, generator=generator).requires_grad_()
    bias = torch.randn(vocab_size, generator=generator).requires_grad_()
    target = torch.randint(vocab_size, (num_tokens,), generator=generator)
    shares = torch.rand(num_tokens, generator=generator)
    return hidden, weight, bias, target, shares


@pytest.mark.parametrize("chunk", [1, 500, 1_001, 10**9])
@pytest.mark.parametrize("with_bias", [True, False])
def test_chunks_give_the_numbers_of_torch(chunk, with_bias):
    hidden, weight, bias, target, shares = parts(41, 16, 100)
    bias = bias if with_bias else None
    leaves = [leaf for leaf in (hidden, weight, bias) if leaf is not None]
    expected = F.cross_entropy(F.linear(hidden, weight, bias), target, reduction="none")
    gradients = torch.autograd.grad((expected * shares).sum() * 2, leaves)
    total, losses = linear_cross_entropy(hidden, weight, bias, target, shares, chunk)
    assert not losses.requires_grad
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(torch.autograd.grad(total * 2, leaves), gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        again, same = linear_cross_entropy(hidden, weight, bias, target, shares, chunk)
    torch.testing.assert_close(again, total.detach())
    torch.testing.assert_close(same, losses)


def test_only_gradients_that_are_asked_for_are_made():
    hidden, weight, bias, target, shares = parts(41, 16, 100)
    total, _ = linear_cross_entropy(hidden, weight.detach(), bias.detach(), target, shares)
    (gradient,) = torch.autograd.grad(total, [hidden])
    expected = F.cross_entropy(F.linear(hidden, weight, bias), target, reduction="none")
    torch.testing.assert_close(
        gradient, torch.autograd.grad((expected * shares).sum(), hidden)[0], rtol=1e-5, atol=1e-5
    )


def test_in_bfloat16_chunks_add_up_in_float32():
    hidden, weight, bias, target, shares = parts(512, 16, 50)
    exact = torch.autograd.grad(
        (F.cross_entropy(F.linear(hidden, weight, bias), target, reduction="none") * shares).sum(), weight
    )[0]
    for chunk in (50, 10**9):  # one token at a time; all at once
        with torch.autocast("cpu", torch.bfloat16):
            total, losses = linear_cross_entropy(hidden, weight, bias, target, shares, chunk)
        (gradient,) = torch.autograd.grad(total, weight)
        assert total.dtype == losses.dtype == gradient.dtype == torch.float32
        assert (gradient - exact).abs().max() < 0.02 * exact.abs().max()


class Largest(TorchDispatchMode):
    """Remembers the most elements of a tensor that was made, but for shapes it is told of."""

    def __init__(self, known):
        super().__init__()
        self.known = known
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tuple(tensor.shape) not in self.known:
                self.most = max(self.most, tensor.numel())
        return out


def largest(vocab_size, dense):
    hidden, weight, bias, target, shares = parts(300, 8, vocab_size)
    # The table itself, its gradient and the bias are as large as the vocabulary, whatever one does.
    with Largest({(vocab_size, 8), (8, vocab_size), (vocab_size,)}) as mode:
        if dense:
            loss = (F.cross_entropy(F.linear(hidden, weight, bias), target, reduction="none") * shares).sum()
        else:
            loss, _ = linear_cross_entropy(hidden, weight, bias, target, shares, chunk=2**16)
        loss.backward()
    return mode.most


def test_memory_does_not_grow_with_the_vocabulary():
    sizes = (1_000, 10_000, 60_000)
    assert [largest(size, dense=True) for size in sizes] == [300 * size for size in sizes]
    mine = [largest(size, dense=False) for size in sizes]
    assert max(mine) <= 2**16
    assert mine[2] <= mine[0] * 1.05


def test_the_loss_of_rows_that_were_filled_up():
    """Padded answers count for nothing, and the mean is over the real ones."""
    torch.manual_seed(0)
    head = VocabularyHead(8, 20)
    codes = torch.randn(2, 5, 8)
    hidden = torch.tensor([[1, 1, 0, 1, 0], [0, 1, 0, 0, 0]], dtype=torch.bool)
    ids = torch.randint(20, (2, 5))
    mask = Mask(hidden, show=torch.ones(2, 5, dtype=torch.int8))
    tokens = Tokens(ids, Sequence())
    prediction = head(Latent(codes), tokens.places, mask)
    target = mask.asked.gather(ids)
    loss = VocabularyLoss()(prediction, target)
    expected = F.cross_entropy(prediction.logits()[mask.asked.valid], ids[hidden], reduction="none")
    torch.testing.assert_close(loss.total, expected.mean())
    assert loss.per_token.shape == (2, 3)
    assert (loss.per_token[1, 1:] == 0).all()
    given = VocabularyLoss()(Prediction(prediction.logits(), mask.asked), target)  # logits that are there already
    torch.testing.assert_close(given.total, loss.total)
    torch.testing.assert_close(given.per_token, loss.per_token)


def test_a_head_is_tied_and_stays_tied_in_a_copy():
    table = torch.nn.Embedding(20, 8)
    model = torch.nn.ModuleDict({"table": table, "head": VocabularyHead(8, 20)})
    model["head"].tie(table.weight)
    twin = copy.deepcopy(model)
    assert twin["head"].table is twin["table"].weight
    assert len(list(model.parameters())) == 6  # table, dense 2, norm 2, bias
    own = VocabularyHead(8, 20, tied=False)
    before = own.table
    own.tie(table.weight)
    assert own.table is before
    with pytest.raises(ValueError, match=r"must be \(20, 8\)"):
        VocabularyHead(8, 21).tie(table.weight)


def test_an_excluded_token_is_never_an_answer():
    torch.manual_seed(0)
    head = VocabularyHead(8, 20, excluded_id=4)
    prediction = head.answer(torch.randn(1000, 8), Places(torch.arange(1000)))
    assert (prediction.logits().softmax(-1)[:, 4] == 0).all()
    assert not (sample(prediction, Draws.of(0, torch.arange(1000))) == 4).any()
    loss, _ = linear_cross_entropy(
        prediction.values, head.table, prediction.bias, torch.full((1000,), 3), torch.ones(1000)
    )
    loss.backward()
    assert torch.isfinite(head.table.grad).all() and head.bias.grad[4] == 0


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_follow_the_softmax(temperature):
    """Frequencies of 40,000 draws against the softmax, by chi-square."""
    from scipy.stats import chisquare

    scores = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    count = 40_000
    prediction = VocabularyPrediction(torch.ones(count, 1), Places(torch.arange(count)), table=scores[:, None])
    drawn = sample(prediction, Draws.of(0, torch.arange(count)), temperature, chunk=5_000)
    expected = (scores / temperature).double().softmax(0) * count
    assert chisquare(drawn.bincount(minlength=5).numpy(), expected.numpy()).pvalue > 1e-3
    assert torch.equal(drawn, sample(prediction, Draws.of(0, torch.arange(count)), temperature, chunk=50_000))


def test_spans_by_hand():
    hidden = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1], dtype=torch.bool)
    first, last = spans(hidden, torch.tensor([0, 4, 8]))  # the second document begins inside a run
    assert first[hidden].tolist() == [0, 0, 3, 4, 4, 7]
    assert last[hidden].tolist() == [1, 1, 3, 5, 5, 7]


def test_span_boundaries_by_hand():
    """Two documents of six and five tokens; the boundaries of each hidden token, special tokens where a span is
    at an end, and the place in the span. Spans end with their document, and only two places of a span are asked."""
    torch.manual_seed(0)
    width = 4
    head = SpanBoundaryHead(VocabularyHead(width, 20), width, position_width=3, longest=2)
    offsets = torch.tensor([0, 6, 11])
    hidden = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 0], dtype=torch.bool)
    codes, prefix = torch.randn(11, width), torch.randn(2, 2, width)
    mask = Mask(hidden, show=torch.ones(11, dtype=torch.int8))
    tokens = Tokens(torch.randint(20, (11,)), Sequence(), offsets=offsets)
    seen = []
    head.layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    prediction = head(Latent(codes, prefix=prefix), tokens.places, mask)
    (cls0, sep0), (cls1, _) = prefix
    by_hand = [  # of places 0, 1, 3, 4, 6 and 9; place 5 is the third of its span
        (cls0, codes[2], 0),
        (cls0, codes[2], 1),
        (codes[2], sep0, 0),
        (codes[2], sep0, 1),
        (cls1, codes[7], 0),
        (codes[8], codes[10], 0),
    ]
    rows = [torch.cat([left, right, head.position.weight[place]]) for left, right, place in by_hand]
    torch.testing.assert_close(seen[0], torch.stack(rows))
    assert prediction.chosen.tolist() == [0, 1, 2, 3, 5, 6]  # among the asked 0, 1, 3, 4, 5, 6, 9
    assert prediction.boundary.table is prediction.table

    target = mask.asked.gather(tokens.values)
    loss = SpanBoundaryLoss()(prediction, target)
    own = F.cross_entropy(prediction.logits(), target, reduction="none")
    other = F.cross_entropy(prediction.boundary.logits(), target[prediction.chosen], reduction="none")
    torch.testing.assert_close(loss.total, own.mean() + other.mean())
    both = own.index_add(0, prediction.chosen, other)
    torch.testing.assert_close(loss.per_token, both.detach())


def test_span_boundaries_need_special_tokens():
    head = SpanBoundaryHead(VocabularyHead(4, 20), 4)
    mask = Mask(torch.tensor([True, False]), show=torch.ones(2, dtype=torch.int8))
    tokens = Tokens(None, Sequence(), offsets=torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="separator"):
        head(Latent(torch.zeros(2, 4)), tokens, mask)
