"""Bags of words: the loss by hand, packed and padded alike, and what it reaches."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from unmask import Latent, Step
from unmask.testing import TermContract
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.methods.bag_of_words import BagOfWords
from unmask_text.methods.mlm import MLM
from unmask_text.terms.bag_of_words import BagOfWordsTerm, bags
from unmask_text.tokenizer import TextTokenizer


def make(settings, given_mask=None, hidden=None, **options):
    torch.manual_seed(0)
    if given_mask is not None:
        options |= {"mask": given_mask(hidden), "corruption": VocabularyCorruption(token=1)}
    return BagOfWords(encoder=TransformersEncoder(settings("bert")), **options).eval()


def test_the_term_is_that_of_every_document_by_itself():
    """Each distinct token of a document counts once, however often it is there."""
    torch.manual_seed(0)
    table, codes = torch.randn(11, 4), torch.randn(7, 6)
    model = SimpleNamespace(encoder=SimpleNamespace(width=6, embedding=table))
    term = BagOfWordsTerm(pool="mean")
    term.start(model)
    with torch.no_grad():
        term.bias.normal_()
    batch = {"ids": torch.tensor([3, 3, 5, 3, 10, 2, 10]), "offsets": torch.tensor([0, 4, 7])}
    tokens = TextTokenizer()(batch | {"word": torch.zeros(7, dtype=torch.long)})
    by_hand = []
    for rows, distinct in ((slice(0, 4), [3, 5]), (slice(4, 7), [2, 10])):
        mean = codes[rows].mean(0)
        hidden = F.layer_norm(term.dense.weight @ mean, (4,))
        by_hand.append(-(table @ hidden + term.bias).log_softmax(-1)[distinct].mean())
    step = Step(tokens, None, None, Latent(codes), None, None)
    assert torch.allclose(term(step, model), torch.stack(by_hand).mean(), rtol=1e-6)
    document, token = bags(tokens)
    assert document.tolist() == [0, 0, 1, 1] and token.tolist() == [3, 5, 2, 10]


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_packed_equals_padded(pool, settings, documents, dense, some_hidden, given_mask, shake):
    batch = documents()
    model = make(settings, given_mask, some_hidden(batch), pool=pool, weight=0.5)
    shake(model)
    packed, padded = (model.step(one, 0) for one in (batch, dense(batch)))
    assert torch.allclose(packed.terms["bag_of_words"], padded.terms["bag_of_words"], rtol=1e-5)
    plain = model.loss(packed.prediction, packed.target)
    assert torch.allclose(packed.loss.total, plain.total + 0.5 * packed.terms["bag_of_words"], rtol=1e-6)
    assert torch.equal(packed.loss.per_token, plain.per_token)


def test_the_term_reaches_the_encoder_and_the_shared_table(settings, documents):
    model = make(settings, weight=0.5, pool="mean")
    (term,) = model.terms.values()
    term(model.step(documents(), 0), model).backward()
    assert model.encoder.embedding.grad.abs().sum() > 0
    assert term.dense.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in (model.predictor.dense.weight, model.predictor.bias))


def test_any_method_on_documents_takes_the_term(settings, documents):
    torch.manual_seed(0)
    model = MLM(encoder=TransformersEncoder(settings("bert")), terms={"bag": BagOfWordsTerm()}).eval()
    step = model.step(documents(), 0)
    assert [*step.terms] == ["bag"] and step.loss.total > model.loss(step.prediction, step.target).total
    with pytest.raises(ValueError, match=r"`encoder` must have token embeddings, .* but is a SimpleNamespace"):
        BagOfWordsTerm().start(SimpleNamespace(encoder=SimpleNamespace(width=4)))


class TestBagOfWordsTerm(TermContract):
    @pytest.fixture(autouse=True)
    def _given(self, settings, documents):
        self.settings, self.documents = settings, documents

    def make(self):
        return BagOfWordsTerm()

    def model(self):
        torch.manual_seed(0)
        return MLM(encoder=TransformersEncoder(self.settings("bert"))).eval()

    def step(self):
        return self.model().step(self.documents(), 0)


def test_wrong_settings_are_told(settings):
    with pytest.raises(ValueError, match="`weight` must be above 0, but is 0"):
        make(settings, weight=0)
    with pytest.raises(ValueError, match="`pool` must be 'cls' or 'mean', but is 'max'"):
        make(settings, pool="max")
