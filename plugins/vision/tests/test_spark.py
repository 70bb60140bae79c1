"""SparK: a CNN on visible cells alone, at every scale, statistics of its norms included."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F

from unmask import Corruption, Mask, Places
from unmask.api import made_again
from unmask.masks import RandomMask
from unmask.testing import EncoderContract, MethodContract, PredictorContract, masked, shaken
from unmask_vision.encoders import CNNEncoder, ModuleEncoder
from unmask_vision.methods import SparK
from unmask_vision.tokenizer import PatchTokenizer
from unmask_vision.unet import UNetPredictor

NAMES = {
    "resnet": ("resnet18", {"channels": (8, 8, 16, 16)}),
    "bottleneck": ("resnet26d", {"channels": (4, 4, 8, 8)}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "ls_init_value": 0.5}),
    "convnextv2": ("convnextv2_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}),
    "efficientnet": ("test_efficientnet", {}),
    "regnet": ("regnety_002", {}),
}
SMALL = {"depths": (1, 2, 1, 1), "dims": (8, 16, 8, 8), "kernel_sizes": 3, "patch_size": 1, "ls_init_value": 0.5}


def made(kind, **options):
    torch.manual_seed(0)
    name, own = NAMES[kind]
    return shaken(CNNEncoder(name, options=own, **options), 0.05)


def images(seed=1, batch=3):
    return torch.rand(batch, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def seen_cells(mask, size):
    """By hand: a cell of a map of the 64 x 96 image is visible if its patch of 32 pixels is."""
    visible = ~mask.hidden.view(-1, 2, 3)
    times = size[0] // 2
    return visible.repeat_interleave(times, 1).repeat_interleave(times, 2)


@pytest.mark.parametrize("kind", NAMES)
def test_with_nothing_hidden_maps_are_timms(kind):
    """Bit for bit without a mask, and weights load strictly; with a mask that hides nothing, up to rounding."""
    encoder = made(kind).eval()
    name, options = NAMES[kind]
    peer = timm.create_model(name, num_classes=0, **options).eval()
    peer.load_state_dict(encoder.net.state_dict(), strict=True)
    tokenizer = PatchTokenizer(32)
    tokens = tokenizer(images())
    with torch.no_grad():
        pixels = (images() - tokenizer.mean) / tokenizer.std
        last, maps = peer.forward_intermediates(pixels)
        ours = encoder(tokens)
        nothing = encoder(tokens, Mask(torch.zeros(3, 6, dtype=torch.bool)))
    theirs = [*maps[-4:-1], last]
    assert [tuple(one.shape) for one in ours.pyramid] == [tuple(one.shape) for one in theirs]
    for one, other, masked_one in zip(ours.pyramid, theirs, nothing.pyramid, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(masked_one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())
    assert torch.equal(ours.values, last.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("kind", NAMES)
def test_hidden_pixels_reach_no_scale_and_no_statistic(kind):
    """In training: maps, gradients and running statistics are bit-equal under other hidden pixels, not-a-number too."""
    tokenizer = PatchTokenizer(32)
    image = images()
    mask = masked(tokenizer(image), RandomMask(0.6), Corruption(drop=1))
    covered = (~seen_cells(mask, (64, 96)))[:, None].expand_as(image)
    found = []
    for pixels in (
        image,
        torch.where(covered, images(2), image),
        image.masked_fill(covered, float("nan")),
        image + 0.1,
    ):
        encoder = made(kind).train()
        latent = encoder(tokenizer(pixels), mask)
        sum(one.square().sum() for one in latent.pyramid).backward()
        gradients = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
        found.append([latent.values, *latent.pyramid, *gradients.values(), *encoder.buffers()])
        for level in latent.pyramid:
            cells = seen_cells(mask, level.shape[2:])[:, None].expand_as(level)
            assert not level[~cells].any()
            assert level[cells].abs().sum() > 0
    for other in found[1:3]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    assert not torch.equal(found[0][0], found[3][0])  # visible pixels do


def test_a_block_by_hand():
    """A residual block of a ResNet: outputs times the mask after each layer, and batch statistics of visible cells."""
    encoder = made("resnet", levels=4).train()
    net = encoder.net
    before = copy.deepcopy(net)
    mask = masked(PatchTokenizer(32)(images()), RandomMask(0.5), Corruption(drop=1))
    encoder(PatchTokenizer(32)(images()), mask)

    def normed(norm, x):
        """Mean and variance over visible cells, written out."""
        cells = seen_cells(mask, x.shape[2:])
        rows = x.permute(0, 2, 3, 1)[cells]  # [n, C]
        mean = rows.sum(0) / len(rows)
        spread = (rows - mean).square().sum(0) / len(rows)
        out = torch.zeros_like(x).permute(0, 2, 3, 1)
        out[cells] = (rows - mean) / (spread + norm.eps).sqrt() * norm.weight + norm.bias
        unbiased = spread * len(rows) / (len(rows) - 1)
        statistics.append((0.9 * norm.running_mean + 0.1 * mean, 0.9 * norm.running_var + 0.1 * unbiased))
        return out.permute(0, 3, 1, 2)

    def times_mask(x):
        return x * seen_cells(mask, x.shape[2:])[:, None]

    statistics = []
    tokenizer = PatchTokenizer(32)
    with torch.no_grad():
        x = times_mask((images() - tokenizer.mean) / tokenizer.std)
        x = times_mask(F.max_pool2d(normed(before.bn1, times_mask(before.conv1(x))).relu(), 3, 2, 1))
        for block in before.layer1:
            y = normed(block.bn1, times_mask(block.conv1(x))).relu()
            y = normed(block.bn2, times_mask(block.conv2(y)))
            if block.downsample is not None:
                x = normed(block.downsample[1], times_mask(block.downsample[0](x)))
            x = (y + x).relu()
    first, second = net.layer1
    norms = [net.bn1, first.bn1, first.bn2, first.downsample[1], second.bn1, second.bn2]
    for norm, (mean, variance) in zip(norms, statistics, strict=True):
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)
    again = made("resnet").train()
    torch.testing.assert_close(again(tokenizer(images()), mask).pyramid[0], x, rtol=1e-4, atol=1e-5)


def test_squeeze_and_excitation_is_a_mean_over_visible_cells():
    """A gate that is the mean itself: each visible cell is multiplied by the mean over the visible cells of its map."""
    squeeze = timm.layers.SEModule(4, rd_channels=4, act_layer=torch.nn.Identity, gate_layer=torch.nn.Identity)
    for layer in (squeeze.fc1, squeeze.fc2):
        torch.nn.init.dirac_(layer.weight)
        torch.nn.init.zeros_(layer.bias)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.se = squeeze

        def forward(self, x):
            return self.se(x)

    encoder = ModuleEncoder(Net(), channels=4, image_size=4)
    values = torch.rand(2, 16, 4)
    tokens = PatchTokenizer(1, 4, mean=[0.0] * 4, std=[1.0] * 4)(values.transpose(1, 2).unflatten(2, (4, 4)))
    mask = masked(tokens, RandomMask(0.5), Corruption(drop=1))
    visible = mask.visible.gather(values)  # [2, 8, 4]
    with torch.no_grad():
        codes = encoder(tokens, mask).values
    torch.testing.assert_close(codes, visible * visible.mean(1, keepdim=True))


def test_the_loss_is_the_released_formula():
    """Normalised patches by their unbiased deviation, squared error, mean over hidden ones (released code)."""
    model = spark().eval()
    batch = {"image": images(batch=2)[:, :1, :8, :8]}
    step = model.step(batch, 0)
    patches = model.tokenizer(batch).values
    right = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (step.prediction.values - step.mask.asked.gather(right)).square().mean(-1)
    torch.testing.assert_close(step.loss.total, error.sum() / (step.mask.hidden.sum() + 1e-8))


def test_the_decoder_fills_in_its_tokens_by_hand():
    """One map, patches of one pixel: visible rows normed, hidden ones the token, then 1 x 1 convolutions."""
    torch.manual_seed(0)
    decoder = shaken(UNetPredictor([3], 2, patch_size=1, width=3, norm="layer")).eval()
    level = torch.rand(1, 3, 1, 2)
    hidden = torch.tensor([[False, True]])
    tokens = PatchTokenizer(1, 2)(torch.rand(1, 2, 1, 2))
    from unmask import Latent

    answers = decoder(
        Latent(torch.zeros(1, 1, 3), Places(torch.zeros(1, 1).long()), pyramid=[level]), tokens, Mask(hidden)
    )
    token = decoder.mask_tokens[0].flatten()
    expected = decoder.head.weight[:, :, 0, 0] @ token + decoder.head.bias
    torch.testing.assert_close(answers.values[0, 0], expected)
    everywhere = Mask(hidden, predict=torch.ones(1, 2, dtype=torch.bool))
    both = decoder(Latent(torch.zeros(1, 1, 3), pyramid=[level]), tokens, everywhere).values[0]
    row = F.layer_norm(level[0, :, 0, 0], (3,), decoder.norms[0].weight, decoder.norms[0].bias, 1e-6)
    torch.testing.assert_close(both[0], decoder.head.weight[:, :, 0, 0] @ row + decoder.head.bias)


def spark(**options):
    encoder = CNNEncoder("convnext_atto", channels=1, stride=2, options=SMALL)
    return SparK(channels=1, encoder=encoder, decoder_width=16, **options)


def test_paper_sizes():
    """ResNet-50: patches of 32 pixels, maps 256 to 2048 wide, decoder 768 to 24 wide."""
    with torch.device("meta"):
        net = timm.create_model("resnet50", num_classes=0)
    assert [one["num_chs"] for one in net.feature_info][1:] == [256, 512, 1024, 2048]
    decoder = UNetPredictor([256, 512, 1024, 2048], 32 * 32 * 3, 32)
    assert [block.up.in_channels for block in decoder.blocks] == [768, 384, 192, 96, 48]
    assert decoder.head.in_channels == 24


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CNNEncoder("resnet500"), "`name` must be a model of timm.*nearest: resnet50"),
        (lambda: CNNEncoder("resnet18", options={"widthh": 3}), "`options` do not fit timm's resnet18"),
        (lambda: CNNEncoder("resnet18")(PatchTokenizer(2)(torch.rand(1, 1, 4, 4).expand(1, 3, 4, 4)[:, :3]),
                                        Mask(torch.eye(1, 4) > 0)), "`patch_size` must be 32, the stride"),
        (lambda: CNNEncoder("resnet18", channels=1)(PatchTokenizer(32)(images())), r"patch_size\^2 x 1 values"),
        (lambda: ModuleEncoder("resnett18"), "nearest: resnet"),
        (lambda: ModuleEncoder("resnet18", nodes=["layer5"]), "`nodes` must be nodes of resnet18, but one is 'layer5'"),
        (lambda: ModuleEncoder(torch.nn.Flatten()), r"must return maps \[B, D, rows, columns\]"),
        (lambda: UNetPredictor([8], 12, 3), "`patch_size` must be a power of two, but is 3; nearest: 4"),
        (lambda: UNetPredictor([8], 48, 4, width=7), "`width` must be a multiple of 4.*nearest: 8"),
        (lambda: UNetPredictor([8] * 4, 48, 4), "must name 1 to 3 maps"),
        (lambda: SparK(backbone="resnet18", encoder=CNNEncoder("resnet18")), "`backbone` must be left out"),
    ],
)  # fmt: skip
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_network_with_attention_takes_tokens_and_refuses_to_drop():
    options = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    encoder = CNNEncoder("swin_tiny_patch4_window7_224", 64, mask_token=True, options=options).eval()
    tokens = PatchTokenizer(32)(torch.rand(2, 3, 64, 64))
    with pytest.raises(ValueError, match="`drop` of the corruption must be 0 for SwinTransformer, for WindowAttention"):
        encoder(tokens, Mask(torch.eye(2, 4) > 0))


def test_an_export_is_timms_model(tmp_path):
    from unmask_vision.exchange.timm_format import Timm

    model = SparK(encoder=made("resnet", levels=4), decoder_width=32).eval()
    given = type("Given", (), {"model": model})
    assert Timm().refusal(model) is None
    Timm().save(given, tmp_path / "out")
    read = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    pixels = (images() - model.tokenizer.mean) / model.tokenizer.std
    with torch.no_grad():
        codes = model.embed({"image": images()}).values
        assert torch.equal(read.forward_features(pixels).flatten(2).transpose(1, 2), codes)
    assert "cuts one off" in Timm().refusal(spark())


def test_a_config_makes_the_model_again():
    assert isinstance(made_again(UNetPredictor([8, 16], 4, 2, width=16)), UNetPredictor)


class TestSparK(MethodContract):
    lr = 1e-2

    def make(self):
        return spark(mask=RandomMask(0.5))

    def batch(self):
        return {"image": torch.rand(4, 1, 8, 8)}


class TestCNNEncoder(EncoderContract):
    def make(self):
        return CNNEncoder("convnext_atto", channels=1, stride=2, mask_token=True, options=SMALL)

    def tokens(self):
        return PatchTokenizer(2, 1)(torch.rand(3, 1, 8, 8))


class TestResNet(EncoderContract):
    corruptions = (Corruption(drop=1),)

    def make(self):
        return made("resnet")

    def tokens(self):
        return PatchTokenizer(32)(images())


class Mine(torch.nn.Module):
    """A network of one's own."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.second = torch.nn.Sequential(torch.nn.Conv2d(8, 12, 3, 2, 1), torch.nn.BatchNorm2d(12), torch.nn.ReLU())

    def forward(self, x):
        fine = self.first(x)
        return [fine, self.second(fine)]


class TestModuleEncoder(EncoderContract):
    def make(self):
        return ModuleEncoder(Mine(), channels=1, image_size=8, mask_token=True)

    def tokens(self):
        return PatchTokenizer(2, 1)(torch.rand(3, 1, 8, 8))


class TestTorchvision(EncoderContract):
    corruptions = (Corruption(drop=1), Corruption(token=1))

    def make(self):
        return ModuleEncoder("resnet18", nodes=["layer1", "layer2", "layer3", "layer4"], mask_token=True)

    def tokens(self):
        return PatchTokenizer(32)(images())


class TestUNetPredictor(PredictorContract):
    encoder_width = 16

    def make(self):
        return UNetPredictor([16], 4, 2, width=16)

    def tokens(self):
        return PatchTokenizer(2, 1)(torch.rand(3, 1, 8, 8))
