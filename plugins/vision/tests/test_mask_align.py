"""MaskAlign: mixtures of layers of visible patches meet a teacher's layers; nothing is reconstructed."""

import pytest
import torch
import torch.nn.functional as F

from unmask import parameter_groups
from unmask.api import trainable_embedder
from unmask.predictors import MixturePredictor
from unmask.targets import EMATeacher
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MaskAlign


def encoder(width=32, depth=2):
    options = {"embed_dim": width, "depth": depth, "num_heads": 4}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=options)


def fixed(*sizes):
    """The same weights whatever has been drawn before, as a file would have them."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return encoder(*sizes)


def made(**options):
    torch.manual_seed(0)
    return MaskAlign(patch_size=4, encoder=encoder(), **options)


class TestMaskAlign(MethodContract):
    def make(self):
        return made(teacher=fixed(48, 3))

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_two_layers_by_hand(given_mask, some_hidden):
    hidden = some_hidden(3, 16, 12)
    ours = made(teacher=fixed(48, 2), mask=given_mask(hidden)).eval()
    mixture = torch.tensor([[1.0, 0.5], [-2.0, 0.25]])
    with torch.no_grad():
        torch.testing.assert_close(ours.predictor.mixture.view(2, 2), torch.tensor([[1.01, 0.01], [0.01, 1.01]]))
        ours.predictor.mixture.copy_(mixture.flatten())
        batch = {"image": torch.rand(3, 3, 16, 16)}
        step = ours.step(batch)
        teacher = ours.target.encoder
        first, second = (ours.encoder(step.tokens, step.mask, n).values for n in (1, 2))
        total = 0.0
        for i in range(2):
            answer = ours.predictor.heads[i](mixture[i, 0] * first + mixture[i, 1] * second)  # [B, 4, 48]
            right = F.layer_norm(teacher(step.tokens, None, i + 1).values, [48])[~hidden].view(3, 4, 48)
            total += 2 * F.smooth_l1_loss(answer, right) / 2
    torch.testing.assert_close(step.loss.total, total, rtol=1e-4, atol=1e-6)


def test_patches_that_the_teacher_attends_to_stay_visible_more_often():
    """Shares of many draws, beside those of the definition, drawn by torch."""
    ours = made(teacher=fixed(48, 3)).eval()
    with torch.no_grad():
        for parameter in ours.target.encoder.parameters():
            parameter.mul_(3)  # so that attention is uneven
        tokens = ours.tokenizer({"image": torch.rand(1, 3, 16, 16).expand(4000, -1, -1, -1)})
        chances = ours.target.encoder.attention(tokens)[:, :, 0, 1:].mean(1)  # [B, 16]
    visible = ~ours.mask(tokens).hidden
    assert (visible.sum(1) == 4).all()
    kept = torch.zeros_like(visible).scatter(1, torch.multinomial(chances, 4), True)
    torch.testing.assert_close(visible.float().mean(0), kept.float().mean(0), rtol=0, atol=0.05)
    assert visible.float().mean(0).max() > 1.5 * visible.float().mean(0).min()


def test_no_decoder_and_no_decay_of_the_mixture():
    ours = made(teacher=fixed(48, 3))
    assert {name.split(".")[0] for name, _ in ours.predictor.named_parameters()} == {"mixture", "heads"}
    assert torch.equal(ours.predictor.mixture, torch.full((6,), 0.5)), "3 targets of 2 layers"
    decayed = [p for group in parameter_groups(ours, 1.0, 0.1) if group["decays"] for p in group["params"]]
    assert not any(p is ours.predictor.mixture for p in decayed)


def test_the_last_layers_are_told():
    torch.manual_seed(0)
    ours = MaskAlign(patch_size=4, encoder=encoder(16, 7), teacher=fixed(16, 7))
    assert len(ours.predictor.heads) == 5 and ours.target.layer == [3, 4, 5, 6, 7]
    assert torch.equal(ours.predictor.mixture.view(5, 7), torch.eye(7)[2:] + 0.01)
    assert len(made(teacher=fixed(48, 2), num_aligned=1).predictor.heads) == 1
    with pytest.raises(ValueError, match="`num_aligned` must be at least 1, but is 0"):
        made(num_aligned=0)


def test_the_last_norm_rests_and_is_trained_on_labels():
    ours = made(teacher=fixed(48, 3))
    norm = {"vit.norm.weight", "vit.norm.bias"}
    assert norm.isdisjoint({name for name, p in ours.encoder.named_parameters() if p.requires_grad})
    tuned = {name for name, p in trainable_embedder(ours).encoder.named_parameters() if p.requires_grad}
    plain = {name for name, p in encoder().named_parameters() if p.requires_grad}
    assert norm < tuned == plain
    assert not ours.encoder.vit.norm.weight.requires_grad


def test_what_does_not_fit_is_refused():
    assert isinstance(made().target, EMATeacher)
    with pytest.raises(ValueError, match="`teacher_run` must be left out when `target` is given"):
        made(target=EMATeacher(), teacher_run="runs/other")
    with pytest.raises(ValueError, match="`begin` must be 'mean' for 2 layers and 3 targets, which are more"):
        MixturePredictor(8, 8, 2, 3)
    hidden = made(teacher=fixed(48, 2))
    hidden.ask = "hidden"
    with pytest.raises(ValueError, match="`ask` must be 'visible' for MixturePredictor"):
        hidden.step({"image": torch.rand(2, 3, 16, 16)}, 0)
