"""Hybrid Distillation: features of one teacher, relations of another."""

import pytest
import torch

from unmask.masks import BlockMask
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import HybridDistill, MaskDistill


def encoder(width=32):
    options = {"embed_dim": width, "depth": 2, "num_heads": 4, "rel_pos_type": "bias", "shared_rel_pos": True}
    return ViTEncoder("vit_relpos_base_patch16_cls_224", 16, 4, mask_token=True, options=options)


def made(kind=HybridDistill, **options):
    torch.manual_seed(0)
    return kind(patch_size=4, encoder=encoder(), mask=BlockMask(0.4, min_block=2), **options)


class TestHybridDistill(MethodContract):
    lr = 3e-3

    def make(self):
        return made(relation_heads=2)

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_without_relations_it_is_mask_distill_bit_for_bit():
    batch = {"image": torch.rand(3, 3, 16, 16)}
    ours, plain = made(relation_weight=0.0).eval(), made(MaskDistill).eval()
    assert torch.equal(ours.step(batch, 0).loss.total, plain.step(batch, 0).loss.total)


def test_relations_are_of_middle_layers_and_cost_nothing_between_equals(given_mask):
    """With nothing hidden, a copy sees what the encoder sees."""
    torch.manual_seed(1)
    ours = made().eval()
    nothing = given_mask(torch.zeros(3, 16, dtype=torch.bool))
    ours.mask, ours.ask = nothing, "all"
    batch = {"image": torch.rand(3, 3, 16, 16)}
    assert ours.step(batch).terms["relation"].abs() < 1e-6
    assert (ours.terms["relation"].layer, ours.terms["relation"].teacher.layer) == (1, 1)
    with torch.no_grad():
        ours.encoder.vit.blocks[1].attn.qkv.weight.add_(1.0)  # above the middle
        assert ours.step(batch).terms["relation"].abs() < 1e-6
        ours.encoder.vit.patch_embed.proj.weight.mul_(-2.0)
    assert ours.step(batch).terms["relation"] > 1e-4


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"`layer` must be in \[1, 2\]"):
        made(relation_layer=3)
    with pytest.raises(ValueError, match="`num_heads` must divide the width of codes, 32, but is 5"):
        made(relation_heads=5).step({"image": torch.rand(2, 3, 16, 16)}, 0)
