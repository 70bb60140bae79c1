"""DTM: answers and targets are compared as means over groups of alike patches."""

import torch

from unmask.losses import MorphedLoss, SmoothL1Loss
from unmask.masks import BlockMask
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import DTM, MaskDistill


def encoder():
    options = {"embed_dim": 32, "depth": 2, "num_heads": 4, "rel_pos_type": "bias", "shared_rel_pos": True}
    return ViTEncoder("vit_relpos_base_patch16_cls_224", 16, 4, mask_token=True, options=options)


def made(kind=DTM, **options):
    torch.manual_seed(0)
    return kind(patch_size=4, encoder=encoder(), mask=BlockMask(0.4, min_block=2), **options)


class TestDTM(MethodContract):
    lr = 3e-3

    def make(self):
        return made()

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_without_merges_it_is_mask_distill_that_asks_everywhere():
    batch = {"image": torch.rand(3, 3, 16, 16)}
    ours = made(loss=MorphedLoss(SmoothL1Loss(2.0), max_merges=0)).eval().step(batch, 0)
    plain = made(MaskDistill, loss=SmoothL1Loss(2.0)).eval()
    plain.ask = "all"
    assert torch.equal(ours.loss.total, plain.step(batch, 0).loss.total)
    assert ours.loss.per_token.shape == (3, 16)


def test_groups_depend_on_seed_and_sample_alone():
    batch = {"image": torch.rand(3, 3, 16, 16), "index": torch.tensor([4, 5, 6])}
    model = made().eval()
    first, again, other = (model.step(batch, seed).loss.per_token for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    alone = model.step({name: value[1:2] for name, value in batch.items()}, 0).loss.per_token
    torch.testing.assert_close(alone[0], first[1], rtol=1e-4, atol=1e-6)
