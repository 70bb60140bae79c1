"""The parts keep their contracts, and the method equals transformers' at the same weights and mask."""

import pytest
import torch
from transformers import PatchTSTConfig, PatchTSTForPretraining
from unmask import Corruption, Grid, Sequence, Set, Tokens
from unmask.testing import DataContract, EncoderContract, MaskContract, MethodContract, RunContract

from unmask_timeseries.data import HeartbeatsData
from unmask_timeseries.encoder import PatchTSTEncoder
from unmask_timeseries.mask import ChannelMask
from unmask_timeseries.method import PatchTST
from unmask_timeseries.tokenizer import SeriesTokenizer


class TestData(DataContract):
    def make(self, **options):
        return HeartbeatsData(num_samples=32, batch_size=4, **options)


class TestChannelMask(MaskContract):
    layouts = (Grid((4, 4)), Grid((3, 32)), Grid((7, 10)))
    refused = (Set(), Sequence(), Grid((2, 4, 4)))
    ragged = ()

    def make(self, **options):
        return ChannelMask(**options)

    def expected(self, sampler, num_tokens, layout, progress):
        rows, columns = layout.shape
        return rows * super().expected(sampler, columns, layout, progress)

    def test_every_channel_hides_as_many_and_not_the_same(self):
        mask = self._draw(self.make(), self._dense(Grid((3, 32)), 8))
        hidden = mask.hidden.view(8, 3, 32)
        assert set(hidden.sum(-1).flatten().tolist()) == {13}  # 32 - floor(32 * 0.6)
        assert not torch.equal(hidden[:, 0], hidden[:, 1])


class TestEncoder(EncoderContract):
    corruptions = (Corruption(token=1),)

    def make(self):
        return PatchTSTEncoder(patch_size=8, num_patches=6, width=16, depth=2, num_heads=4)

    def tokens(self):
        return Tokens(torch.randn(4, 18, 8), Grid((3, 6)))


class TestMethod(MethodContract):
    def make(self):
        encoder = PatchTSTEncoder(patch_size=8, num_patches=6, width=16, depth=2, num_heads=4)
        return PatchTST(patch_size=8, length=48, encoder=encoder)

    def batch(self):
        return {"series": torch.randn(4, 3, 48)}


class TestRun(RunContract):
    """Every command on four steps of the recipe."""

    arguments = ("--config", "timeseries/patchtst-heartbeats")


def test_the_step_equals_transformers_at_the_same_weights_and_mask(monkeypatch):
    torch.manual_seed(0)
    config = PatchTSTConfig(
        num_input_channels=3, context_length=50, patch_length=8, patch_stride=8, d_model=16, num_hidden_layers=2,
        num_attention_heads=4, ffn_dim=32, norm_type="layernorm", norm_eps=1e-6, pre_norm=True, use_cls_token=False,
        positional_encoding_type="random", scaling="std", share_embedding=True, random_mask_ratio=0.4,
        attention_dropout=0.0, positional_dropout=0.0, path_dropout=0.0, ff_dropout=0.0, head_dropout=0.0,
    )  # fmt: skip
    theirs = PatchTSTForPretraining(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    encoder = PatchTSTEncoder(patch_size=8, num_patches=6, width=16, depth=2, num_heads=4, mlp_ratio=2.0)
    ours = PatchTST(patch_size=8, length=50, encoder=encoder).eval()
    ours.load_state_dict(translated(theirs.state_dict()))

    batch = {"series": torch.randn(4, 3, 50) * 3 + 1}  # two steps too long: they are left out at the beginning
    step = ours.step(batch, 0)
    hidden = step.mask.hidden.view(4, 3, 6)

    def same_mask(patches):
        return patches.masked_fill(hidden[..., None], 0), hidden.float()

    monkeypatch.setattr(theirs.model.masking, "forward", same_mask)
    output = theirs(past_values=batch["series"].transpose(1, 2))
    answers = output.prediction_output.flatten(1, 2)  # [B, C * N, V]
    torch.testing.assert_close(step.prediction.values, step.mask.asked.gather(answers), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(step.loss.total, output.loss, rtol=1e-6, atol=1e-6)

    step.loss.total.backward()
    output.loss.backward()
    torch.testing.assert_close(
        ours.encoder.embed.weight.grad, theirs.model.encoder.embedder.input_embedding.weight.grad, rtol=1e-4, atol=1e-6
    )


def translated(theirs):
    """transformers' weights under our names."""
    names = {
        "model.encoder.embedder.input_embedding.": "encoder.embed.",
        "model.encoder.positional_encoder.position_enc": "encoder.positions",
        "model.encoder.layers.": "encoder.blocks.",
        "self_attn.out_proj.": "attn.proj.",
        "norm_sublayer1.": "norm1.",
        "norm_sublayer3.": "norm2.",
        "ff.0.": "mlp.fc1.",
        "ff.3.": "mlp.fc2.",
        "head.linear.": "predictor.head.",
    }
    ours, parts = {}, {}
    for name, tensor in theirs.items():
        for old, new in names.items():
            name = name.replace(old, new)
        for part in "qkv":
            if f"self_attn.{part}_proj." in name:
                parts.setdefault(name.replace(f"self_attn.{part}_proj.", "attn.qkv."), {})[part] = tensor
                break
        else:
            ours[name] = tensor
    return ours | {name: torch.cat([of["q"], of["k"], of["v"]]) for name, of in parts.items()}


def test_what_does_not_fit_is_refused_in_words():
    encoder, tokens = PatchTSTEncoder(8, 6, 16, 2, 4), Tokens(torch.randn(1, 15, 8), Grid((3, 5)))
    with pytest.raises(ValueError, match="`num_patches` must be the patches of a channel, but is 6"):
        encoder(tokens)
    with pytest.raises(ValueError, match="use a `corruption` with `drop` 0"):
        PatchTST(patch_size=8, length=48, encoder=encoder, corruption=Corruption(drop=1)).step(
            {"series": torch.randn(2, 3, 48)}
        )
    with pytest.raises(ValueError, match="`patch_size` must be at most 5"):
        SeriesTokenizer(8)({"series": torch.randn(1, 3, 5)})
    with pytest.raises(ValueError, match="`length` must be at least 64 steps, but is 10"):
        HeartbeatsData(length=10)
