"""Segmentation: labels from mask files, codes of cells, intersection over union, the command on a run."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import jaccard_score

from unmask import Grid
from unmask.api import IGNORED, main
from unmask.predictors import TransformerPredictor
from unmask_vision.data import ImageFolderData
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import IJEPA, MAE
from unmask_vision.segmentation import Cellwise, MaskLabels
from unmask_vision.segmentation.cellwise import CellTokenizer, on_grid
from unmask_vision.segmentation.command import mean_iou
from unmask_vision.segmentation.mask_labels import Flip
from unmask_vision.segmentation.prompt import prompt_segment

SMALL = {"embed_dim": 24, "depth": 3, "num_heads": 2}


def model(kind=MAE, **options):
    torch.manual_seed(0)
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, 1, positions="sincos", options=SMALL)
    predictor = TransformerPredictor(24, 24 if kind is IJEPA else 16, 16, 1, 2)
    return kind(patch_size=4, channels=1, encoder=encoder, predictor=predictor, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Dark images with a bright square, whose masks say where it is; the last column of a mask is unknown."""
    folder, rng = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for number in range(24):
        image, mask = rng.integers(0, 60, (16, 16), dtype=np.uint8), np.zeros((16, 16), np.uint8)
        top, left = rng.integers(0, 8, 2)
        image[top : top + 8, left : left + 8] += 180
        mask[top : top + 8, left : left + 8] = 1
        mask[:, -1] = 255
        for kind, array in (("images", image), ("masks", mask)):
            path = folder / kind / str(number % 2) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return folder


def data(folder, **options):
    return ImageFolderData(
        str(folder / "images"), image_size=16, channels=1, batch_size=4, val_ratio=0.25, num_workers=0, **options
    )


def test_a_cell_has_the_most_frequent_class_of_its_pixels(folder):
    labels = MaskLabels(data(folder), str(folder / "masks"), stride=2)
    sample = labels.splits.train[0]
    name = labels.images.splits.train.items[0].name
    mask = np.array(Image.open(folder / "masks" / name)).astype(int)
    for place, found in enumerate(sample["label"].tolist()):
        row, column = divmod(place, 8)
        own = mask[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
        values, counts = np.unique(np.where(own == 255, IGNORED, own), return_counts=True)
        assert found in values[counts == counts.max()]
    alone = MaskLabels(data(folder), str(folder / "masks"), stride=1).splits.train[0]["label"].view(16, 16)
    assert (alone[:, -1] == IGNORED).all()
    assert np.array_equal(alone[:, :-1].numpy(), mask[:, :-1])


def test_masks_are_cropped_as_their_images(tmp_path):
    """An image that is its own mask stays so, whatever its shape."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for number in range(4):
            array = np.zeros((32, 64), np.uint8)
            array[:, 20 + 4 * number : 40] = 200
            Image.fromarray(array).save(tmp_path / kind / f"{number}.png")
    labels = MaskLabels(data(tmp_path, labels=None), str(tmp_path / "masks"), stride=1)
    for sample in labels.splits.train:
        assert torch.equal(sample["image"][0] > 100, sample["label"].view(16, 16) == 200)


def test_flips_move_labels_with_images():
    image = torch.arange(16.0).view(1, 4, 4)
    sample = {"image": image, "label": F.avg_pool2d(image, 2).flatten().long()}
    torch.manual_seed(0)
    found = [Flip((2, 2))(sample) for _ in range(8)]
    flipped = [one for one in found if not torch.equal(one["image"], image)]
    assert 0 < len(flipped) < 8
    for one in found:
        assert torch.equal(one["label"], F.avg_pool2d(one["image"], 2).flatten().long())


def test_codes_of_cells_are_the_patches_codes_at_their_stride_and_bilinear_below():
    whole, image = model().eval(), torch.rand(2, 1, 16, 16)
    codes = whole.embed({"image": image}).values  # [2, 16, 24]
    same = Cellwise(whole, stride=4).eval().embed({"image": image}).values
    torch.testing.assert_close(same, codes)
    fine = Cellwise(whole, stride=2).eval().embed({"image": image}).values
    up = F.interpolate(codes.transpose(1, 2).view(2, 24, 4, 4), (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(fine, up.flatten(2).transpose(1, 2))
    several = Cellwise(whole, stride=4, scales="several").eval()
    found = several.embed({"image": image}).values
    assert found.shape == (2, 16, several.embedder.width) == (2, 16, 5 * 24)
    torch.testing.assert_close(found[..., :24], codes)
    torch.testing.assert_close(found[..., 72:96], codes.mean(1, keepdim=True).expand(-1, 16, -1))
    corner = codes.view(2, 4, 4, 24)[:, :2, :2].mean((1, 2))
    torch.testing.assert_close(found[:, 0, 96:], corner)
    tokens = whole.tokenizer({"image": image})
    first = F.layer_norm(whole.encoder(tokens, None, 1).values, (24,))
    torch.testing.assert_close(found[..., 24:48], first)


def test_cells_are_the_image_and_codes_lie_on_a_grid():
    image = torch.rand(2, 3, 8, 12)
    tokens = CellTokenizer(2)({"image": image})
    assert tokens.layout == Grid((4, 6))
    assert torch.equal(F.fold(tokens.values.transpose(1, 2), (8, 12), 2, stride=2), image)
    assert on_grid(torch.rand(2, 6, 5), Grid((4, 6))).shape == (2, 5, 2, 3)
    with pytest.raises(ValueError, match="must lie on a grid"):
        on_grid(torch.rand(2, 5, 5), Grid((4, 6)))


@pytest.mark.parametrize("kind", [MAE, IJEPA])
def test_what_is_trained_is_what_was_trained(kind):
    """Of a teacher, too, and never the fixed table of positions."""
    cells = Cellwise(model(kind), 4)
    fixed = [name for name, one in cells.embedder.encoder.named_parameters() if not one.requires_grad]
    assert [name.rpartition(".")[2] for name in fixed] == ["pos_embed"]


def test_mean_iou_equals_scikit_learns():
    rng = np.random.default_rng(0)
    label, answer = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    assert mean_iou(answer, label) == pytest.approx(jaccard_score(label, answer, average="macro"), abs=1e-6)
    both = rng.choice([1, 3], 200), rng.choice([1, 3], 200)  # classes that are nowhere do not count
    assert mean_iou(*both) == pytest.approx(jaccard_score(both[1], both[0], average="macro"), abs=1e-6)


def test_what_does_not_fit_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="`stride` must divide the images' sides, 16 and 16, but is 3"):
        MaskLabels(data(folder), str(folder / "masks"), stride=3)
    with pytest.raises(ValueError, match="Each image must have a mask of its name"):
        _ = MaskLabels(data(folder), str(tmp_path)).splits
    labels = MaskLabels(data(folder), str(folder / "masks"))
    Image.new("RGB", (16, 16)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"must have one whole number a pixel, but .* has RGB"):
        labels.classes_of(tmp_path / "colour.png", 16, 16)
    Image.new("L", (64, 16)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match=r"must have the shape of its image, 16 x 16, but .* has 16 x 64"):
        labels.classes_of(tmp_path / "wide.png", 16, 16)
    with pytest.raises(ValueError, match="`scales` must be 'one' or 'several', but is 'two'"):
        Cellwise(model(), scales="two")


def test_the_command_trains_and_probes_a_run(folder, tmp_path, capsys):
    config = tmp_path / "small.yaml"
    config.write_text(f"""
seed_everything: 0
model:
  class_path: vision.mae
  init_args:
    patch_size: 4
    channels: 1
    encoder:
      class_path: vision.vit
      init_args:
        name: vit_tiny_patch16_224
        image_size: 16
        patch_size: 4
        channels: 1
        positions: sincos
        options: {{embed_dim: 24, depth: 2, num_heads: 2}}
    predictor:
      class_path: transformer
      init_args: {{encoder_width: 24, target_width: 16, width: 16, depth: 1, num_heads: 2}}
data:
  class_path: vision.folder
  init_args:
    {{folder: {folder / "images"}, image_size: 16, channels: 1, batch_size: 4, val_ratio: 0.25, num_workers: 0}}
trainer: {{max_steps: 2, accelerator: cpu}}
""")
    run = tmp_path / "run"
    assert main(["fit", "--config", str(config), "--out", str(run)]) == 0
    words = ["vision-segment", str(run), str(folder / "masks"), "--stride", "4"]
    assert main([*words, "--knn"]) == 0
    found = json.loads((run / "segment" / "knn.json").read_text())
    assert [one["encoder"] for one in found] == ["untrained", "pretrained"]
    assert all(0.4 < one["mean IoU"] <= 1 for one in found)  # brightness tells nearly all
    assert main(["vision-prompt-segment", *words[1:]]) == 0
    found = json.loads((run / "prompt_segment.json").read_text())
    assert [one["encoder"] for one in found] == ["untrained", "pretrained"]
    assert "prompting patch" in capsys.readouterr().out
    assert main([*words, "--epochs", "20", "--scales", "several", "--batch_size", "4", "--lr", "0.3"]) == 0
    found = json.loads((run / "segment" / "segment.json").read_text())
    assert {one["encoder"] for one in found} == {"pretrained", "from scratch"}
    assert max(one["mean IoU"] for one in found) > 0.6  # all of one class: 0.42
    assert "Mean IoU" in capsys.readouterr().out
    rebuilt = ["--max_steps", "2", "--no_scratch", "--rebuild_weight", "0.5", "--out", str(tmp_path / "rebuilt")]
    assert main([*words, *rebuilt]) == 0
    assert "50% of them hidden and rebuilt, of weight 0.5" in capsys.readouterr().out
    assert main([*words[:2], str(tmp_path / "gone")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_a_prompt_segments_images(folder):
    """Light squares are told from dark ground."""
    found = prompt_segment(MaskLabels(data(folder), str(folder / "masks"), 4), {"raw": model()}, 0.5)
    assert found == prompt_segment(MaskLabels(data(folder), str(folder / "masks"), 4), {"raw": model()}, 0.5)
    assert found[0]["encoder"] == "raw" and 0 < found[0]["mean IoU"] <= 1
    assert found[0]["inside"] > found[0]["outside"]
