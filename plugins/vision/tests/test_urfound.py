"""UrFound: pixels at twice the resolution, and words from the mean code."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.v2 import functional as V

from unmask import Mask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask.testing import MethodContract, shaken
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE, UrFound
from unmask_vision.report import HIDDEN, PADDING, ReportTerm
from unmask_vision.targets import FineTarget
from unmask_vision.tokenizer import PatchTokenizer

REPORTS = ["mild bleeding near the fovea", "no bleeding", "drusen"]


def made(kind=UrFound, width=192, **options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=sizes)
    predictor = TransformerPredictor(32, width, width=24, depth=1, num_heads=2)
    if kind is UrFound:
        words = {"report_width": 24, "report_depth": 2, "report_heads": 3, "reports": REPORTS}
        options = {**words, **options}
    return shaken(kind(patch_size=4, encoder=encoder, predictor=predictor, **options)).eval()


def images(side=32):
    image = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    return {"image": image, "label": torch.tensor([0, 2, 1, 0])}


def test_without_words_and_at_one_scale_it_is_mae_bit_for_bit(given_mask, some_hidden):
    parts = {"mask": given_mask(some_hidden(4, 16, 12)), "width": 48}
    ours = made(target=FineTarget(PatchTokenizer(4)), report_weight=0.0, **parts)
    mae = made(MAE, target=ValueTarget(True), **parts)
    own = {name: x for name, x in ours.state_dict().items() if not name.startswith("terms")}
    mae.load_state_dict(own)
    assert torch.equal(ours.step(images(16), 0).loss.total, mae.step(images(16), 0).loss.total)


def test_a_target_is_the_right_window_of_the_larger_image():
    tokens = made().tokenizer(images())
    assert tokens.layout.shape == (4, 4)
    assert torch.equal(
        tokens.values,
        PatchTokenizer(4)({"image": V.resize(images()["image"], [16, 16], V.InterpolationMode.BICUBIC)}).values,
    )
    step = made(target=FineTarget(PatchTokenizer(8, 3, [0.0] * 3, [1.0] * 3), normalize=False)).step(images(), 0)
    for b in range(4):
        for m, place in enumerate(step.mask.asked.index[b].tolist()):
            row, column = divmod(place, 4)
            window = images()["image"][b, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert torch.equal(step.target[b, m], window.permute(1, 2, 0).flatten())


def test_the_loss_of_words_by_torchs_own_layers():
    model = made()
    step = model.step(images(), 0)
    term = model.terms["report"]
    words = term.words(images())
    assert words[1].tolist() == [term.vocabulary.index("drusen") + 2, *[PADDING] * 4]
    hidden = term.hidden(words, step.mask.streams().named("report"))
    assert hidden.sum(1).tolist() == [2, 1, 1, 2]  # half of 5, rounded to even, of 1 and of 2 words
    assert not (hidden & (words == PADDING)).any()
    with torch.no_grad():
        code = step.latent.values.mean(1)
        x = term.embed.weight[torch.where(hidden, HIDDEN, words)] + term.place[0] + term.offset(code)[:, None]
        for block in term.trunk.blocks:
            layer = nn.TransformerEncoderLayer(24, 3, 96, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True).eval()
            names = {
                "self_attn.in_proj_": "attn.qkv.",
                "self_attn.out_proj.": "attn.proj.",
                "linear1.": "mlp.fc1.",
                "linear2.": "mlp.fc2.",
                "norm1.": "norm1.",
                "norm2.": "norm2.",
            }
            state = block.state_dict()
            layer.load_state_dict(
                {f"{a}{end}": state[f"{b}{end}"] for a, b in names.items() for end in ("weight", "bias")}
            )
            x = layer(x, src_key_padding_mask=words == PADDING)
        scores = term.trunk.norm(x) @ term.embed.weight.T + term.bias
        expected = F.cross_entropy(scores[hidden], words[hidden])
    torch.testing.assert_close(step.terms["report"], expected)


def test_words_reach_the_encoder_and_hidden_pixels_reach_no_words(given_mask, some_hidden):
    model = made(mask=given_mask(some_hidden(4, 16, 12)))
    model.loss_weight = 0.0
    model.step(images(), 0).loss.total.backward()
    assert model.encoder.vit.blocks[0].attn.qkv.weight.grad.any()
    tokens = model.tokenizer(images())
    changed = torch.where(model.mask.hidden[..., None], torch.rand_like(tokens.values), tokens.values)
    mask = Mask(model.mask.hidden)
    with torch.no_grad():
        before, after = (
            model.encoder(type(tokens)(values, tokens.layout), mask).pool("mean") for values in (tokens.values, changed)
        )
    assert torch.equal(before, after)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="A batch must have `label` for the reports"):
        made().step({"image": images()["image"]}, 0)
    with pytest.raises(ValueError, match="one for each of 4 classes, but has 3"):
        made().step({**images(), "label": torch.tensor([0, 1, 2, 3])}, 0)
    with pytest.raises(ValueError, match="at least one word for each class"):
        ReportTerm(["", "drusen"])
    with pytest.raises(ValueError, match="but cut them on a Grid"):
        made(target=FineTarget(PatchTokenizer(4))).step(images(), 0)


class TestUrFound(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()
