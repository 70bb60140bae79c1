"""BEiT equals transformers' on shared weights; its first stage learns a book that names patches."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers import BeitConfig, BeitForMaskedImageModeling

from unmask import Corruption, Draws, Linear, Progress
from unmask.api import load_run, main
from unmask.masks import BlockMask
from unmask.testing import MethodContract, PredictorContract, TargetContract, shaken
from unmask_vision.encoders import DVAEEncoder, ViTEncoder, VQEncoder
from unmask_vision.exchange.names import encoder_map
from unmask_vision.methods import DVAE, VQVAE, BEiT
from unmask_vision.predictors import ConvPredictor
from unmask_vision.targets import CodeTarget
from unmask_vision.tokenizer import PatchTokenizer

SMALL = {"num_codes": 24, "codes_width": 8, "codes_hidden_width": 8, "codes_depth": 1}


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def made(**options):
    torch.manual_seed(0)
    name = options.pop("name", "vit_tiny_patch16_224")
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, **options.pop("sizes", {})}
    encoder = ViTEncoder(name, 16, 4, mask_token=True, options=sizes)
    return BEiT(patch_size=4, encoder=encoder, **{"mask": BlockMask(0.4, min_block=2), **SMALL, **options}).eval()


@pytest.mark.parametrize("positions", ["table", "shared bias"])
def test_it_equals_transformers(positions, given_mask, some_hidden):
    """Loss and every gradient, at the same mask and ids."""
    hidden = some_hidden(4, 16, 6)
    shared = positions == "shared bias"
    relative = {
        "name": "vit_relpos_base_patch16_cls_224",
        "sizes": {"rel_pos_type": "bias", "shared_rel_pos": True, "qkv_bias": True, "init_values": 0.1},
    }
    table = {"sizes": {"init_values": 0.1}}
    ours = shaken(made(mask=given_mask(hidden), **(relative if shared else table)))
    config = BeitConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        image_size=16,
        patch_size=4,
        layer_norm_eps=1e-6,
        use_mask_token=True,
        use_mean_pooling=True,  # the one norm is that before the head
        use_absolute_position_embeddings=not shared,
        use_shared_relative_position_bias=shared,
        layer_scale_init_value=0.1,
        drop_path_rate=0.0,
    )
    theirs = BeitForMaskedImageModeling(config).eval()
    rename = encoder_map(ours, beit=True)

    def mapped(state):
        out = {}
        for name, tensor in state.items():
            if name.startswith("encoder."):
                for new, x in rename(name, tensor).items():
                    out[new if new.startswith("layernorm.") else f"beit.{new}"] = x
            elif name.startswith("predictor."):
                out[name.replace("predictor.head", "lm_head")] = tensor
        return out

    missing, unexpected = theirs.load_state_dict(mapped(ours.state_dict()), strict=False)
    assert not unexpected and not [name for name in missing if "relative_position_index" not in name]
    step = ours.step(images(), 0)
    output = theirs(
        ours.tokenizer.image(step.tokens.values, step.tokens.layout).sub(ours.tokenizer.mean).div(ours.tokenizer.std),
        bool_masked_pos=hidden,
        labels=step.target.flatten(),
    )
    torch.testing.assert_close(step.loss.total, output.loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(step.prediction.values, output.logits[hidden].view(4, 6, 24), rtol=1e-4, atol=1e-5)
    step.loss.total.backward()
    output.loss.backward()
    gradients = mapped({name: p.grad for name, p in ours.named_parameters() if p.grad is not None})
    compared = 0
    for name, parameter in theirs.named_parameters():
        if parameter.grad is None:
            continue
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-5 * scale + 1e-8, msg=name)
        compared += 1
    assert compared > 30


def test_ids_are_those_of_the_whole_clean_image(given_mask, some_hidden):
    hidden = some_hidden(4, 16, 6)
    model = made(mask=given_mask(hidden))
    step = model.step(images(), 0)
    with torch.no_grad():
        scores = model.target.codes.net(step.tokens)
    assert torch.equal(step.target, scores.argmax(-1)[hidden].view(4, 6))
    assert len(step.target.unique()) > 1
    assert not any(p.requires_grad for p in model.target.parameters())


def test_the_default_hides_75_of_196_patches():
    """floor(196 * 0.6) = 117 stay, so 79 are hidden: the paper's 75 are a share of 75 / 196."""
    tokens = PatchTokenizer(16)({"image": torch.rand(2, 3, 224, 224)})
    mask = BlockMask(ratio=75 / 196)(tokens, draws=Draws.of(0, torch.arange(2)))
    assert mask.hidden.sum(1).tolist() == [75, 75]


# The first stage.


def stage(kind=DVAE, **options):
    torch.manual_seed(0)
    return kind(patch_size=4, num_codes=24, width=8, hidden_width=16, depth=1, **options)


def test_a_step_of_the_dvae_by_hand():
    """In training a Gumbel softmax at the temperature; else the entry of the highest score."""
    model = stage(temperature=0.5, use_weight=0.3)
    for training in (False, True):
        step = model.train(training).step(images(), 3)
        tokens = model.tokenizer(images())
        scores = model.encoder.net(tokens)
        noise = step.mask.streams().named("codes").gumbel(16, 24)
        weights = ((scores + noise) / 0.5).softmax(-1) if training else F.one_hot(scores.argmax(-1), 24).float()
        decoded = model.predictor.net(tokens, weights @ model.encoder.book)
        use = scores.softmax(-1).mean((0, 1))
        even = math.log(24) + (use * use.log()).sum()
        expected = (decoded - tokens.values).square().mean() + 0.3 * even
        torch.testing.assert_close(step.loss.total, expected, rtol=1e-5, atol=1e-6)


def test_a_step_of_the_vq_vae_by_hand():
    model = stage(VQVAE, use_weight=0.5, beta=0.25)
    step = model.step(images(), 3)
    tokens = model.tokenizer(images())
    vector = F.normalize(model.encoder.net(tokens), dim=-1)
    book = F.normalize(model.encoder.book, dim=-1)
    nearest = torch.cdist(vector, book).argmin(-1)
    assert torch.equal(model.encoder.ids(tokens), nearest)
    entry = book[nearest]
    decoded = model.predictor.net(tokens, entry)
    distance = (vector - entry).square().mean()
    expected = (decoded - tokens.values).square().mean() + 0.5 * 1.25 * distance
    torch.testing.assert_close(step.loss.total, expected, rtol=1e-5, atol=1e-6)
    # The decoder's gradient goes straight through to the vectors, and the book has that of the distance alone.
    model.zero_grad()
    step = model.step(images(), 3)
    (step.loss.total - 0.5 * step.terms["commitment"]).backward()
    assert model.encoder.net.head.weight.grad.any()
    grad = torch.autograd.grad(model.terms["commitment"](model.step(images(), 3), model), model.encoder.book)[0]
    assert grad[nearest.unique()].any(-1).all()


def test_the_temperature_follows_its_schedule_and_is_kept():
    model = stage(temperature=Linear(start=1.0, end=0.5))
    assert float(model.encoder.now) == 1.0
    assert model.encoder.update(model, Progress(step=5, total_steps=10)) == {"temperature": 0.75}
    other = stage(temperature=Linear(start=1.0, end=0.5))
    other.load_state_dict(model.state_dict())
    assert float(other.encoder.now) == 0.75


def test_both_stages_by_one_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--trainer.max_steps", "3", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--config", "vision/vq-vae-digits", *few, "--out", "codes"]) == 0
    kind = ["--model.codes", "vq-vae", "--model.codes_run", "codes", "--model.codes_recipe", "null"]
    assert main(["fit", "--config", "vision/beit-digits", *few, *kind, "--out", "beit"]) == 0
    assert "First stage: codes, trained on the same data." in capsys.readouterr().out
    first, second = (load_run(name).model for name in ("codes", "beit"))
    assert bool(second.target.taken)
    for name, tensor in first.encoder.state_dict().items():
        assert torch.equal(tensor, second.target.codes.state_dict()[name])
    missing = ["--model.codes_run", "elsewhere", "--model.codes_recipe", "null"]
    assert main(["fit", "--config", "vision/beit-digits", *few, *missing, "--out", "other"]) != 0
    assert "`codes_run` must be the folder of a finished run of `vision.dvae`" in capsys.readouterr().err


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="`num_codes` must be at least 2, but is 1"):
        DVAEEncoder(num_codes=1)
    with pytest.raises(ValueError, match="`temperature` must be above 0, but is 0"):
        DVAEEncoder(num_codes=4, temperature=0)
    with pytest.raises(ValueError, match="`codes` must be one of dvae, vq-vae, but is 'vqvae'; nearest: vq-vae"):
        made(codes="vqvae")


class TestBEiT(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()


class TestDVAE(MethodContract):
    lr = 1e-2

    def make(self):
        return stage(temperature=0.5)

    def batch(self):
        return images()


class TestVQVAE(MethodContract):
    lr = 1e-2

    def make(self):
        return stage(VQVAE)

    def batch(self):
        return images()


def test_codes_are_drawn_by_the_seed_in_training():
    model = stage(temperature=0.5).train()
    first, again, other = (model.step(images(), seed).loss.total for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class TestCodeTarget(TargetContract):
    def make(self):
        return CodeTarget(VQEncoder(24, 8, 4, 3, 8, 1))

    def tokens(self):
        return PatchTokenizer(4)(images())


class TestConvPredictor(PredictorContract):
    encoder_width = 32
    corruptions = (Corruption(token=1),)

    def make(self):
        return ConvPredictor(32, 48, 8, 1)

    def tokens(self):
        return PatchTokenizer(4)(images())
