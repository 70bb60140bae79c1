"""Loss and every gradient equal those of transformers' models at the same weights, inputs and masks."""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
)

from unmask import Corruption
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.exchange import from_transformers, generator_to_transformers, to_transformers
from unmask_text.methods.electra import ELECTRA
from unmask_text.methods.mlm import MLM

CLS, SEP, MASK = 2, 3, 4
ALL_KINDS = ["bert", "roberta", "modernbert", "electra", "deberta-v2"]


def build(kind, settings, hidden, given_mask, corruption=None):
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings(kind))
    return MLM(encoder=encoder, mask=given_mask(hidden), corruption=corruption or VocabularyCorruption(token=1))


def theirs_of(ours, settings, kind):
    """Their model with our weights, attending as transformers does by default."""
    options = {name: value for name, value in settings(kind).items() if name != "model_type"}
    theirs = AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **options))
    assert theirs.config._attn_implementation in ("sdpa", "eager")
    missing = theirs.load_state_dict(to_transformers(ours), strict=False)
    assert not missing.unexpected_keys
    assert not [name for name in missing.missing_keys if "position_ids" not in name], missing
    return theirs.train()


def rows_of(batch, values, pad, before, after):
    """Packed values as rows ``[B, 2 + N]`` with those of special tokens around them."""
    parts = values.split(batch["offsets"].diff().tolist())
    around = [torch.cat([values.new_tensor([before]), part, values.new_tensor([after])]) for part in parts]
    return torch.nn.utils.rnn.pad_sequence(around, batch_first=True, padding_value=pad)


def their_inputs(batch, shown, hidden, pad):
    labels = torch.where(hidden, batch["ids"], -100)
    real = rows_of(batch, torch.ones_like(shown), 0, 1, 1)
    return {
        "input_ids": rows_of(batch, shown, pad, CLS, SEP),
        "attention_mask": real,
        "labels": rows_of(batch, labels, -100, -100, -100),
    }


def assert_same_gradients(mapped, theirs, tolerance=1e-5):
    compared = 0
    for name, parameter in theirs.named_parameters():
        scale = parameter.grad.abs().max().item()
        assert scale > 0 or "key.bias" in name, name
        torch.testing.assert_close(
            mapped[name],
            parameter.grad,
            rtol=tolerance,
            atol=max(tolerance * scale, 1e-8),
            msg=lambda m, n=name: f"{n}: {m}",
        )
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("form", ["packed", "padded"])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_mlm_equals_transformers(kind, form, settings, documents, dense, some_hidden, given_mask, shake):
    batch = documents()
    hidden = some_hidden(batch)
    ours = build(kind, settings, hidden, given_mask)
    shake(ours)
    assert ours.encoder.reads_rows == (kind != "deberta-v2")
    theirs = theirs_of(ours, settings, kind)

    step = ours.step(batch if form == "packed" else dense(batch))
    shown = batch["ids"].masked_fill(hidden, MASK)
    output = theirs(**their_inputs(batch, shown, hidden, ours.encoder.model.config.pad_token_id))
    torch.testing.assert_close(step.loss.total, output.loss, rtol=1e-5, atol=0)

    step.loss.total.backward()
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    mapped = to_transformers(ours, gradients)
    names = {name for name, _ in theirs.named_parameters()}
    assert names == set(mapped)
    assert_same_gradients(mapped, theirs)


def test_sliding_windows_matter(settings, documents):
    """The test above says something about windows: with another width, ModernBERT's codes differ."""
    batch = documents()
    torch.manual_seed(0)
    narrow = TransformersEncoder(settings("modernbert")).eval()
    wide = TransformersEncoder(settings("modernbert", local_attention=64)).eval()
    wide.load_state_dict(narrow.state_dict())
    tokens = MLM(encoder=narrow).tokenizer(batch)
    codes = [encoder(tokens).values.split(batch["offsets"].diff().tolist()) for encoder in (narrow, wide)]
    assert not torch.equal(codes[0][2], codes[1][2])  # 30 tokens
    windowed = narrow.model.config.sliding_window
    assert windowed == 4


@pytest.mark.parametrize(
    "corruption", [VocabularyCorruption(token=0.8, random=0.1, keep=0.1), VocabularyCorruption(swap=1)]
)
def test_what_is_shown_is_what_transformers_reads(corruption, settings, documents, some_hidden, given_mask, shake):
    batch = documents()
    hidden = some_hidden(batch, 0.6)
    ours = build("bert", settings, hidden, given_mask, corruption)
    shake(ours)
    theirs = theirs_of(ours, settings, "bert")
    seen = []
    handle = ours.encoder.model.embeddings.word_embeddings.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    step = ours.step(batch, 0)
    handle.remove()
    mask = step.mask
    from unmask_text.corruption import shown_ids

    shown = shown_ids(batch["ids"], mask, batch["offsets"], MASK)
    assert sorted(seen[0][0].tolist()) == sorted([*shown.tolist(), *[CLS, SEP] * 5])
    output = theirs(**their_inputs(batch, shown, hidden, 0))
    torch.testing.assert_close(step.loss.total, output.loss, rtol=1e-5, atol=0)


def test_electra_equals_the_pair_of_transformers(settings, documents, some_hidden, given_mask, shake):
    """The generator's loss is that of ElectraForMaskedLM; the discriminator's, on the same drawn tokens, that
    of ElectraForPreTraining's logits on the documents' tokens; gradients of their weighted sum agree."""
    batch = documents()
    hidden = some_hidden(batch)
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings("electra"))
    ours = ELECTRA(
        encoder=encoder, generator_ratio=0.5, mask=given_mask(hidden), corruption=VocabularyCorruption(token=1)
    )
    shake(ours)
    assert ours.generator.encoder.width == 16
    assert ours.generator.encoder.embedding is ours.encoder.embedding

    options = {name: value for name, value in settings("electra").items() if name != "model_type"}
    discriminator = ElectraForPreTraining(ElectraConfig(**options))
    generator = ElectraForMaskedLM(
        ElectraConfig(**options | {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32})
    )
    discriminator.load_state_dict(to_transformers(ours), strict=True)
    generator.load_state_dict(generator_to_transformers(ours), strict=True)
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.generator_lm_head.weight = discriminator.electra.embeddings.word_embeddings.weight

    read = []
    handle = ours.encoder.model.register_forward_pre_hook(lambda m, x, k: read.append(k["input_ids"]), with_kwargs=True)
    step = ours.step(batch, 0)
    handle.remove()

    inputs = their_inputs(batch, batch["ids"].masked_fill(hidden, MASK), hidden, 0)
    their_mlm = generator(**inputs)
    places = rows_of(batch, torch.ones_like(batch["ids"]), 0, 0, 0).bool()
    rows = inputs["input_ids"].clone()
    rows[places] = filled(ours, batch, hidden)
    assert sorted(read[0][0].tolist()) == sorted(rows[inputs["attention_mask"].bool()].tolist())
    logits = discriminator(rows, attention_mask=inputs["attention_mask"]).logits
    replaced = (rows[places] != batch["ids"]).float()
    assert 0 < replaced.sum() <= hidden.sum()  # those guessed rightly are original
    assert torch.equal(step.target, replaced.long())
    total = their_mlm.loss + 50 * F.binary_cross_entropy_with_logits(logits[places], replaced)
    torch.testing.assert_close(step.loss.total, total, rtol=1e-5, atol=0)

    step.loss.total.backward()
    total.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert_same_gradients(to_transformers(ours, gradients), discriminator)
    mapped = generator_to_transformers(ours, gradients)
    shared = dict(discriminator.named_parameters())
    mapped |= {name: p.grad for name, p in shared.items() if "embeddings." in name}
    mapped["generator_lm_head.weight"] = generator.generator_lm_head.weight.grad
    assert_same_gradients(mapped, generator)


def filled(ours, batch, hidden):
    """The tokens that the step has drawn, drawn again from the same seed."""
    shown = ours.step(batch, 0).given.shown.tokens.values
    assert torch.equal(shown[~hidden], batch["ids"][~hidden])
    return shown


def test_a_right_guess_counts_as_original(settings, documents, some_hidden, given_mask):
    """A generator that knows the answer leaves nothing to find."""
    batch = documents()
    ours = ELECTRA(encoder=TransformersEncoder(settings("electra")), mask=given_mask(some_hidden(batch)))
    with torch.no_grad():  # one answer for all, and documents of that token alone
        ours.generator.predictor.bias[50] = 1e4
    step = ours.step(batch | {"ids": torch.full_like(batch["ids"], 50)}, 0)
    assert step.target.sum() == 0
    other = ours.step(batch | {"ids": torch.full_like(batch["ids"], 51)}, 0)
    assert torch.equal(other.target.bool(), other.mask.hidden)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_weights_map_both_ways(kind, settings, shake):
    ours = MLM(encoder=TransformersEncoder(settings(kind)))
    shake(ours)
    other = MLM(encoder=TransformersEncoder(settings(kind)))
    theirs = theirs_of(ours, settings, kind)
    found = from_transformers(other, theirs.state_dict())
    other.load_state_dict(found, strict=False)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    short = {
        name: tensor for name, tensor in theirs.state_dict().items() if "LayerNorm" not in name and "norm" not in name
    }
    with pytest.raises(ValueError, match="must have"):
        from_transformers(other, short)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_pretraining_goes_on_from_local_weights(kind, settings, documents, some_hidden, given_mask, shake, tmp_path):
    """A folder of transformers' gives encoder and head: the first loss is the loss of the model that was saved."""
    batch = documents()
    hidden = some_hidden(batch)
    before = build(kind, settings, hidden, given_mask)
    shake(before)
    theirs_of(before, settings, kind).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer"):
        MLM(pretrained=str(tmp_path))
    encoder = TransformersEncoder(path=str(tmp_path), cls_id=CLS, sep_id=SEP, mask_id=MASK)
    alone = MLM(encoder=encoder, mask=given_mask(hidden), corruption=VocabularyCorruption(token=1))
    state = before.state_dict()
    for name, tensor in alone.encoder.state_dict().items():
        assert torch.equal(tensor, state[f"encoder.{name}"]), name
    whole = MLM(
        encoder=TransformersEncoder(settings(kind)),
        pretrained=str(tmp_path),
        mask=given_mask(hidden),
        corruption=VocabularyCorruption(token=1),
    )
    first, second, third = (model.eval().step(batch).loss.total for model in (before, whole, alone))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_an_encoder_alone_has_no_head_to_go_on_from(settings, tmp_path):
    ours = MLM(encoder=TransformersEncoder(settings("bert")))
    copy.deepcopy(ours.encoder.model).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="with its head"):
        MLM(encoder=ours.encoder, pretrained=str(tmp_path))


def test_gradients_of_the_loss_scale(settings, documents, some_hidden, given_mask):
    """What comes from above multiplies the gradients, as for any loss (accumulation, loss scaling)."""
    batch = documents()
    ours = build("bert", settings, some_hidden(batch), given_mask)
    ours.step(batch).loss.total.backward()
    once = {name: p.grad.clone() for name, p in ours.named_parameters()}
    ours.zero_grad()
    (ours.step(batch).loss.total * 3).backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, 3 * once[name], msg=name)
    loss = ours.step(batch).loss.total
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_core_corruptions_serve_as_well(settings, documents, some_hidden, given_mask):
    batch = documents()
    hidden = some_hidden(batch)
    ours = build("bert", settings, hidden, given_mask)
    tokens = ours.tokenizer(batch)
    mask = Corruption(token=1)(tokens, ours.mask(tokens)).mask
    assert torch.equal(
        ours.encoder(tokens, mask).values, ours.encoder(tokens, ours.corruption(tokens, ours.mask(tokens)).mask).values
    )
