"""SeiT++: codes of a book are tokens and answers; some hidden tokens are dropped, others are shown as a token."""

import pytest
import torch
import torch.nn.functional as F

from unmask import TOKEN, Grid, Tokens, TruncatedNormal
from unmask.api import load_run, main
from unmask.corruptions import TwoLevels
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.testing import MethodContract, masked, shaken
from unmask_vision.code_map import CodeMapTokenizer
from unmask_vision.encoders import ViTEncoder, VQEncoder
from unmask_vision.methods import SeiTPlusPlus
from unmask_vision.tokenizer import PatchTokenizer


def made(**options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 8, 2, 8, positions="sincos", mask_token=True, options=sizes)
    predictor = TransformerPredictor(32, 32, width=24, depth=1, num_heads=2)
    codes = {"num_codes": 24, "codes_width": 8, "codes_hidden_width": 8, "codes_depth": 1}
    model = SeiTPlusPlus(patch_size=2, encoder=encoder, predictor=predictor, **codes, **options)
    return shaken(model).eval()


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_counts_of_dropped_and_shown_tokens():
    """Exactly ceil(0.4 N) are dropped, whatever share of an image is hidden."""
    tokens = Tokens(torch.zeros(200, 196, 1), Grid((14, 14)))
    sampler = RandomMask(TruncatedNormal(mean=0.45, std=0.25, low=0.4, high=1.0))
    mask = masked(tokens, sampler, TwoLevels(0.4))
    counts = mask.hidden.sum(1)
    assert counts.min() >= 79 and len(counts.unique()) > 20
    as_token = mask.hidden & (mask.show == TOKEN)
    assert torch.equal(counts - as_token.sum(1), torch.full((200,), 79))
    assert mask.seen.index.shape == (200, 117)
    assert not torch.gather(mask.hidden & ~as_token, 1, mask.seen.index).any()


def test_the_encoder_sees_tokens_in_place_of_some_and_nothing_of_others(given_mask, some_hidden):
    """As an encoder that is given all places, with attention to those that are not dropped alone."""
    model = made(mask=given_mask(some_hidden(4, 16, 10)))
    step = model.step(images(), 0)
    mask = step.given.shown.mask
    assert step.latent.values.shape == (4, 9, 32)  # 16 - ceil(6.4)
    vit = model.encoder.vit
    with torch.no_grad():
        weight = vit.patch_embed.proj.weight.permute(0, 2, 3, 1).flatten(1)
        x = F.linear(step.tokens.values, weight, vit.patch_embed.proj.bias)
        x = torch.where(mask.hidden[..., None], model.encoder.mask_token, x) + vit.pos_embed[:, 1:]
        x = torch.cat([(vit.cls_token + vit.pos_embed[:, :1]).expand(4, -1, -1), x], 1)
        kept = torch.ones(4, 16, dtype=torch.bool)
        kept[mask.hidden & (mask.show != TOKEN)] = False
        allowed = torch.cat([torch.ones(4, 1, dtype=torch.bool), kept], 1)[:, None, None]
        for block in vit.blocks:
            x = block(x, attn_mask=allowed)
        expected = vit.norm(x)[:, 1:][kept].view(4, 9, 32)
    torch.testing.assert_close(step.latent.values, expected, rtol=1e-4, atol=1e-5)


def test_the_loss_by_hand():
    """Each of a token's four codes by itself."""
    model = made()
    step = model.step(images(), 0)
    tokens = model.tokenizer.patches(images())
    ids = model.tokenizer.codes.ids(tokens).view(4, 8, 8)
    book = F.normalize(model.tokenizer.codes.book, dim=-1)
    total, count = 0.0, 0
    asked = step.prediction.asked
    for b in range(4):
        for m, place in enumerate(asked.index[b].tolist()):
            if asked.valid is not None and not asked.valid[b, m]:
                continue
            row, column = divmod(place, 4)
            answer = step.prediction.values[b, m].view(2, 2, 8)
            for i in range(2):
                for j in range(2):
                    chances = (book @ answer[i, j]).log_softmax(0)
                    total = total - chances[ids[b, 2 * row + i, 2 * column + j]]
                    count += 1
    assert count == 4 * int(step.mask.hidden.sum())
    torch.testing.assert_close(step.loss.total, total / count, rtol=1e-4, atol=1e-5)


def test_codes_of_entries_are_the_codes_themselves():
    codes = VQEncoder(24, 8, 2, 3, 8, 1)
    tokenizer = CodeMapTokenizer(PatchTokenizer(2), codes)
    ids = torch.randint(24, (3, 64), generator=torch.Generator().manual_seed(0))
    entries = tokenizer.of(ids, (8, 8)).values.view(3, 4, 4, 2, 2, 8).transpose(2, 3).reshape(3, 64, 8)
    assert torch.equal(codes.chosen(entries), ids)


def test_both_stages_by_one_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--trainer.max_steps", "3", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--config", "vision/vq-vae-digits", *few, "--out", "codes"]) == 0
    own = ["--model.codes_run", "codes", "--model.codes_recipe", "null"]
    assert main(["fit", "--config", "vision/seit-plus-plus-digits", *few, *own, "--out", "seit"]) == 0
    assert "First stage: codes, trained on the same data." in capsys.readouterr().out
    first, second = (load_run(name).model for name in ("codes", "seit"))
    assert bool(second.tokenizer.taken)
    for name, tensor in first.encoder.state_dict().items():
        assert torch.equal(tensor, second.tokenizer.codes.state_dict()[name])


def test_what_cannot_be_is_refused(given_mask, some_hidden):
    model = made(mask=given_mask(some_hidden(4, 16, 5)))
    with pytest.raises(ValueError, match=r"`drop_ratio` must be at most .* 5 of 16 tokens, but is 0.4; nearest: 0.31"):
        model.step(images(), 0)
    with pytest.raises(ValueError, match="`group` must divide"):
        CodeMapTokenizer(PatchTokenizer(2), VQEncoder(24, 8, 2, 3, 8, 1), 3)(images())


class TestSeiTPlusPlus(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()
