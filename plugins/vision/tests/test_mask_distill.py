"""MaskDistill: a teacher's features at hidden places, by one layer."""

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

from unmask import Encoder, Latent
from unmask.masks import BlockMask
from unmask.targets import EMATeacher, FrozenTeacher
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MaskDistill
from unmask_vision.resized import ResizedTokenizer
from unmask_vision.tokenizer import PatchTokenizer

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 24, "patch_size": 6}


class Theirs(Encoder):
    """A model of transformers on patches of ours, as a person would wrap it."""

    width, num_layers = 48, 2

    def __init__(self, model):
        super().__init__()
        self.model, self.patches = model, PatchTokenizer(6)

    def forward(self, tokens, mask=None, layer=None):
        normal = self.patches.image(tokens.values, tokens.layout)
        pixels = (normal - self.patches.mean) / self.patches.std
        return Latent(self.model(pixels).last_hidden_state[:, 1:])


def encoder():
    options = {"embed_dim": 32, "depth": 2, "num_heads": 4, "rel_pos_type": "bias", "shared_rel_pos": True}
    return ViTEncoder("vit_relpos_base_patch16_cls_224", 16, 4, mask_token=True, options=options)


def fixed(make, *sizes):
    """The same weights whatever has been drawn before, as a file would have them."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return make(*sizes)


def made(**options):
    torch.manual_seed(0)
    return MaskDistill(patch_size=4, encoder=encoder(), **{"mask": BlockMask(0.4, min_block=2), **options})


class TestMaskDistill(MethodContract):
    lr = 3e-3

    def make(self):
        return made(teacher=fixed(encoder))

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


@pytest.mark.parametrize(("kind", "config"), [(CLIPVisionModel, CLIPVisionConfig), (Dinov2Model, Dinov2Config)])
def test_features_of_a_model_of_transformers_that_sees_larger_images(kind, config, given_mask, some_hidden):
    """24 pixels in patches of 6 are as many as 16 in patches of 4."""
    hidden = some_hidden(3, 16, 6)
    torch.manual_seed(1)
    theirs = kind(config(**SIZES)).eval()
    own = ResizedTokenizer(PatchTokenizer(6), 24)
    ours = made(teacher=Theirs(theirs), teacher_tokenizer=own, mask=given_mask(hidden)).eval()
    image = torch.rand(3, 3, 16, 16)
    larger = F.interpolate(image, (24, 24), mode="bicubic", antialias=True, align_corners=False)
    normal = (larger - own.patches.mean) / own.patches.std
    with torch.no_grad():
        step = ours.step({"image": image})
        feature = theirs(normal).last_hidden_state[:, 1:][hidden].view(3, 6, 48)
    target = F.layer_norm(feature, [48])
    torch.testing.assert_close(step.target, target, rtol=1e-4, atol=1e-4)
    answer = ours.predictor.head(step.latent.values)[hidden].view(3, 6, 48)
    torch.testing.assert_close(step.loss.total, F.smooth_l1_loss(answer, target), rtol=1e-4, atol=1e-6)


def test_a_size_that_gives_other_patches_is_refused():
    teacher = ViTEncoder("vit_tiny_patch16_224", 24, 6, options={"embed_dim": 48, "depth": 1})
    ours = made(teacher=teacher, teacher_tokenizer=ResizedTokenizer(PatchTokenizer(6), 30))
    with pytest.raises(ValueError, match="must give 16 tokens, as the student's does, but gives 25"):
        ours.step({"image": torch.rand(2, 3, 16, 16)}, 0)
    with pytest.raises(ValueError, match="`size` must be at least 6, but is 4"):
        ResizedTokenizer(PatchTokenizer(6), 4)


def test_who_teaches():
    assert isinstance(made().target, EMATeacher)
    assert isinstance(made(teacher=encoder()).target, FrozenTeacher)
    with pytest.raises(ValueError, match="`teacher_run` must be left out when `teacher` is given"):
        made(teacher=encoder(), teacher_run="runs/other")
    with pytest.raises(ValueError, match="`teacher_run` must be left out when `target` is given"):
        made(target=EMATeacher(), teacher_run="runs/other")


def test_a_teacher_is_left_out_of_the_checkpoint():
    names = [name for name in made(teacher=encoder()).state_dict() if name.startswith("target.")]
    assert names == ["target.teacher.fingerprint"]
