"""Nothing of a hidden pixel reaches the codes, in any encoder and under any corruption."""

import pytest
import torch

from unmask import Corruption
from unmask.masks import BlockMask, ColorNoiseMask, GridMask, MultiBlockMask, RandomMask
from unmask.testing import masked
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.methods import IJEPA, MAE, SimMIM
from unmask_vision.tokenizer import PatchTokenizer

SIDE = 32
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
NAMES = {
    "plain": ("vit_tiny_patch16_224", SMALL),
    "registers": ("vit_medium_patch16_reg4_gap_256", SMALL),
    "rotary": ("vit_small_patch16_dinov3", SMALL),
    "rotary-mixed": ("vit_small_patch16_rope_mixed_224", SMALL),
    "shared-bias": ("vit_srelpos_small_patch16_224", SMALL),
}


def codes(encoder, tokenizer, image, mask):
    with torch.no_grad():
        latent = encoder(tokenizer(image), mask)
    return [latent.values] + ([] if latent.prefix is None else [latent.prefix])


def assert_no_leak(encoder, tokenizer, mask, image):
    """Codes bit-equal whatever the hidden pixels are, not-a-number included."""
    encoder.eval()
    layout = tokenizer(image).layout
    patch = tokenizer.patch_size
    hidden = mask.hidden.view(-1, 1, *layout.shape)
    covered = hidden.repeat_interleave(patch, 2).repeat_interleave(patch, 3).expand_as(image)
    before = codes(encoder, tokenizer, image, mask)
    for other in (torch.rand_like(image), torch.full_like(image, float("nan"))):
        after = codes(encoder, tokenizer, torch.where(covered, other, image), mask)
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old, new)
    # The test can fail: a visible pixel does change the codes.
    seen = codes(encoder, tokenizer, torch.where(covered, image, image + 0.1), mask)
    assert not torch.equal(before[0], seen[0])


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("sampler", [RandomMask(0.6), BlockMask(0.4), GridMask(2), ColorNoiseMask(0.7)], ids=repr)
def test_vit_drops_hidden_patches(kind, sampler):
    torch.manual_seed(0)
    name, options = NAMES[kind]
    encoder = ViTEncoder(name, SIDE, 4, options=options)
    tokenizer = PatchTokenizer(4)
    image = torch.rand(3, 3, SIDE, SIDE)
    mask = masked(tokenizer(image), sampler, Corruption(drop=1), 1)
    assert_no_leak(encoder, tokenizer, mask, image)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "corruption", [Corruption(token=1), Corruption(token=0.5, random=0.5)], ids=["token", "random"]
)
def test_vit_replaces_hidden_patches(kind, corruption):
    torch.manual_seed(0)
    name, options = NAMES[kind]
    encoder = ViTEncoder(name, SIDE, 4, mask_token=True, options=options)
    tokenizer = PatchTokenizer(4)
    image = torch.rand(3, 3, SIDE, SIDE)
    mask = masked(tokenizer(image), RandomMask(0.6), corruption, 0)
    assert_no_leak(encoder, tokenizer, mask, image)


def test_swinv2_replaces_hidden_patches():
    torch.manual_seed(0)
    options = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
    encoder = SwinV2Encoder("swinv2_tiny_window8_256", 64, options=options)
    tokenizer = PatchTokenizer(4)
    image = torch.rand(2, 3, 64, 64)
    mask = masked(tokenizer(image), RandomMask(0.6, unit=8), Corruption(token=1), 0)
    assert_no_leak(encoder, tokenizer, mask, image)


@pytest.mark.parametrize(
    "method",
    [
        lambda: MAE(size="tiny", image_size=64, patch_size=8),
        lambda: IJEPA(size="tiny", image_size=64, patch_size=8),
        lambda: SimMIM(image_size=64, patch_size=8),
    ],
    ids=["mae", "ijepa", "simmim"],
)
def test_predictions_of_a_whole_step_do_not_see_hidden_pixels(method):
    torch.manual_seed(0)
    model = method().eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        first = model.step({"image": image}, 5)
        cells = first.mask.hidden.view(-1, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
        other = torch.where(cells.expand_as(image), torch.rand_like(image), image)
        second = model.step({"image": other}, 5)
    assert torch.equal(first.prediction.values, second.prediction.values)
    assert not torch.equal(first.target, second.target)


def test_a_model_that_would_leak_is_refused():
    with pytest.raises(ValueError, match="convolutional stem"):
        ViTEncoder("vit_small_r26_s32_224")


def test_dropping_is_refused_where_it_cannot_be_exact():
    image = torch.rand(2, 3, SIDE, SIDE)
    tokens = PatchTokenizer(4)(image)
    mask = MultiBlockMask()(tokens)
    per_block_bias = ViTEncoder("vit_relpos_small_patch16_224", SIDE, 4, options=SMALL)
    with pytest.raises(ValueError, match="vit_srelpos"):
        per_block_bias(tokens, mask)
    swin = SwinV2Encoder("swinv2_tiny_window8_256", SIDE, options={"embed_dim": 16, "num_heads": (1, 1, 1, 1)})
    with pytest.raises(ValueError, match="`drop`"):
        swin(tokens, mask)
