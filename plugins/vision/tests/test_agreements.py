"""Options of a model of images and of its data that must agree: refused in one line, before data is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unmask import agreements
from unmask.api import main
from unmask_vision.data.digits import DigitsData
from unmask_vision.data.folder import ImageFolderData
from unmask_vision.data.torchvision_sets import TorchvisionData
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.methods import MAE, SimMIM

WIDTH = {"embed_dim": 12, "depth": 1, "num_heads": 1}


def encoder(image_size: Any = 32, patch_size: int = 8, channels: int = 3) -> ViTEncoder:
    return ViTEncoder("vit_tiny_patch16_224", image_size, patch_size, channels, options=WIDTH)


def folder(**options: Any) -> ImageFolderData:
    return ImageFolderData("nowhere", **{"image_size": 32, "batch_size": 2, **options})


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (
            lambda: MAE(patch_size=8, encoder=encoder()),
            lambda: folder(image_size=48),
            r"`data\.image_size` must be 32, the `model\.image_size` .*, but is 48: give both the same\.",
        ),
        (
            lambda: MAE(patch_size=8, encoder=encoder((32, 64))),
            folder,
            r"`data\.image_size` must be 32 x 64, the `model\.image_size` .*, but is 32: give both the same\.",
        ),
        (
            lambda: MAE(patch_size=8, encoder=encoder(50)),
            lambda: folder(image_size=50),
            r"`data\.image_size` must be a multiple of 8, the `model\.patch_size`, but is 50; nearest: 48\.",
        ),
        (
            lambda: MAE(patch_size=8, encoder=encoder()),
            lambda: folder(channels=1),
            r"`data\.channels` must be 3, the `model\.channels`, but is 1: give both the same\.",
        ),
        (
            lambda: MAE(patch_size=16, encoder=encoder()),
            folder,
            r"`model\.patch_size` must be 8, the `patch_size` of the encoder, but is 16\.",
        ),
        (
            lambda: MAE(patch_size=8, channels=1, encoder=encoder()),
            lambda: folder(channels=1),
            r"`model\.channels` must be 3, the `channels` of the encoder, but is 1\.",
        ),
        (
            lambda: SimMIM(
                backbone="swinv2",
                encoder=SwinV2Encoder(
                    "swinv2_tiny_window8_256",
                    64,
                    options={"embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "window_size": 2},
                ),
            ),
            folder,
            r"`data\.image_size` must be 64, the `model\.image_size`",
        ),
        (lambda: MAE(patch_size=2, channels=1, encoder=encoder(16, 2, 1)), DigitsData, r"must be 16, .* but is 8"),
    ],
)
def test_options_that_do_not_agree_are_refused_before_reading(model, data, said):
    with pytest.raises(ValueError, match=said):
        agreements.check(model(), data(), loaded=False)


def test_options_that_agree_pass():
    agreements.check(MAE(patch_size=8, encoder=encoder()), folder(), loaded=False)
    agreements.check(MAE(patch_size=2, channels=1, encoder=encoder(8, 2, 1)), DigitsData(), loaded=True)


def test_images_that_are_left_open_are_compared_once_read(tmp_path):
    for number in range(4):
        path = tmp_path / "a" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((24, 24, 3), number, np.uint8)).save(path)
    data = TorchvisionData("ImageFolder", str(tmp_path), batch_size=2)
    model = MAE(patch_size=8, encoder=encoder())
    agreements.check(model, data, loaded=False)
    with pytest.raises(ValueError, match=r"The side of the images must be 32, the `model\.image_size` .*, but is 24"):
        agreements.check(model, data, loaded=True)


def test_commands_refuse_a_size_that_does_not_fit(tmp_path, monkeypatch, capsys):
    """Training at another size than the model's, and other data of a trained model that its patches do not fit."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for number in range(8):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 20 * number, np.uint8)).save(path)
    few = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]
    size = ["--model.size", "tiny", "--model.image_size", "16", "--model.patch_size", "8", "--data.batch_size", "2"]
    fit = ["fit", "--config", "vision/mae-folder", "--data.folder", "images", *size, *few, "--out", "run"]
    assert main([*fit, "--data.image_size", "24"]) == 2
    shown = capsys.readouterr()
    assert "`data.image_size` must be 16, the `model.image_size`" in shown.err
    assert "images to train on" not in shown.out  # nothing was read
    assert main([*fit, "--data.image_size", "16"]) == 0
    (tmp_path / "big.yaml").write_text(
        "data:\n  class_path: vision.folder\n  init_args: {folder: images, image_size: 20, batch_size: 2}\n"
    )
    for command in (["finetune", "run", "--max_steps", "1"], ["probe", "run"]):
        capsys.readouterr()
        assert main([*command, "--data", "big.yaml"]) == 2, command
        assert "`data.image_size` must be a multiple of 8, the `model.patch_size`" in capsys.readouterr().err


def test_a_size_beside_an_encoder_names_what_to_give():
    with pytest.raises(
        ValueError, match=r"`size` must be left out when `encoder` is given, .* 'tiny'; nearest: null\."
    ):
        MAE(size="tiny", encoder=encoder())
