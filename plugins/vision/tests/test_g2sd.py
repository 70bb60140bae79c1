"""G2SD: states of a masked autoencoder's decoder at all patches."""

import pytest
import torch
import torch.nn.functional as F
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from unmask.api import main
from unmask.predictors import TransformerPredictor, WholePredictor
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.exchange import to_transformers
from unmask_vision.methods import G2SD, MAE
from unmask_vision.tokenizer import PatchTokenizer


def encoder(width=32):
    options = {"embed_dim": width, "depth": 2, "num_heads": 4}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=options)


def teacher():
    with torch.random.fork_rng():
        torch.manual_seed(7)  # the same weights whatever has been drawn before, as a run would have them
        decoder = TransformerPredictor(48, 48, width=24, depth=3, num_heads=2)
        return {"teacher": encoder(48), "teacher_predictor": decoder}


def made(kind=G2SD, width=24, **options):
    torch.manual_seed(0)
    predictor = WholePredictor(32, width, width=16, depth=1, num_heads=2)
    return kind(patch_size=4, **{"encoder": encoder(), "predictor": predictor, **options})


class TestG2SD(MethodContract):
    lr = 3e-3

    def make(self):
        return made(**teacher())

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_the_teacher_s_states_equal_transformers(given_mask, some_hidden):
    hidden = some_hidden(3, 16, 12)
    parts = teacher()
    plain = PatchTokenizer(4, mean=[0.0] * 3, std=[1.0] * 3)
    ours = made(mask=given_mask(hidden), tokenizer=plain, teacher_block=2, **parts).eval()
    config = ViTMAEConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192, image_size=16, patch_size=4,
        layer_norm_eps=1e-6, mask_ratio=0.75, decoder_hidden_size=24, decoder_num_hidden_layers=3,
        decoder_num_attention_heads=2, decoder_intermediate_size=96,
    )  # fmt: skip
    theirs = ViTMAEForPreTraining(config).eval()
    mae = made(MAE, encoder=parts["teacher"], predictor=parts["teacher_predictor"])
    theirs.load_state_dict(to_transformers(mae), strict=True)
    found = []
    theirs.decoder.decoder_layers[1].register_forward_hook(
        lambda *call: found.append(call[2][0] if isinstance(call[2], tuple) else call[2])
    )
    image = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        step = ours.step({"image": image})
        theirs(image, noise=hidden.float() + torch.linspace(0, 0.5, 16))
    target = F.layer_norm(found[0][:, 1:], [24])  # [B, N, W]
    assert step.target.shape == (3, 16, 24)
    torch.testing.assert_close(step.target, target, rtol=1e-4, atol=1e-5)
    expected = F.smooth_l1_loss(step.prediction.values, target, beta=2.0)
    torch.testing.assert_close(step.loss.total, expected, rtol=1e-4, atol=1e-6)


def test_at_hidden_places_the_whole_predictor_answers_as_the_transformer():
    torch.manual_seed(0)
    plain = TransformerPredictor(32, 48, width=24, depth=2, num_heads=2)
    ours, mae = made(MAE, predictor=WholePredictor.of(plain)).eval(), made(MAE, predictor=plain).eval()
    mae.encoder.load_state_dict(ours.encoder.state_dict())
    batch = {"image": torch.rand(3, 3, 16, 16)}
    mine, theirs = ours.step(batch, 0), mae.step(batch, 0)
    torch.testing.assert_close(mine.prediction.values, theirs.prediction.values, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_both_stages_by_commands(tmp_path, monkeypatch, capsys):
    """A large model is pretrained and fine-tuned; a small one learns from its decoder, then from its answers."""
    monkeypatch.chdir(tmp_path)
    few = ["--trainer.max_steps", "2", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--config", "vision/mae-digits", *few, "--out", "large"]) == 0
    run = ["--model.teacher", "null", "--model.teacher_predictor", "null", "--model.teacher_run", "large"]
    assert main(["fit", "--config", "vision/g2sd-digits", *few, *run, "--out", "small"]) == 0
    tune = ["--max_steps", "3", "--no_scratch", "--labels_per_class", "5"]
    assert main(["finetune", "large", *tune]) == 0
    teacher = "large/finetune/pretrained-5-per-class-seed0.ckpt"
    assert main(["finetune", "small", *tune, "--teacher", teacher, "--teacher_weight", "0.5"]) == 0
    assert f"Answers of {teacher} are learnt beside the labels, of weight 0.5." in capsys.readouterr().out
    assert main(["finetune", "small", *tune, "--teacher", "gone.ckpt"]) == 2
    assert "There is no file `gone.ckpt`" in capsys.readouterr().err


def test_what_is_no_teacher_is_refused():
    with pytest.raises(ValueError, match="`teacher_run` must be the folder of a masked autoencoder's run"):
        made()
    with pytest.raises(ValueError, match="they are None, a ViTEncoder and none"):
        made(teacher=encoder())
    with pytest.raises(ValueError, match=r"`block` must be in \[1, 3\], the decoder's blocks, but is 4; nearest: 3"):
        made(teacher_block=4, **teacher())
    with pytest.raises(ValueError, match="`teacher_run` must be left out when `target` is given"):
        made(target=made(**teacher()).target, teacher_run="runs/other")


def test_small_is_the_size_of_the_paper_s_students():
    model = G2SD(image_size=32, **teacher())
    assert (model.encoder.width, model.predictor.width, len(model.predictor.trunk.blocks)) == (384, 256, 4)
    assert model.target.block == 1  # the middle of three
