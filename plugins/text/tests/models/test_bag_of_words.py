"""Bags of words: the loss by hand, packed and padded alike, and what it reaches."""

import pytest
import torch
import torch.nn.functional as F

from unmask import Latent
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.heads.bag_of_words import BagOfWordsHead, bags
from unmask_text.methods.bag_of_words import BagOfWords
from unmask_text.methods.mlm import MLM
from unmask_text.tokenizer import TextTokenizer


def make(settings, given_mask=None, hidden=None, **options):
    torch.manual_seed(0)
    if given_mask is not None:
        options |= {"mask": given_mask(hidden), "corruption": VocabularyCorruption(token=1)}
    return BagOfWords(encoder=TransformersEncoder(settings("bert")), **options).eval()


def test_the_loss_is_that_of_every_document_by_itself():
    """Each distinct token of a document counts once, however often it is there."""
    torch.manual_seed(0)
    head = BagOfWordsHead(encoder_width=6, vocab_size=11, width=4, pool="mean")
    table, codes = torch.randn(11, 4), torch.randn(7, 6)
    with torch.no_grad():
        head.bias.normal_()
    batch = {"ids": torch.tensor([3, 3, 5, 3, 10, 2, 10]), "offsets": torch.tensor([0, 4, 7])}
    tokens = TextTokenizer()(batch | {"word": torch.zeros(7, dtype=torch.long)})
    by_hand = []
    for rows, distinct in ((slice(0, 4), [3, 5]), (slice(4, 7), [2, 10])):
        mean = codes[rows].mean(0)
        hidden = F.layer_norm(head.dense.weight @ mean, (4,))
        by_hand.append(-(table @ hidden + head.bias).log_softmax(-1)[distinct].mean())
    assert torch.allclose(head(Latent(codes), tokens, table), torch.stack(by_hand).mean(), rtol=1e-6)
    document, token = bags(tokens)
    assert document.tolist() == [0, 0, 1, 1] and token.tolist() == [3, 5, 2, 10]


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_packed_equals_padded(pool, settings, documents, dense, some_hidden, given_mask, shake):
    batch = documents()
    model = make(settings, given_mask, some_hidden(batch), pool=pool)
    shake(model)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert torch.allclose(model.bag(*_seen(model, batch)), model.bag(*_seen(model, dense(batch))), rtol=1e-5)
    plain = MLM.step(model, batch, generators[0]).loss
    whole = model.step(batch, generators[1]).loss
    bag = model.bag(*_seen(model, batch, torch.Generator().manual_seed(0)))
    assert torch.allclose(whole.total, plain.total + bag, rtol=1e-6)
    assert torch.equal(whole.per_token, plain.per_token)


def _seen(model, batch, generator=None):
    step = MLM.step(model, batch, generator or torch.Generator().manual_seed(0))
    return step.latent, step.tokens, model.encoder.embedding


def test_the_second_term_reaches_the_encoder_and_the_shared_table(settings, documents):
    model = make(settings, weight=0.5, pool="mean")
    batch = documents()
    model.bag(*_seen(model, batch)).backward()
    assert model.encoder.embedding.grad.abs().sum() > 0
    assert model.bag.dense.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in (model.predictor.dense.weight, model.predictor.bias))


def test_wrong_settings_are_told(settings):
    with pytest.raises(ValueError, match="`weight` must be above 0, but is 0"):
        make(settings, weight=0)
    with pytest.raises(ValueError, match="`pool` must be 'cls' or 'mean', but is 'max'"):
        make(settings, pool="max")
