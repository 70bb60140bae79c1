"""UTA: visible codes point where a frozen teacher's do; transformers' CLIP as the teacher."""

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from unmask import Encoder, Latent
from unmask.masks import NoMask
from unmask.targets import EMATeacher, FrozenTeacher
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import UTA
from unmask_vision.tokenizer import PatchTokenizer


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
    return UTA(patch_size=4, encoder=encoder(), **options)


class TestUTA(MethodContract):
    def make(self):
        return made(teacher=fixed(48, 1))

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


class CLIP(Encoder):
    """CLIP's image encoder on patches of ours, as a person would wrap it."""

    width, num_layers = 48, 2

    def __init__(self, model):
        super().__init__()
        self.model, self.patches = model, PatchTokenizer(4)

    def forward(self, tokens, mask=None, layer=None):
        normal = self.patches.image(tokens.values, tokens.layout)
        return Latent(self.model((normal - self.patches.mean) / self.patches.std).last_hidden_state[:, 1:])


def test_clip_teaches_the_visible_patches(given_mask, some_hidden):
    hidden = some_hidden(3, 16, 8)
    torch.manual_seed(1)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16, "patch_size": 4}
    theirs = CLIPVisionModel(CLIPVisionConfig(**sizes)).eval()
    ours = made(teacher=CLIP(theirs), mask=given_mask(hidden)).eval()
    image = torch.rand(3, 3, 16, 16)
    tokenizer = ours.tokenizer
    with torch.no_grad():
        step = ours.step({"image": image})
        feature = theirs((image - tokenizer.mean) / tokenizer.std).last_hidden_state[:, 1:]
        answers = ours.predictor.head(step.latent.values)
    assert answers.shape == (3, 8, 48)
    expected = 1 - F.cosine_similarity(answers, feature[~hidden].view(3, 8, 48), dim=-1).mean()
    torch.testing.assert_close(step.loss.total, expected, rtol=1e-4, atol=1e-5)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    """Nothing hidden, the same weights, and a head that changes nothing: loss and gradients are 0."""
    ours = made(mask=NoMask(), teacher=fixed())
    ours.encoder.load_state_dict(ours.target.encoder.state_dict())
    with torch.no_grad():
        ours.predictor.head.weight.copy_(torch.eye(32))
        ours.predictor.head.bias.zero_()
    step = ours.step({"image": torch.rand(3, 3, 16, 16)}, 0)
    step.loss.total.backward()
    assert step.loss.total.item() == pytest.approx(0, abs=1e-6)
    assert max(one.grad.abs().max() for one in ours.encoder.parameters() if one.grad is not None) < 1e-6
    other = made(mask=NoMask(), teacher=fixed(48, 1)).step({"image": torch.rand(3, 3, 16, 16)}, 0)
    assert other.loss.total > 0.1


def test_who_teaches():
    assert isinstance(made().target, EMATeacher)
    assert isinstance(made(teacher=fixed()).target, FrozenTeacher)
    with pytest.raises(ValueError, match="`teacher_run` must be left out when `target` is given"):
        made(target=EMATeacher(), teacher_run="runs/other")
