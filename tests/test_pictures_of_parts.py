"""Pictures of joint steps are of the part that is asked about; a method that predicts nothing has none, in words."""

import numpy as np
import pytest
import torch

from unmask.cli import main
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.predictors import CrossAttentionPredictor
from unmask.targets import ValueTarget
from unmask.tools.pictures.drawing import asked_part, draw, views
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import CropMAE


def test_a_crop_is_drawn_with_answers_where_it_was_hidden():
    torch.manual_seed(0)
    options = {"embed_dim": 32, "depth": 1, "num_heads": 2}
    model = CropMAE(
        patch_size=4, encoder=ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=options),
        predictor=CrossAttentionPredictor(32, 48, width=24, depth=1, num_heads=2), target=ValueTarget(normalize=False),
        mask=MaskByPart({"whole": NoMask(), "local": RandomMask(ratio=0.75)}),
    ).eval()  # fmt: skip
    with torch.no_grad():
        joint = model.step({name: torch.rand(2, 3, 16, 16) for name in ("image", "local")}, 0)
    step = asked_part(joint)
    given, seen, rebuilt = views(model, step)
    local, hidden = joint.tokens.part("local"), joint.mask.part("local").hidden
    assert torch.equal(given.tokens.values, local.values)
    assert torch.equal(seen.hidden, hidden)
    assert torch.equal(rebuilt.tokens.values[~hidden], local.values[~hidden])
    assert torch.equal(rebuilt.tokens.values[hidden], joint.prediction.part("local").values.flatten(0, 1))
    assert step.loss.per_token.shape == (2, 12)
    assert np.array_equal(draw(model, joint), draw(model, step))


def test_what_predicts_nothing_is_told(tmp_path, capfd):
    run = str(tmp_path / "run")
    fit = ["fit", "--config", "multimodal/flip-digits", "--trainer.max_steps", "1", "--data.batch_size", "8"]
    with pytest.warns(match="`Pictures` is switched off: this method predicts nothing that could be drawn."):
        assert main([*fit, "--trainer.limit_val_batches", "1", "--out", run]) == 0
    assert main(["reconstruct", run]) == 2
    assert "`run` must be of a method that predicts, but this method predicts nothing" in capfd.readouterr().err
