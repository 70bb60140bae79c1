"""Packed, padded and one by one: the same numbers. Documents do not see each other."""

import pytest
import torch

from unmask import Latent
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.encoders.attention import packed_attention
from unmask_text.encoders.packing import Packing
from unmask_text.heads.span_boundary import SpanBoundaryHead, SpanBoundaryLoss
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.methods.mae_lm import MAELM
from unmask_text.methods.mdlm import MDLM
from unmask_text.methods.mlm import MLM
from unmask_text.tokenizer import TextTokenizer

ALL_KINDS = ["bert", "roberta", "modernbert", "electra", "deberta-v2"]
ROW_KINDS = ALL_KINDS[:-1]


def make(kind, settings, hidden, given_mask, method="mlm"):
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings(kind))
    mask = given_mask(hidden)
    if method == "mae-lm":
        return MAELM(encoder=encoder, mask=mask).eval()
    if method == "spanbert":
        head = SpanBoundaryHead(VocabularyHead.matching(encoder), encoder.width, position_width=8, longest=3)
        head.tie(encoder.embedding)
        return MLM(
            encoder=encoder,
            mask=mask,
            predictor=head,
            loss=SpanBoundaryLoss(),
            corruption=VocabularyCorruption(token=1),
        ).eval()
    return MLM(encoder=encoder, mask=mask, corruption=VocabularyCorruption(token=1)).eval()


@pytest.mark.parametrize(
    ("kind", "method"),
    [(kind, method) for kind in ALL_KINDS for method in ("mlm", "spanbert")] + [(kind, "mae-lm") for kind in ROW_KINDS],
)
def test_packed_equals_padded(kind, method, settings, documents, dense, some_hidden, given_mask, shake):
    """Codes, losses per token, total and gradients, to 1e-5."""
    batch = documents()
    model = make(kind, settings, some_hidden(batch), given_mask, method)
    shake(model)
    rows = dense(batch)
    results = []
    for form in (batch, rows):
        model.zero_grad()
        step = model.step(form)
        step.loss.total.backward()
        results.append((step, {name: p.grad.clone() for name, p in model.named_parameters()}))
    (packed, first), (padded, second) = results
    torch.testing.assert_close(packed.loss.total, padded.loss.total, rtol=1e-5, atol=0)
    seen = rows["valid"] if padded.latent.seen is None else padded.latent.seen.valid
    torch.testing.assert_close(packed.latent.values, padded.latent.values[seen], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed.latent.prefix, padded.latent.prefix, rtol=1e-5, atol=1e-5)
    asked = padded.mask.asked.valid
    torch.testing.assert_close(packed.loss.per_token, padded.loss.per_token[asked], rtol=1e-4, atol=1e-5)
    assert (padded.loss.per_token[~asked] == 0).all()
    for name, gradient in first.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(gradient, second[name], rtol=1e-5, atol=1e-5 * scale + 1e-8, msg=name)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [(kind, shown) for kind in ALL_KINDS for shown in ("token", "nothing hidden")]
    + [(kind, "dropped") for kind in ROW_KINDS],  # another test says that DeBERTa refuses
)
def test_each_document_as_if_it_were_alone(kind, shown, settings, documents, some_hidden, given_mask):
    batch = documents()
    hidden = some_hidden(batch)
    model = make(kind, settings, hidden, given_mask)
    corruption = VocabularyCorruption(drop=1) if shown == "dropped" else VocabularyCorruption(token=1)
    read = model.tokenizer(batch)
    mask = None if shown == "nothing hidden" else corruption(read, model.mask(read)).mask
    latent = model.encoder(read, mask)
    kept = batch["offsets"] if shown != "dropped" else counted(~hidden, batch["offsets"])
    for i, (start, end) in enumerate(zip(batch["offsets"], batch["offsets"][1:], strict=False)):
        own = {
            "ids": batch["ids"][start:end],
            "word": batch["word"][start:end],
            "offsets": torch.tensor([0, end - start]),
        }
        tokens = model.tokenizer(own)
        alone = None if mask is None else corruption(tokens, given_mask(hidden[start:end])(tokens)).mask
        code = model.encoder(tokens, alone)
        torch.testing.assert_close(code.values, latent.values[kept[i] : kept[i + 1]], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(code.prefix[0], latent.prefix[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_changing_one_document_leaves_the_others_bit_equal(kind, settings, documents, dense, some_hidden, given_mask):
    batch = documents()
    model = make(kind, settings, some_hidden(batch), given_mask)
    start, end = batch["offsets"][2:4].tolist()
    other = batch | {"ids": batch["ids"].clone()}
    other["ids"][start:end] = (other["ids"][start:end] + 7) % 90 + 5
    with torch.no_grad():
        first, second = (model.step(one).latent for one in (batch, other))
        row, changed = (model.step(dense(one)).latent for one in (batch, other))
    untouched = torch.ones(len(batch["ids"]), dtype=torch.bool)
    untouched[start:end] = False
    assert torch.equal(first.values[untouched], second.values[untouched])
    assert not torch.equal(first.values[~untouched], second.values[~untouched])
    others = torch.tensor([0, 1, 3, 4])
    assert torch.equal(first.prefix[others], second.prefix[others])
    assert torch.equal(row.values[others], changed.values[others])


def test_gradients_stay_in_their_document(settings, documents, some_hidden, given_mask):
    """Changing a document leaves the gradient that other documents give to its own tokens at exactly zero."""
    batch = documents()
    model = make("bert", settings, some_hidden(batch), given_mask)
    table = model.encoder.embedding
    apart = batch["ids"] % 40 + torch.where(torch.arange(len(batch["ids"])) < batch["offsets"][1], 50, 5)
    latent = model.encoder(model.tokenizer(batch | {"ids": apart}))
    latent.values[batch["offsets"][1] :].square().sum().backward()
    assert (table.grad[50:90] == 0).all()
    assert (table.grad[apart[batch["offsets"][1] :]] != 0).any()


def test_the_row_by_hand():
    """Documents of 2, 1 and 2 tokens: the one of 1 comes first, those of 2 side by side, nothing is padded."""
    packing = Packing.of(torch.tensor([2, 1, 2]))
    assert packing.runs == [(1, 3), (2, 4)]
    assert packing.num_rows == 11
    assert packing.lay(torch.tensor([10, 11, 20, 30, 31]), 1, 2).tolist() == [1, 20, 2, 1, 10, 11, 2, 1, 30, 31, 2]
    assert packing.boundaries.tolist() == [0, 3, 7, 11]
    places, real = packing.rectangle()
    assert places.tolist() == [[3, 4, 5, 6], [0, 1, 2, 0], [7, 8, 9, 10]]
    assert real.sum(1).tolist() == [4, 3, 4]


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_layers(kind, settings, documents):
    """Every layer's codes are those that transformers reports; asking for one runs none above it."""
    batch = documents()
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings(kind)).eval()
    tokens = TextTokenizer()(batch)
    ran = []
    for name, module in encoder.model.named_modules():
        if name.split(".")[-1].isdigit():
            module.register_forward_hook(lambda m, x, y, name=name: ran.append(name.split(".")[-1]))
    with torch.no_grad():
        codes = [encoder(tokens, layer=layer).values for layer in (1, 2, 3)]
        assert len(ran) <= 1 + 2 + 3
        last = encoder(tokens).values
        one = {name: values[:19] for name, values in batch.items() if name != "offsets"}
        encoder.model.set_attn_implementation("eager")
        ids = torch.tensor([[2, *one["ids"].tolist(), 3]])
        states = encoder.model(ids, output_hidden_states=True).hidden_states
    for code, state in zip(codes[:2], states[1:3], strict=True):
        torch.testing.assert_close(code[:19], state[0, 1:-1], rtol=1e-4, atol=1e-5)
    if kind == "modernbert":  # its last layer is followed by a norm, which is not the layer's own output
        codes[2] = encoder.model.final_norm(codes[2])
    torch.testing.assert_close(codes[2], last)
    for layer in (0, 4):
        with pytest.raises(ValueError, match=r"\[1, 3\]"):
            encoder(tokens, layer=layer)


def test_models_whose_layers_share_weights_have_no_layer_of_their_own(settings, documents):
    albert = {
        "model_type": "albert",
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    encoder = TransformersEncoder(albert | {"intermediate_size": 64, "embedding_size": 16}).eval()
    tokens = TextTokenizer()(documents())
    assert encoder(tokens).values.shape == (75, 32)
    with pytest.raises(ValueError, match="share weights"):
        encoder(tokens, layer=2)


def test_other_encoders_of_transformers(settings, documents, some_hidden, given_mask):
    """Any encoder by its settings: those that take positions in rows, others padded."""
    batch = documents()
    hidden = some_hidden(batch)
    common = {
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    in_rows = {
        "xlm-roberta": common | {"pad_token_id": 1, "type_vocab_size": 1},
        "distilbert": {"vocab_size": 97, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        "mpnet": common,
    }
    for kind, options in in_rows.items():
        torch.manual_seed(0)
        encoder = TransformersEncoder({"model_type": kind, **options}).eval()
        tokens = TextTokenizer()(batch)
        mask = VocabularyCorruption(token=1)(tokens, given_mask(hidden)(tokens)).mask
        whole = encoder(tokens, mask).values
        start, end = batch["offsets"][2:4].tolist()
        own = {
            "ids": batch["ids"][start:end],
            "word": batch["word"][start:end],
            "offsets": torch.tensor([0, end - start]),
        }
        one = TextTokenizer()(own)
        alone = VocabularyCorruption(token=1)(one, given_mask(hidden[start:end])(one)).mask
        torch.testing.assert_close(encoder(one, alone).values, whole[start:end], rtol=1e-5, atol=1e-5)


def test_pooling(settings, documents, dense):
    batch = documents()
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings("bert")).eval()
    tokenizer = TextTokenizer()
    with torch.no_grad():
        tokens, rows = tokenizer(batch), tokenizer(dense(batch))
        for how in ("mean", "max", "cls", "mean+max"):
            first, second = encoder(tokens).pool(how, tokens.places), encoder(rows).pool(how, rows.places)
            torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_dropping_is_refused_where_positions_cannot_be_given(settings, documents, some_hidden, given_mask):
    batch = documents()
    encoder = TransformersEncoder(settings("deberta-v2"))
    tokens = TextTokenizer()(batch)
    with pytest.raises(ValueError, match="`drop`"):
        encoder(tokens, VocabularyCorruption(drop=1)(tokens, given_mask(some_hidden(batch))(tokens)).mask)


def test_mistakes_are_told(settings, documents):
    with pytest.raises(ValueError, match="Exactly one"):
        TransformersEncoder()
    with pytest.raises(ValueError, match="model_type"):
        TransformersEncoder({"hidden_size": 32})
    with pytest.raises(ValueError, match=r"nearest: .*`modernbert`"):
        TransformersEncoder({"model_type": "modern-bert"})
    with pytest.raises(ValueError, match=r"`mask_id` must be in \[0, 97\)"):
        TransformersEncoder(settings("bert"), mask_id=97)
    with pytest.raises(ValueError, match=r"at most 28 tokens .* but one has 30"):
        TransformersEncoder(settings("bert", max_position_embeddings=30))(TextTokenizer()(documents()))
    with pytest.raises(ValueError, match="at most 27 tokens"):  # a RoBERTa's table begins with two of padding
        TransformersEncoder(settings("roberta", max_position_embeddings=31))(TextTokenizer()(documents()))
    encoder = TransformersEncoder(settings("bert"))
    with pytest.raises(ValueError, match="through the encoder"):
        encoder.model(torch.tensor([[2, 5, 3]]))
    with pytest.raises(ValueError, match="`size`"):
        MLM(encoder=encoder, size="base")
    with pytest.raises(ValueError, match="`size` must be one of"):
        MLM(size="huge")
    with pytest.raises(ValueError, match="`drop`"):
        MLM(encoder=encoder, corruption=VocabularyCorruption(drop=1)).step(documents())
    assert isinstance(encoder(TextTokenizer()(documents())), Latent)
    assert MDLM(encoder=encoder).predictor.excluded_id == encoder.mask_id


@pytest.mark.parametrize("window", [None, 5])
def test_attention_in_bfloat16_is_close(window):
    packing = Packing.of(torch.tensor([19, 7, 30, 7]))
    q, k, v = torch.randn(3, 1, 4, packing.num_rows, 32, generator=torch.Generator().manual_seed(0)).unbind(0)
    for scaling in (None, 0.3):
        options = {"sliding_window": window, "scaling": scaling, "packing": packing}
        exact, _ = packed_attention(torch.nn.Identity(), q, k, v, None, **options)
        half, _ = packed_attention(torch.nn.Identity(), *(x.bfloat16() for x in (q, k, v)), None, **options)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), exact, rtol=2e-2, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 5])
def test_the_kernel_of_gpus_gives_the_same_numbers(window):
    packing = Packing.of(torch.tensor([19, 7, 30, 7], device="cuda"))
    q, k, v = torch.randn(3, 1, 4, packing.num_rows, 32, device="cuda").unbind(0)
    module = torch.nn.Identity()
    slow, _ = packed_attention(module, q, k, v, None, sliding_window=window, packing=packing)
    half = [x.bfloat16() for x in (q, k, v)]
    fast, _ = packed_attention(module, *half, None, sliding_window=window, packing=packing)
    torch.testing.assert_close(fast.float(), slow, rtol=2e-2, atol=2e-2)


def counted(kept, offsets):
    return torch.nn.functional.pad(kept.long().cumsum(0), (1, 0))[offsets]
