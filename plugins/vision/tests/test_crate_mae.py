"""CRATE-MAE: attention in subspaces, steps of sparse coding, and their autoencoder."""

import pytest
import torch
from torch import nn

from unmask import Corruption
from unmask.nn import ISTA, CRATEBlock, CRATEDecoderBlock, SubspaceAttention
from unmask.predictors import CRATEPredictor
from unmask.testing import EncoderContract, MethodContract, PredictorContract, shaken
from unmask_vision.encoders import CRATEEncoder
from unmask_vision.methods import CRATEMAE
from unmask_vision.tokenizer import PatchTokenizer


def test_subspace_attention_is_torchs_with_tied_weights():
    torch.manual_seed(0)
    ours = shaken(SubspaceAttention(12, 3))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight.repeat(3, 1))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 7, 12)
    valid = torch.arange(7) < torch.tensor([[7], [4]])
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x, valid), theirs(x, x, x, key_padding_mask=~valid)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", [0.1, 1.0])
def test_a_step_lowers_the_lasso_of_an_orthonormal_dictionary(step):
    torch.manual_seed(0)
    ista = ISTA(16, step=step)
    nn.init.orthogonal_(ista.weight)
    x = torch.randn(200, 16).abs()  # nonnegative codes

    def lasso(codes):
        return (x - codes @ ista.weight.T).square().sum(1) / 2 + ista.sparsity * codes.abs().sum(1)

    with torch.no_grad():
        codes = ista(x)
        assert (codes >= 0).all()
        assert (lasso(codes) < lasso(x)).all()
        unlike = ISTA(16, step=-step)
        unlike.load_state_dict(ista.state_dict())
        assert not (lasso(unlike(x)) < lasso(x)).any()


def test_a_step_by_hand():
    ista = ISTA(2)
    with torch.no_grad():
        ista.weight.copy_(torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
        # D x = [2, .5]; x - D x = [-1, 1.5]; D^T of it = [.75, -1]; x + .1 of it - .05
        found = ista(torch.tensor([[1.0, 2.0], [-3.0, 0.0]]))
    torch.testing.assert_close(found[0], torch.tensor([1 + 0.075 - 0.05, 2 - 0.1 - 0.05]))
    assert found[1, 0] == 0


def test_blocks_by_hand():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    block, back = shaken(CRATEBlock(8, 2)), shaken(CRATEDecoderBlock(8, 2))
    between = x + block.attn(block.norm1(x))
    torch.testing.assert_close(block(x), block.ista(block.norm2(between)))
    between = back.norm1(x) @ back.dictionary.weight.T
    torch.testing.assert_close(back(x), between - back.attn(back.norm2(between)))


def test_it_has_a_third_of_the_parameters_of_mae():
    with torch.device("meta"):
        parts = CRATEEncoder(mask_token=True), CRATEPredictor(768, 768)
    number = sum(p.numel() for part in parts for p in part.parameters())
    of_blocks = 24 * (3 * 768**2 + 768 + 4 * 768)
    rest = (768 * 768 + 768) + 2 * 768 + 2 * 2 * 768 + (768 * 768 + 768)  # embedding, tokens, norms, head
    assert number == of_blocks + rest
    assert 43e6 < number < 45e6


def small():
    return CRATEEncoder(width=32, depth=2, num_heads=2, patch_size=2, channels=1, mask_token=True)


class TestCRATEEncoder(EncoderContract):
    def make(self):
        return small()

    def tokens(self):
        return PatchTokenizer(2, 1)(torch.rand(3, 1, 8, 8))


class TestCRATEPredictor(PredictorContract):
    encoder_width = 16
    corruptions = (Corruption(token=1),)

    def make(self):
        return CRATEPredictor(16, 4, depth=2, num_heads=2)

    def tokens(self):
        return PatchTokenizer(2, 1)(torch.rand(3, 1, 8, 8))


class TestCRATEMAE(MethodContract):
    lr = 1e-2

    def make(self):
        predictor = CRATEPredictor(32, 4, depth=2, num_heads=2)
        return CRATEMAE(patch_size=2, channels=1, encoder=small(), predictor=predictor)

    def batch(self):
        return {"image": torch.rand(4, 1, 8, 8)}
