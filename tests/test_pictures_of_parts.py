"""Pictures of joint steps are of the part that is asked about; a method that predicts nothing has none, in words."""

import numpy as np
import pytest
import torch

from unmask import LossByPart, MaskedModel, PredictorByPart, TargetByPart, TokenizerByPart
from unmask.cli import main
from unmask.losses import MSELoss
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.predictors import CrossAttentionPredictor
from unmask.targets import ValueTarget
from unmask.tools.pictures.drawing import asked_part, draw, parts_of, views, views_of
from unmask_multimodal.data.rendered_solids import rendered
from unmask_multimodal.encoders import JointEncoder, JointTrunk
from unmask_multimodal.maps import DepthTokenizer, LabelMapLoss, LabelMapStem, LabelMapTarget, LabelMapTokenizer
from unmask_multimodal.masks import BudgetMask
from unmask_multimodal.predictors import CrossDecoder
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import CropMAE
from unmask_vision.tokenizer import PatchTokenizer


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


def test_every_map_of_a_scene_is_drawn_with_its_own_answers():
    """Values, values in other units, and classes of pixels: three pictures below each other, in three columns."""
    torch.manual_seed(0)
    names = ["image", "depth", "labels"]
    model = MaskedModel(
        tokenizer=TokenizerByPart(
            {"image": PatchTokenizer(4, 1), "depth": DepthTokenizer(4), "labels": LabelMapTokenizer(4, 6)}
        ),
        mask=BudgetMask(6),
        encoder=JointEncoder(
            {
                "image": _stem(),
                "depth": _stem(),
                "labels": LabelMapStem(24, 4, 6, 4),
            },
            JointTrunk(24, 1, 3),
        ),
        predictor=PredictorByPart(
            {name: CrossDecoder(name, names, 24, 96 if name == "labels" else 16, 16, 1, 2) for name in names}
        ),
        target=TargetByPart({"image": ValueTarget(), "depth": ValueTarget(), "labels": LabelMapTarget()}),
        loss=LossByPart({"image": MSELoss(), "depth": MSELoss(), "labels": LabelMapLoss()}),
    ).eval()
    scenes = rendered(0, 2, 16)
    batch = {"image": scenes.image, "depth": scenes.depth, "labels": scenes.labels}
    with torch.no_grad():
        step = model.step(batch, 0)
    parts = {one.name: one for one in parts_of(model, step)}
    shown = views_of(parts["labels"])
    assert [view.title for view in shown] == ["input", "seen by encoder", "reconstruction"]
    hidden = step.mask.part("labels").hidden
    assert torch.equal(shown[2].tokens.values[~hidden], step.tokens.part("labels").values[~hidden])
    answers = step.prediction.part("labels").values.unflatten(-1, (16, 6)).argmax(-1)
    index = step.prediction.part("labels").asked.index
    assert torch.equal(shown[2].tokens.values[0, index[0, 0]], answers[0, 0])
    picture = draw(model, step)
    assert picture.ndim == 3 and picture.shape[0] > 2 * 3 * 16


def _stem():
    options = {"embed_dim": 24, "depth": 0, "num_heads": 3, "class_token": False, "global_pool": "avg"}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, 1, positions="sincos", options=options)
