"""GMML: hidden patches are noise or another image, and are restored without being marked."""

import torch

from unmask import Corruption
from unmask.corruptions import StandIns
from unmask.predictors import LinearPredictor
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import GMML, SimMIM


def made(kind=GMML, mask_token=False, **options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, mask_token=mask_token, options=sizes)
    return kind(patch_size=4, encoder=encoder, **options).eval()


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_shown_as_a_token_it_is_simmim_bit_for_bit(given_mask, some_hidden):
    parts = {
        "mask": given_mask(some_hidden(4, 16, 9)),
        "mask_token": True,
        "predictor": LinearPredictor(32, 48),
    }
    ours, simmim = (made(kind, corruption=Corruption(token=1), **parts) for kind in (GMML, SimMIM))
    simmim.load_state_dict(ours.state_dict())
    assert torch.equal(ours.step(images(), 0).loss.total, simmim.step(images(), 0).loss.total)


def test_the_loss_by_hand(given_mask, some_hidden):
    """The encoder reads the next image's pixels where they are visible; errors are of the clean ones."""
    hidden = some_hidden(4, 16, 5)
    hidden[1] = ~hidden[0] & some_hidden(4, 16, 9)[1]  # none of the first image's hidden patches
    model = made(mask=given_mask(hidden), corruption=StandIns(other=1), layers=[1])
    step = model.step(images(), 0)
    tokens = model.tokenizer(images()).values
    shown = step.given.shown.tokens.values
    assert torch.equal(shown[0], torch.where(hidden[0, :, None], tokens[1], tokens[0]))
    with torch.no_grad():
        loss = 0.0
        for layer, decoder in ((None, model.predictor), (1, model.objectives["block_1"].predictor)):
            x = model.encoder(step.given.shown.tokens, None, layer).values  # as if nothing were hidden
            # Rows of fewer hidden patches count by their number.
            loss = loss + (decoder.net(step.tokens, x) - tokens)[hidden].abs().mean()
    torch.testing.assert_close(step.loss.total, loss)
    first, second = model.predictor.parameters(), model.objectives["block_1"].predictor.parameters()
    assert not any(one is other for one, other in zip(first, second, strict=True))
    assert len(GMML(size="tiny", image_size=32).objectives) == 3  # blocks 6, 8 and 10


def test_shares_of_the_default_mask_and_stand_ins():
    model = made()
    step = model.step(images(300), 0)
    share = step.mask.hidden.float().mean(1)
    assert float(share.min()) > 0.49 and float(share.max()) < 0.77
    shown, clean = step.given.shown.tokens.values, step.tokens.values
    assert torch.equal(shown[~step.mask.hidden], clean[~step.mask.hidden])
    hidden = shown[step.mask.hidden]
    pixels = (model.tokenizer.image(shown, step.tokens.layout) > 1.001) | (
        model.tokenizer.image(shown, step.tokens.layout) < -0.001
    )
    assert pixels.any() and len(hidden)  # noise leaves the range of images
    known = torch.cdist(hidden, clean.flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist").amin(1) < 1e-4
    assert abs(float(known.float().mean()) - 0.3) < 0.03


class TestGMML(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()
