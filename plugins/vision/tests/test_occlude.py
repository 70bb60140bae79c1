"""What a fine-tuned CNN knows of images that are partly hidden."""

import json

import pytest
import torch

from unmask import Draws, MaskedModel
from unmask.api import CLASSIFICATION, Classification, FineTuning, Settings, Task, UserError, main
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.testing import shaken
from unmask_vision.encoders import CNNEncoder, LayerMasked, ViTEncoder
from unmask_vision.occlude import classifier_of, hidden_cells
from unmask_vision.tokenizer import PatchTokenizer


def tuned(encoder=None, **options):
    torch.manual_seed(0)
    encoder = encoder or CNNEncoder("resnet10t", levels=1, stride=8)
    model = MaskedModel(
        tokenizer=PatchTokenizer(8), mask=RandomMask(0.5), encoder=encoder, target=ValueTarget(), loss=MSELoss(),
        predictor=LinearPredictor(encoder.width, 192),
    )  # fmt: skip
    return shaken(FineTuning(model, Classification(4), Task(CLASSIFICATION), Settings(**options)), 0.05).eval()


@torch.no_grad()
def test_with_nothing_hidden_it_is_the_fine_tuned_model():
    batch = {"image": torch.rand(3, 3, 32, 32)}
    made = tuned()
    classifier = classifier_of(made).eval()
    image = classifier.pixels(batch)
    torch.testing.assert_close(classifier(image), made(batch))
    masked = LayerMasked(classifier)
    none = torch.zeros(3, 32, 32, dtype=torch.bool)
    assert torch.equal(masked(image, none), classifier(image))
    hidden = hidden_cells(image, 0.5, 4, Draws.of(0, torch.arange(3)))
    found = masked(image, hidden)
    for colour in (0.0, 9.0):
        assert torch.equal(masked(image.masked_fill(hidden[:, None], colour), hidden), found)
    assert not torch.allclose(classifier(image.masked_fill(hidden[:, None], 9.0)), classifier(image))


def test_the_share_is_exact_and_keyed_by_sample():
    image, index = torch.zeros(3, 3, 18, 16), torch.tensor([4, 1, 7])
    hidden = hidden_cells(image, 0.25, 4, Draws.of(2, index))
    assert hidden.shape == (3, 18, 16)
    cells = hidden[:, ::4, ::4]  # 5 x 4, the last row of two pixels
    assert cells.flatten(1).sum(1).tolist() == [5, 5, 5]
    assert torch.equal(cells.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :18, :16], hidden)
    assert torch.equal(hidden_cells(image, 0.25, 4, Draws.of(2, index.flip(0))), hidden.flip(0))
    assert not hidden_cells(image, 0.999, 4, Draws.of(2, index)).flatten(1).all(1).any()


def test_what_is_no_cnn_of_classes_is_refused():
    vit = ViTEncoder("vit_tiny_patch16_224", 32, 8, options={"depth": 1})
    with pytest.raises(UserError, match="The encoder must be a network of convolutions, but is ViTEncoder"):
        classifier_of(tuned(vit))
    with pytest.raises(UserError, match="with `--pool mean`, but is not"):
        classifier_of(tuned(pool="max"))


@pytest.mark.slow  # a run, and its fine-tuning
def test_the_command_on_digits(tmp_path, capsys):
    run = str(tmp_path / "run")
    few = ["--trainer.max_steps", "2", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--config", "vision/simmim-cnn-digits", *few, "--out", run]) == 0
    assert main(["vision-occlude", run]) == 2
    assert "There is no fine-tuned checkpoint" in capsys.readouterr().err
    assert main(["finetune", run, "--max_steps", "30", "--no_scratch"]) == 0
    capsys.readouterr()
    assert main(["vision-occlude", run, "--cell", "2", "--shares", "0,0.5"]) == 0
    assert "layer masking" in capsys.readouterr().out
    rows = json.loads((tmp_path / "run" / "occluded.json").read_text())["rows"]
    assert len(rows) == 2
    assert main(["vision-occlude", run, "--shares", "1"]) == 2
    assert "`--shares` must be in [0, 1), but one is 1" in capsys.readouterr().err
