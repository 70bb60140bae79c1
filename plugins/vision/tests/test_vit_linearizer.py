"""ViT-Linearizer: selective scans, and the features and relations of a ViT."""

import pytest
import torch
import torch.nn.functional as F
from transformers import MambaConfig, MambaModel

from unmask import Corruption, Grid, Mask, Places, Tokens
from unmask.masks import BlockMask
from unmask.nn import Scan
from unmask.testing import EncoderContract, MethodContract
from unmask_vision.encoders import ScanEncoder, ViTEncoder
from unmask_vision.methods import MaskDistill, ViTLinearizer


def teacher():
    with torch.random.fork_rng():
        torch.manual_seed(7)  # the same weights whatever has been drawn before, as a file would have them
        return ViTEncoder("vit_tiny_patch16_224", 16, 4, options={"embed_dim": 48, "depth": 4, "num_heads": 4})


def made(kind=ViTLinearizer, **options):
    torch.manual_seed(0)
    encoder = ScanEncoder(32, 2, 4, mask_token=True)
    return kind(patch_size=4, encoder=encoder, mask=BlockMask(0.4, min_block=2), **options)


class TestViTLinearizer(MethodContract):
    lr = 3e-3

    def make(self):
        return made(teacher=teacher())

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


class TestScanEncoder(EncoderContract):
    def make(self):
        return ScanEncoder(16, 2, 2, 1, mask_token=True)

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Grid((3, 4)))


def test_scans_equal_transformers_mamba():
    torch.manual_seed(0)
    ours = Scan(32, 3, num_states=4, both_ways=False)
    config = MambaConfig(
        vocab_size=5, hidden_size=32, state_size=4, num_hidden_layers=3, expand=2, conv_kernel=4, use_mambapy=False
    )
    theirs = MambaModel(config).eval()
    state = {
        name.replace("blocks.", "layers.", 1).replace("norm.weight", "norm_f.weight")
        if name.startswith("norm.")
        else name.replace("blocks.", "layers.", 1): tensor
        for name, tensor in ours.state_dict().items()
    }
    left = theirs.load_state_dict(state, strict=False)
    assert not left.unexpected_keys and left.missing_keys == ["embeddings.weight"]
    x = torch.randn(2, 11, 32)
    with torch.no_grad():
        expected = theirs(inputs_embeds=x).last_hidden_state
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)
        later = torch.cat([x[:, :7], torch.randn(2, 4, 32)], dim=1)
        assert torch.equal(ours(later)[:, :7], ours(x)[:, :7]), "one way alone"
        assert not torch.equal(Scan(32, 1)(later)[:, :7], Scan(32, 1)(x)[:, :7])


def test_fillers_change_nothing():
    """A row that is filled up has the codes that it has alone."""
    torch.manual_seed(0)
    encoder = ScanEncoder(16, 2, 2, 1).eval()
    tokens = Tokens(torch.randn(2, 12, 4), Grid((3, 4)))
    hidden = torch.zeros(2, 12, dtype=torch.bool)
    hidden[0, 5:] = hidden[1, 9:] = True
    both = encoder(tokens, Mask(hidden))
    assert both.seen.valid.sum(1).tolist() == [5, 9]
    alone = encoder(Tokens(tokens.values[:1], tokens.layout), Mask(hidden[:1]))
    torch.testing.assert_close(both.values[0, :5], alone.values[0], rtol=1e-5, atol=1e-6)
    assert isinstance(both.seen, Places)


def test_work_grows_with_the_number_of_patches():
    """Twice as many tokens: twice as many multiplications, not four times."""
    from torch.utils.flop_counter import FlopCounterMode

    scan, counts = Scan(16, 1), []
    for length in (32, 64):
        with FlopCounterMode(display=False) as counter:
            scan(torch.randn(1, length, 16))
        counts.append(counter.get_total_flops())
    assert counts[1] / counts[0] == pytest.approx(2, rel=0.1)


def test_without_relations_it_is_mask_distill_bit_for_bit():
    batch = {"image": torch.rand(3, 3, 16, 16)}
    ours, plain = made(relation_weight=0.0, teacher=teacher()).eval(), made(MaskDistill, teacher=teacher()).eval()
    assert torch.equal(ours.step(batch, 0).loss.total, plain.step(batch, 0).loss.total)


def test_relations_by_hand():
    ours = made(teacher=teacher()).eval()
    step = ours.step({"image": torch.rand(3, 3, 16, 16)}, 0)
    with torch.no_grad():
        for stage, mine, theirs in ((1, 1, 2), (2, 2, 4)):
            x = F.normalize(ours.encoder(step.tokens, step.given.shown.mask, mine).values, dim=-1)
            t = F.normalize(teacher().eval()(step.tokens, None, theirs).values, dim=-1)
            expected = (x @ x.mT - t @ t.mT).square().mean()
            torch.testing.assert_close(step.terms[f"relation_{stage}"], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"`num_stages` must be in \[1, 2\], the fewest layers"):
        made(teacher=teacher(), num_stages=3)


def test_tokens_are_shown_where_there_is_one():
    encoder = ScanEncoder(16, 1, 4)
    with pytest.raises(ValueError, match="`mask_token` of the encoder must be true"):
        MaskDistill(patch_size=4, encoder=encoder, corruption=Corruption(token=1)).step(
            {"image": torch.rand(2, 3, 16, 16)}, 0
        )
