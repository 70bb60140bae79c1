"""A2MIM: mean colours, an added token, and a loss of spectra that equals its authors' package."""

import pytest
import timm
import torch
from focal_frequency_loss import FocalFrequencyLoss

from unmask import Corruption
from unmask.losses import FocalL1Loss, L1Loss
from unmask.masks import RandomMask
from unmask.testing import MethodContract, shaken
from unmask_vision.encoders import CNNEncoder, ViTEncoder
from unmask_vision.methods import A2MIM, SimMIM


def made(kind=A2MIM, given=None, **options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    given = given or ({"added_token": True} if kind is A2MIM else {"mask_token": True})
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, options=sizes, **given)
    return kind(patch_size=4, encoder=encoder, **options).eval()


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


@pytest.fixture
def mask(given_mask, some_hidden):
    return given_mask(some_hidden(4, 16, 10))


def test_with_tokens_and_without_spectra_it_is_simmim_bit_for_bit(mask):
    plain = {"given": {"mask_token": True}, "mask": mask, "corruption": Corruption(token=1)}
    ours, simmim = made(**plain, frequency_weight=0.0), made(SimMIM, mask=mask)
    simmim.load_state_dict(ours.state_dict())
    assert torch.equal(ours.step(images(), 0).loss.total, simmim.step(images(), 0).loss.total)


def test_the_loss_of_spectra_is_that_of_the_authors_package(mask):
    model = made(mask=mask)
    step = model.step(images(), 0)
    everywhere = step.objectives["frequency"]
    hidden = step.mask.hidden[..., None]
    answers = everywhere.prediction.values
    mixed = torch.where(hidden, answers, 0.5 * answers.detach() + 0.5 * step.tokens.values)

    def image(values):
        return (model.tokenizer.image(values, step.tokens.layout) - model.tokenizer.mean) / model.tokenizer.std

    package = FocalFrequencyLoss(alpha=1.0, ave_spectrum=True, log_matrix=True, batch_matrix=True)
    theirs = package(image(mixed), image(step.tokens.values))
    torch.testing.assert_close(step.terms["frequency"], theirs.detach(), rtol=1e-4, atol=1e-6)
    l1 = (answers - step.tokens.values)[step.mask.hidden].abs().mean()
    torch.testing.assert_close(step.loss.total, l1 + 0.1 * theirs, rtol=1e-4, atol=1e-6)


def test_hidden_patches_have_the_mean_colour_of_visible_ones(mask):
    model = made(mask=mask)
    step = model.step(images(), 0)
    hidden = step.mask.hidden
    covered = hidden.view(4, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    shown = model.tokenizer.image(step.given.shown.tokens.values, step.tokens.layout)
    for image, clean, cover in zip(shown, images()["image"], covered, strict=True):
        mean = clean[:, ~cover].mean(1, keepdim=True)
        torch.testing.assert_close(image[:, cover], mean.expand(-1, int(cover.sum())))


def test_the_token_is_added_at_hidden_places_alone(mask):
    model = made(mask=mask)
    before = model.encoder.vit.blocks[0].register_forward_pre_hook(lambda block, args: seen.append(args[0][:, 1:]))
    seen = []
    model.step(images(), 0)
    with torch.no_grad():
        model.encoder.added_token.add_(1.0)
    model.step(images(), 0)
    before.remove()
    difference = (seen[1] - seen[0]).round(decimals=4)
    assert torch.equal(difference, model.mask.hidden[..., None].float().expand_as(difference))
    # With nothing hidden it has no part.
    codes = model.embed(images()).values
    with torch.no_grad():
        model.encoder.added_token.add_(1.0)
    assert torch.equal(model.embed(images()).values, codes)


def test_windows_are_refused():
    with pytest.raises(ValueError, match="`backbone` must be one of vit, resnet, but is 'swinv2'"):
        A2MIM(backbone="swinv2")


class TestA2MIM(MethodContract):
    def make(self):
        return made(mask=RandomMask(0.6))

    def batch(self):
        return images()


# On a CNN.


def of_cnn(kind=A2MIM, added=16, **options):
    torch.manual_seed(0)
    encoder = CNNEncoder("resnet18", levels=1, mask_token=kind is SimMIM, added_token=added)
    return kind(encoder=encoder, **{"mask": RandomMask(0.5), **options}).eval()


def larger(count=4):
    return {"image": torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))}


class TestOfCNN(MethodContract):
    def make(self):
        torch.manual_seed(0)
        sizes = {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 16], "kernel_sizes": 3, "patch_size": 1}
        encoder = CNNEncoder("convnextv2_atto", levels=1, stride=4, added_token=2, options=sizes)
        return shaken(A2MIM(encoder=encoder, mask=RandomMask(0.5)))

    def batch(self):
        return images()


def test_on_a_cnn_it_is_simmim_bit_for_bit_without_what_is_new(given_mask, some_hidden):
    mask = given_mask(some_hidden(4, 4, 2))
    options = {"levels": 1, "mask_token": True}
    torch.manual_seed(0)
    ours = A2MIM(
        encoder=CNNEncoder("resnet18", **options), mask=mask, corruption=Corruption(token=1), loss=L1Loss(),
        frequency_weight=0.0,
    ).eval()  # fmt: skip
    simmim = SimMIM(encoder=CNNEncoder("resnet18", **options), mask=mask).eval()
    simmim.load_state_dict(ours.state_dict())
    assert torch.equal(ours.step(larger(), 0).loss.total, simmim.step(larger(), 0).loss.total)


def test_the_token_is_added_after_the_third_stage_of_timms_resnet(given_mask, some_hidden):
    hidden = some_hidden(4, 4, 2)
    model = of_cnn(mask=given_mask(hidden))
    step = model.step(larger(), 0)
    net = timm.create_model("resnet18", num_classes=0).eval()
    net.load_state_dict(model.encoder.net.state_dict())
    shown = model.tokenizer.image(step.given.shown.tokens.values, step.tokens.layout)
    with torch.no_grad():
        x = net.maxpool(net.act1(net.bn1(net.conv1((shown - model.tokenizer.mean) / model.tokenizer.std))))
        x = net.layer3(net.layer2(net.layer1(x)))  # [4, 256, 4, 4]: four cells a patch
        cells = hidden.view(4, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = net.layer4(x + cells * model.encoder.added.token[:, None, None])
    torch.testing.assert_close(step.latent.values, x.flatten(2).mT)
    # With nothing hidden the network is timm's.
    with torch.no_grad():
        plain = net.forward_features((larger()["image"] - model.tokenizer.mean) / model.tokenizer.std)
    torch.testing.assert_close(model.embed(larger()).values, plain.flatten(2).mT)


def test_large_errors_count_more_on_a_cnn():
    model = of_cnn()
    assert isinstance(model.loss, FocalL1Loss)
    step = model.step(larger(), 0)
    distance = (step.prediction.values - step.target).abs()
    focal = (distance * (2 / (1 + torch.exp(-0.2 * distance)) - 1)).mean()
    torch.testing.assert_close(step.loss.total, focal + 0.5 * step.terms["frequency"])
    assert isinstance(made().loss, L1Loss)


def test_an_unknown_stride_is_refused():
    with pytest.raises(ValueError, match=r"`added_token` must be a stride of the model's maps .*, but is 7"):
        of_cnn(added=7)
