"""MP3: patches without positions say where they lie."""

import pytest
import torch
from torch import nn

from unmask import Corruption, Mask, Sequence, Tokens
from unmask.predictors import LinearPredictor
from unmask.targets import PlaceIds
from unmask.testing import MethodContract, TargetContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MP3

OPTIONS = {"embed_dim": 32, "num_heads": 2, "class_token": False, "global_pool": "avg", "fc_norm": False}


def encoder(depth=2, **options):
    options = {**OPTIONS, "depth": depth, **options}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="none", options=options, attend_to="visible")


def made(depth=2, **options):
    torch.manual_seed(0)
    model = MP3(patch_size=4, encoder=encoder(depth), predictor=LinearPredictor(32, 16), **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


class TestMP3(MethodContract):
    def make(self):
        return MP3(patch_size=4, encoder=encoder(), predictor=LinearPredictor(32, 16))

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


class TestPlaceIds(TargetContract):
    def make(self):
        return PlaceIds()

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Sequence())


@pytest.mark.parametrize("depth", [1, 2])
def test_the_loss_equals_vit_pytorchs(depth, given_mask, batch):
    """On its weights, with the norms that it has around the embedding left out. Its context stays the embedded patches
    in all layers, where the paper's moves along with them: two layers are compared layer by layer."""
    from vit_pytorch import mp3

    torch.manual_seed(2)
    vit = mp3.ViT(num_classes=1, image_size=16, patch_size=4, dim=32, depth=depth, heads=2, mlp_dim=128, dim_head=16)
    vit.to_patch_embedding = nn.Sequential(vit.to_patch_embedding[0], nn.Linear(48, 32))
    theirs = mp3.MP3(vit, masking_ratio=0.75)
    ours = made(depth)
    ours.load_state_dict(renamed(theirs, ours))
    torch.manual_seed(7)
    order = torch.rand(3, 16).argsort(-1)
    hidden = torch.zeros(3, 16, dtype=torch.bool).scatter(1, order[:, :12], True)
    ours.mask = given_mask(hidden)
    loss = ours.step(batch, 0).loss.total
    image = (batch["image"] - ours.tokenizer.mean) / ours.tokenizer.std
    if depth == 1:
        torch.manual_seed(7)
        torch.testing.assert_close(loss, theirs(image))
        return
    x = vit.to_patch_embedding(image).flatten(1, 2)
    for attend, feed in vit.transformer.layers:
        x = attend(x, context=x[~hidden].view(3, 4, 32)) + x
        x = feed(x) + x
    places = torch.arange(16).repeat(3)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(theirs.mlp_head(x).flatten(0, 1), places))


def renamed(theirs, ours):
    """Their weights under our names; the first of each patch's values are the first pixel's channels there."""
    state = {name: value.clone() for name, value in ours.state_dict().items()}
    patch = theirs.vit.to_patch_embedding[1]
    state["encoder.vit.patch_embed.proj.weight"] = patch.weight.view(32, 4, 4, 3).permute(0, 3, 1, 2)
    state["encoder.vit.patch_embed.proj.bias"] = patch.bias
    for number, (attend, feed) in enumerate(theirs.vit.transformer.layers):
        to = f"encoder.vit.blocks.{number}"
        state[f"{to}.attn.qkv.weight"] = torch.cat([attend.to_q.weight, attend.to_kv.weight])
        state[f"{to}.attn.qkv.bias"] = torch.zeros(96)
        pairs = {"norm1": attend.norm, "attn.proj": attend.to_out[0], "norm2": feed.net[0], "mlp.fc1": feed.net[1]}
        for name, module in {**pairs, "mlp.fc2": feed.net[4]}.items():
            state[f"{to}.{name}.weight"], state[f"{to}.{name}.bias"] = module.weight, module.bias
    for name, module in (("encoder.vit.norm", theirs.mlp_head[0]), ("predictor.head", theirs.mlp_head[1])):
        state[f"{name}.weight"], state[f"{name}.bias"] = module.weight, module.bias
    return state


def test_permuted_patches_have_permuted_answers(batch):
    model = made()
    tokens = model.tokenizer(batch)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    hidden = torch.arange(16).expand(3, -1) % 4 != 0
    answers = []
    for values, some in ((tokens.values, hidden), (tokens.values[:, order], hidden[:, order])):
        given = Tokens(values, tokens.layout)
        mask = Corruption(keep=1)(given, Mask(some, predict=torch.ones_like(some))).mask
        answers.append(model.predictor(model.encoder(given, mask), given.places, mask).values)
    torch.testing.assert_close(answers[1], answers[0][:, order])


def test_nobody_reads_a_hidden_patch_but_itself(given_mask, some_hidden, batch):
    hidden = some_hidden(3, 16, 12)
    model = made(mask=given_mask(hidden))
    covered = hidden.view(3, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(covered, 1 - batch["image"], batch["image"])
    before, after = (model.step({"image": image}, 0).prediction.values for image in (batch["image"], other))
    assert torch.equal(before[~hidden], after[~hidden])
    assert not torch.isclose(before[hidden], after[hidden]).all(-1).any()
    visible = model.step({"image": torch.where(covered, batch["image"], 0.3)}, 0).prediction.values
    assert not torch.isclose(before, visible).all(-1).any()


def test_the_places_are_numbered_row_by_row_within_each_sample(batch):
    assert torch.equal(made().step(batch, 0).target, torch.arange(16).expand(3, -1))
    packed = Tokens(torch.zeros(7, 2), Sequence(), offsets=torch.tensor([0, 3, 7]))
    mask = Mask(torch.tensor([1, 0, 1, 0, 1, 0, 1]).bool())
    assert PlaceIds()(packed, mask).tolist() == [0, 2, 1, 3]


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="`attend_to` must be 'all' or 'visible', but is 'none'"):
        ViTEncoder("vit_tiny_patch16_224", 16, 4, attend_to="none")
    with pytest.raises(ValueError, match="`attend_to` must be 'all' for vit_srelpos_small_patch16_224"):
        ViTEncoder("vit_srelpos_small_patch16_224", 224, attend_to="visible")
    with pytest.raises(ValueError, match="`positions` must be 'timm', 'sincos' or 'none'"):
        ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="some")
