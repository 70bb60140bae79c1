"""Nothing of a hidden token reaches the codes, in any encoder and under any corruption that hides it."""

import pytest
import torch

from unmask import Corruption
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.methods.bag_of_words import BagOfWords
from unmask_text.methods.mae_lm import MAELM
from unmask_text.methods.mdlm import MDLM
from unmask_text.methods.mlm import MLM
from unmask_text.methods.spanbert import SpanBERT
from unmask_text.tokenizer import TextTokenizer

ALL_KINDS = ["bert", "roberta", "modernbert", "electra", "deberta-v2"]
CORRUPTIONS = {
    "token": VocabularyCorruption(token=1),
    "random": VocabularyCorruption(token=0.5, random=0.5, vocab_size=97),
    "spans": VocabularyCorruption(token=0.5, random=0.5, vocab_size=97, per_span=True),
    "core's": Corruption(token=1),
    "dropped": VocabularyCorruption(drop=1),
}


def codes(encoder, batch, mask):
    with torch.no_grad():
        latent = encoder(TextTokenizer()(batch), mask)
    return [latent.values, latent.prefix]


@pytest.mark.parametrize("form", ["packed", "padded"])
@pytest.mark.parametrize(
    ("kind", "shown"),
    [(kind, shown) for kind in ALL_KINDS for shown in CORRUPTIONS if (kind, shown) != ("deberta-v2", "dropped")],
)
def test_codes_are_bit_equal_whatever_is_hidden(kind, shown, form, settings, documents, dense, some_hidden, given_mask):
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings(kind)).eval()
    batch = documents()
    hidden = some_hidden(batch)
    sampler = given_mask(hidden)
    other = batch | {"ids": torch.where(hidden, batch["ids"] % 50 + 40, batch["ids"])}
    seen = batch | {"ids": torch.where(hidden, batch["ids"], batch["ids"] % 50 + 40)}
    if form == "padded":
        batch, other, seen = dense(batch), dense(other), dense(seen)
    tokens = TextTokenizer()(batch)
    mask = CORRUPTIONS[shown](tokens, sampler(tokens)).mask
    before, after = codes(encoder, batch, mask), codes(encoder, other, mask)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old, new)
    # The test can fail: a visible token does change the codes, and so does a hidden one that is shown.
    assert not torch.equal(before[0], codes(encoder, seen, mask)[0])
    kept = VocabularyCorruption(keep=1)(tokens, sampler(tokens)).mask
    assert not torch.equal(codes(encoder, batch, kept)[0], codes(encoder, other, kept)[0])


@pytest.mark.parametrize("method", [MLM, SpanBERT, MAELM, MDLM, BagOfWords])
def test_predictions_of_a_whole_step_do_not_see_hidden_tokens(method, settings, documents):
    torch.manual_seed(0)
    options = (
        {"corruption": VocabularyCorruption(token=0.9, random=0.1)} if method in (MLM, SpanBERT, BagOfWords) else {}
    )
    model = method(encoder=TransformersEncoder(settings("bert")), **options).eval()
    batch = documents()
    with torch.no_grad():
        first = model.step(batch, 5)
        other = batch | {"ids": torch.where(first.mask.hidden, batch["ids"] % 50 + 40, batch["ids"])}
        second = model.step(other, 5)
    assert torch.equal(first.mask.hidden, second.mask.hidden)
    assert torch.equal(first.prediction.values, second.prediction.values)
    if method is SpanBERT:
        assert torch.equal(first.prediction.boundary.values, second.prediction.boundary.values)
    assert not torch.equal(first.target, second.target)


def test_swapped_tokens_tell_what_is_hidden_but_stay_in_their_document(settings, documents, given_mask):
    from unmask_text.corruption import shown_ids

    batch = documents()
    hidden = torch.rand(75, generator=torch.Generator().manual_seed(0)) < 0.5
    tokens = TextTokenizer()(batch)
    mask = VocabularyCorruption(swap=1)(tokens, given_mask(hidden)(tokens)).mask
    ids = torch.arange(75)  # every token another
    shown = shown_ids(ids, mask, batch["offsets"], 4)
    assert torch.equal(shown[~hidden], ids[~hidden])
    moved = shown != ids
    assert torch.equal(shown[shown], ids)  # pairs exchange: twice is never
    for start, end in zip(batch["offsets"], batch["offsets"][1:], strict=False):
        inside = shown[start:end]
        assert torch.equal(inside.sort().values, ids[start:end])
        assert moved[start:end].sum() == hidden[start:end].sum() // 2 * 2  # an odd one out is kept
