"""CroCo and CroCo v2: one view is completed with the help of another."""

import pytest
import torch
from torch import nn

from unmask import Latent, Mask, Tokens
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.nn import sincos
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask.testing import MethodContract
from unmask_vision.data import DigitsData, TwoViews
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE, CroCo, CroCoV2
from unmask_vision.methods.croco import completes


def encoder(rotary=False, **options):
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False, "global_pool": "avg", **options}
    if rotary:
        return ViTEncoder("vit_small_patch16_rope_224", 16, 4, options={**options, "init_values": None})
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options={**options, "fc_norm": False})


def made(kind=CroCo, mask=None):
    torch.manual_seed(0)
    rotary = kind is CroCoV2
    decoder = (
        completes(32, 48, 24, 2, 3, 100.0 if rotary else None) if not rotary else completes(32, 48, 24, 2, 2, 100.0)
    )
    mask = mask or RandomMask(ratio=0.75)
    masks = MaskByPart({"first": mask, "second": NoMask()})
    return kind(patch_size=4, encoder=encoder(rotary), predictor=decoder, mask=masks).eval()


def views(*names, size=16):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(3, 3, size, size, generator=generator) for name in names}


@pytest.fixture
def hidden(some_hidden):
    return some_hidden(3, 16, 13)


class TestCroCo(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return views("image", "second")


class TestCroCoV2(MethodContract):
    def make(self):
        return made(CroCoV2)

    def batch(self):
        return views("image", "second")


def test_the_step_equals_torchs_decoder_layers(given_mask, hidden):
    """`nn.TransformerDecoderLayer` with norms first on these weights, its memory normed; the loss on normalised pixels
    of hidden patches, all by other code than the step's."""
    model, batch = made(mask=given_mask(hidden)), views("image", "second")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    step = model.step(batch, 0)
    first, second = (model.tokenizer.patches({"image": batch[name]}) for name in ("image", "second"))
    predictor = model.predictor
    with torch.no_grad():
        table = sincos(first.layout, 16, 24)
        memory = predictor.embed(model.encoder(second).values) + table
        x = predictor.mask_token.repeat(3, 16, 1)
        x[~hidden] = predictor.embed(model.encoder(first, step.mask.part("first")).values).flatten(0, 1)
        x = x + table
        for block in predictor.blocks:
            theirs = nn.TransformerDecoderLayer(24, 3, 96, activation="gelu", batch_first=True, norm_first=True).eval()
            for norm in (theirs.norm1, theirs.norm2, theirs.norm3):
                norm.eps = 1e-6
            own = {name: value for name, value in block.state_dict().items() if not name.startswith("norm_memory")}
            theirs.load_state_dict(own)
            x = theirs(x, block.norm_memory(memory))
        answers = predictor.head(predictor.norm(x))[hidden]
        pixels = first.values[hidden]
        mean, var = pixels.mean(-1, keepdim=True), pixels.var(-1, keepdim=True)
        loss = (answers - (pixels - mean) / (var + 1e-6).sqrt()).square().mean()
    torch.testing.assert_close(step.prediction.part("first").values.flatten(0, 1), answers)
    torch.testing.assert_close(step.loss.total, loss)


@pytest.mark.parametrize("kind", [CroCo, CroCoV2])
def test_no_hidden_pixel_reaches_the_answers_and_all_of_the_second_view_does(given_mask, hidden, kind):
    model, batch = made(kind, given_mask(hidden)), views("image", "second")
    covered = hidden.view(3, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    unknown = torch.where(covered, torch.nan, batch["image"])
    answers = model.step(batch, 0).prediction.part("first").values
    assert torch.equal(model.step({**batch, "image": unknown}, 0).prediction.part("first").values, answers)
    for other in ({"image": torch.where(covered, batch["image"], 0.5)}, {"second": 1 - batch["second"]}):
        assert not torch.equal(model.step({**batch, **other}, 0).prediction.part("first").values, answers)


def test_with_rotary_positions_alone_answers_move_with_what_is_seen():
    """Nine patches in a grid of 36, the rest padding: wherever they lie, the answers are the same."""
    model = made(CroCoV2)
    assert model.encoder.vit.pos_embed is None
    pixels = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    answers = []
    for row in (1, 3):
        seen, hidden = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
        seen[:, row : row + 3, 1:4] = True
        hidden[:, row : row + 2, 1:3] = True
        image = torch.zeros(1, 3, 24, 24)
        image[..., 4 * row : 4 * row + 12, 4:16] = pixels
        tokens = model.tokenizer.patches({"image": image})
        masks = {name: Mask(one.flatten(1), valid=seen.flatten(1))
                 for name, one in (("first", hidden), ("second", hidden & ~hidden))}  # fmt: skip
        with torch.no_grad():
            latent = Latent.join({name: model.encoder(tokens, mask) for name, mask in masks.items()})
            places = Tokens.join(dict.fromkeys(masks, tokens)).places
            answers.append(model.predictor(latent, places, Mask.join(masks)).part("first").values)
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-5)


def test_two_views_of_one_image():
    torch.manual_seed(0)
    image = torch.rand(3, 20, 20)
    made_ = TwoViews(size=16, jitter=0.0)({"image": image, "label": 3})
    assert (made_["image"].shape, made_["second"].shape, made_["label"]) == ((3, 16, 16), (3, 16, 16), 3)
    assert not torch.equal(made_["image"], made_["second"])
    whole = TwoViews(size=20, scale=(1.0, 1.0), flip=False, jitter=0.0)({"image": torch.rand(1, 20, 20)})
    assert torch.equal(whole["image"], whole["second"])
    # Brightness and contrast: a line through the pixels' values, another one for each view.
    bright = TwoViews(size=20, scale=(1.0, 1.0), flip=False, jitter=0.2)({"image": 0.4 + 0.1 * image[:1]})
    first, second = bright["image"].flatten(), bright["second"].flatten()
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1] - 1) < 1e-4
    assert not torch.allclose(first, second)
    ints = TwoViews(size=20, jitter=0.5)({"image": (image * 255).byte()})
    assert ints["second"].dtype == torch.uint8
    with pytest.raises(ValueError, match=r"`jitter` must be in \[0, 1\], but is 2"):
        TwoViews(jitter=2.0)


@pytest.mark.slow
def test_a_shifted_second_view_helps():
    """Digits moved by one patch: the second view tells what is hidden of the first, a single view can but guess."""
    pytest.importorskip("sklearn")
    data = DigitsData(batch_size=64)
    data.prepare_data()
    data.setup("fit")
    images = torch.stack([sample["image"] for sample in data.splits.train])

    def small():
        options = {"embed_dim": 64, "depth": 1, "num_heads": 4, "class_token": False, "global_pool": "avg"}
        options["fc_norm"] = False
        return ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, positions="sincos", options=options)

    losses = []
    for kind, predictor, mask in (
        (CroCo, completes(64, 4, 64, 1, 4), MaskByPart({"first": RandomMask(0.75), "second": NoMask()})),
        (MAE, TransformerPredictor(64, 4, 64, 1, 4), RandomMask(0.75)),
    ):
        torch.manual_seed(0)
        model = kind(patch_size=2, channels=1, encoder=small(), predictor=predictor, mask=mask, target=ValueTarget())
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        recent = []
        for number in range(500):
            some = images[torch.randint(len(images), (32,))]
            optimizer.zero_grad()
            loss = model.step({"image": some, "second": some.roll(2, -1)}, number).loss.total
            loss.backward()
            optimizer.step()
            recent.append(loss.item())
        losses.append(sum(recent[-20:]) / 20)
    assert losses[0] < 0.2 * losses[1]
