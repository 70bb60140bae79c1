"""Images of any shape, and encoders on another grid than the one that they were trained on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from scipy.interpolate import RectBivariateSpline
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table

from unmask.api import import_weights, main, read_weights
from unmask_vision.data.augment import CenterCrop, NestedCrops, RandomResizedCropFlip
from unmask_vision.data.folder import ImageFolderData
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.encoders.positions import refit, resample_bias
from unmask_vision.tokenizer import PatchTokenizer

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 2}
ON_CPU = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]


def photos(root: Path, size: tuple[int, int], count: int = 8) -> Path:
    """Noise in two classes; ``size`` is (height, width)."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return root


def test_the_middle_of_any_shape_is_cropped() -> None:
    columns = torch.arange(40.0).expand(1, 20, 40)  # a pixel's value is its column
    middle = CenterCrop((20, 10))({"image": columns})["image"]
    assert torch.equal(middle, columns[:, :, 15:25])
    wide = CenterCrop((10, 40))({"image": columns})["image"]
    assert torch.equal(wide, columns[:, 5:15])
    assert CenterCrop((8, 24))({"image": torch.rand(1, 1, 5000)})["image"].shape == (1, 8, 24)
    assert torch.equal(CenterCrop(20)({"image": columns})["image"], columns[:, :, 10:30])


def test_random_crops_have_the_shape_of_the_result() -> None:
    """A slope of 1 in both directions keeps its ratio, within [3/4, 4/3], whatever the shape of the result."""
    rows, columns = torch.meshgrid(torch.arange(200.0), torch.arange(200.0), indexing="ij")
    crop = RandomResizedCropFlip((16, 64), flip=False)
    for seed in range(5):
        torch.manual_seed(seed)
        out = crop({"image": torch.stack([rows, columns])})["image"]
        assert out.shape == (2, 16, 64)
        down, across = out[0, -1, 0] - out[0, 0, 0], out[1, 0, -1] - out[1, 0, 0]
        assert 0.7 < (across / 63) / (down / 15) < 1.4
    assert NestedCrops((8, 16))({"image": torch.rand(3, 30, 30)})["local"].shape == (3, 8, 16)


def test_a_rectangle_flows_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "images", (20, 40), 12)
    size = ["--model.size", "tiny", "--model.patch_size", "8", "--data.batch_size", "2", "--data.val_ratio", "0.5"]
    fit = ["fit", "--config", "vision/mae-folder", "--data.folder", "images", *size, *ON_CPU, "--out", "run"]
    assert main([*fit, "--model.image_size", "[16,32]", "--data.image_size", "[32,16]"]) == 2
    assert "`data.image_size` must be 16 x 32, the `model.image_size`" in capsys.readouterr().err
    assert main([*fit, "--model.image_size", "[16,32]", "--data.image_size", "[16,32]"]) == 0
    assert main(["reconstruct", "run"]) == 0
    for name in ("vision.timm", "vision.transformers"):
        assert main(["export", "run", "--format", name]) == 0, name
    capsys.readouterr()
    assert main(["export", "run", "--format", "vision.transformers-pretraining"]) == 2
    assert "take square images only, but these lie on 2 x 4 patches" in capsys.readouterr().err


def test_jpegs_are_decoded_as_finely_as_a_rectangle_needs(tmp_path: Path) -> None:
    photos(tmp_path, (8, 8), 4)
    assert ImageFolderData(str(tmp_path), image_size=224).around == 1002
    assert ImageFolderData(str(tmp_path), image_size=(16, 256), crop_scale=(1.0, 1.0)).around == 256


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_medium_patch16_reg4_gap_256", "vit_base_patch16_clip_224"]
)
@pytest.mark.parametrize("grid", [(6, 6), (3, 7)])
def test_tables_are_resampled_as_timm_does(name: str, grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = ViTEncoder(name, 32, 8, options=SMALL).eval()
    size = tuple(8 * side for side in grid)
    peer = timm.create_model(name, img_size=size, patch_size=8, num_classes=0, **SMALL).eval()
    state = dict(encoder.vit.state_dict())
    num_prefix = state["pos_embed"].shape[1] - 16
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], list(grid), [4, 4], num_prefix)
    peer.load_state_dict(state, strict=True)
    _same_codes(encoder, peer, size)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "vit_small_patch16_rope_224"])
def test_rotary_positions_are_those_of_the_grid(name: str) -> None:
    torch.manual_seed(0)
    encoder = ViTEncoder(name, 32, 8, options=SMALL).eval()
    peer = timm.create_model(name, img_size=(24, 56), patch_size=8, num_classes=0, **SMALL).eval()
    peer.load_state_dict(encoder.vit.state_dict(), strict=True)
    _same_codes(encoder, peer, (24, 56))


@pytest.mark.parametrize("kind", ["bias", "mlp"])
def test_shared_relative_positions_are_resampled(kind: str) -> None:
    torch.manual_seed(0)
    options = SMALL | {"rel_pos_type": kind, "shared_rel_pos": True}
    encoder = ViTEncoder("vit_relpos_base_patch16_cls_224", 32, 8, options=options).eval()
    peer = ViTEncoder("vit_relpos_base_patch16_cls_224", (24, 56), 8, options=options).eval()
    state = {
        name: tensor if (fitted := peer.refit(name, tensor)) is None else fitted
        for name, tensor in encoder.state_dict().items()
    }
    peer.load_state_dict(state, strict=True)
    own = torch.rand(2, 3, 32, 32)
    before = _codes(encoder, own)
    images = torch.rand(2, 3, 24, 56)
    torch.testing.assert_close(_codes(encoder, images), _codes(peer, images))
    assert torch.equal(_codes(encoder, own), before)  # and back


def test_biases_of_offsets_by_hand() -> None:
    """Of 4 places, offsets lie at 0, 1, 1 + q and 1 + q + q^2 = 4 among those of 5, so that q is (13^0.5 - 1) / 2."""
    q = (13**0.5 - 1) / 2
    far = [1, 1 + q, 4]
    places = torch.tensor([-one for one in reversed(far)] + [0.0] + far)
    table = places[:, None].expand(7, 7).reshape(-1, 1)  # the bias is the place of the offset in rows
    new = resample_bias(torch.cat([table, torch.full((3, 1), 9.0)]), (4, 4), (5, 6))
    expected = torch.arange(-4.0, 5.0)[:, None].expand(9, 11)
    torch.testing.assert_close(new[:-3].view(9, 11), expected, rtol=0, atol=1e-5)
    assert new[-3:].flatten().tolist() == [9, 9, 9]
    assert resample_bias(table, (4, 4), (4, 4)) is table
    wider = resample_bias(table, (4, 4), (4, 8)).view(7, 15)
    torch.testing.assert_close(wider, places[:, None].expand(7, 15))  # rows stay


@pytest.mark.parametrize(("old", "new"), [((14, 14), (24, 24)), ((6, 4), (9, 5)), ((5, 5), (3, 4))])
def test_biases_are_resampled_as_beit_does(old: tuple[int, int], new: tuple[int, int]) -> None:
    """On places of timm's, whose own interpolation is linear, by scipy's bivariate splines: BEiT's `interp2d`."""
    shape, asked = [2 * side - 1 for side in old], [2 * side - 1 for side in new]
    table = torch.randn(math.prod(shape), 2, generator=torch.Generator().manual_seed(0))
    found = resample_bias(table, old, new)
    places = [_timms(*sides) for sides in zip(old, new, strict=True)]
    for head in range(2):
        spline = RectBivariateSpline(*places, table[:, head].view(*shape).numpy(), kx=3, ky=3, s=0)
        expected = spline(*(np.arange(side) - side // 2 for side in asked))
        np.testing.assert_allclose(found[:, head].view(*asked), expected, atol=2e-5)

    # What is linear in the places is so for timm's linear interpolation and for splines: the same where none is beyond.
    line = (places[0][:, None] + 2 * places[1]).reshape(-1, 1)
    if old[0] == old[1] and new > old:
        theirs = resize_rel_pos_bias_table(torch.tensor(line), new, (math.prod(asked), 1))
        torch.testing.assert_close(resample_bias(torch.tensor(line), old, new), theirs, rtol=1e-4, atol=1e-4)


def _timms(old: int, new: int) -> Any:
    """The places that timm takes offsets to lie at, seen by what it makes of a table."""
    seen = []

    def kept(places: list[Any], values: Any) -> Any:
        seen.append(places[0])
        return lambda points: torch.zeros(2 * new - 1, 2 * new - 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm.layers.pos_embed_rel, "RegularGridInterpolator", kept)
        shape = (2 * new - 1) ** 2, 1
        resize_rel_pos_bias_table(torch.zeros((2 * old - 1) ** 2, 1), (new, new), shape)
    return np.asarray(seen[0], dtype=np.float64)


def test_positions_of_each_block_are_refused_in_a_line() -> None:
    encoder = ViTEncoder("vit_relpos_small_patch16_224", 32, 8, options=SMALL)
    with pytest.raises(ValueError, match=r"each of its blocks has positions of its own, .* `unmask import --resize"):
        encoder(PatchTokenizer(8)(torch.rand(1, 3, 48, 48)))
    with pytest.raises(ValueError, match="must lie on a Grid of rows and columns"):
        encoder(torch_sequence())


def torch_sequence() -> Any:
    from unmask import Sequence, Tokens

    return Tokens(torch.rand(1, 16, 192), Sequence())


def test_swin_windows_slide_over_any_grid() -> None:
    torch.manual_seed(0)
    options = {"embed_dim": 16, "depths": (1, 2, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2}
    encoder = SwinV2Encoder("swinv2_tiny_window8_256", 64, options=options).eval()
    peer = SwinV2Encoder("swinv2_tiny_window8_256", (64, 128), options=options).eval()
    peer.load_state_dict(encoder.state_dict(), strict=True)
    own, other = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 128)
    before = _codes(encoder, own, 4)
    torch.testing.assert_close(_codes(encoder, other, 4), _codes(peer, other, 4))
    assert torch.equal(_codes(encoder, own, 4), before)


@pytest.mark.parametrize(("old", "new"), [((4, 4), (4, 8)), ((2, 8), (4, 4)), ((2, 8), (4, 16))])
def test_a_fixed_table_tells_its_grid(old: tuple[int, int], new: tuple[int, int]) -> None:
    def encoder(grid: tuple[int, int]) -> ViTEncoder:
        return ViTEncoder("vit_tiny_patch16_224", (8 * grid[0], 8 * grid[1]), 8, positions="sincos", options=SMALL)

    table = encoder(old).vit.pos_embed
    fitted = encoder(new).refit("vit.pos_embed", table)
    assert fitted is not None
    assert torch.equal(fitted, resample_abs_pos_embed(table, list(new), list(old), 1))


def test_other_tables_are_square_or_of_the_same_shape() -> None:
    own = torch.zeros(1, 33, 8)
    assert refit("pos_embed", torch.rand(1, 17, 8), own, (4, 8)).shape == own.shape  # type: ignore[union-attr]
    table = torch.rand(1, 9, 8)  # 2 x 4
    expected = resample_abs_pos_embed(table, [4, 8], [2, 4], 1)
    assert torch.equal(refit("pos_embed", table, own, (4, 8)), expected)  # type: ignore[arg-type]
    assert refit("pos_embed", torch.rand(1, 6, 8), own, (4, 8)) is None  # 5 places are no grid like that
    assert refit("blocks.0.norm1.weight", torch.rand(4), torch.rand(8), (4, 8)) is None


def test_a_trained_encoder_takes_images_of_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fine-tuning, probing and import, of a checkpoint and of our own export."""
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "images", (24, 24), 12)
    size = ["--model.size", "tiny", "--model.image_size", "16", "--model.patch_size", "8", "--data.batch_size", "2"]
    fit = ["fit", "--config", "vision/mae-folder", "--data.folder", "images", *size, *ON_CPU, "--out", "run"]
    assert main([*fit, "--data.image_size", "16", "--data.val_ratio", "0.4"]) == 0
    for side in (24, 20):
        (tmp_path / f"{side}.yaml").write_text(
            f"data:\n  class_path: vision.folder\n  init_args: {{folder: images, image_size: {side}, batch_size: 2, "
            "val_ratio: 0.4}\n"
        )
    (tmp_path / "model.yaml").write_text(
        "model:\n  class_path: vision.mae\n  init_args: {size: tiny, image_size: 24, patch_size: 8}\n"
        + (tmp_path / "24.yaml").read_text()
    )
    capsys.readouterr()
    assert main(["finetune", "run", "--data", "20.yaml", "--max_steps", "1"]) == 2
    assert "`data.image_size` must be a multiple of 8, the `model.patch_size`, but is 20" in capsys.readouterr().err
    assert main(["finetune", "run", "--data", "24.yaml", "--max_steps", "1"]) == 0
    told = "Images are 24 pixels, and the encoder was trained on 16: its positions are resampled."
    assert capsys.readouterr().out.count(told) == 1
    assert main(["export", "run", "--format", "safetensors", "--out", "encoder.safetensors"]) == 0
    for number, source in enumerate(("run/checkpoints/last.ckpt", "encoder.safetensors")):
        out = Path(f"moved-{number}")
        imported = import_weights(Path(source), "model.yaml", out, resize_positions=True)
        assert imported.encoder.tensor_ratio == 1
        assert imported.resized == ["encoder.vit.pos_embed: [1, 5, 192] to [1, 10, 192]"]
        assert read_weights(out / "checkpoints" / "last.ckpt").tensors


@torch.no_grad()
def _codes(encoder: Any, images: torch.Tensor, patch_size: int = 8) -> torch.Tensor:
    latent = encoder(PatchTokenizer(patch_size)(images))
    return latent.values if latent.prefix is None else torch.cat([latent.prefix, latent.values], 1)


@torch.no_grad()
def _same_codes(encoder: ViTEncoder, peer: Any, size: tuple[int, ...]) -> None:
    images, tokenizer = torch.rand(2, 3, *size), PatchTokenizer(8)
    theirs = peer.forward_features((images - tokenizer.mean) / tokenizer.std)
    torch.testing.assert_close(_codes(encoder, images), theirs, rtol=1e-5, atol=1e-5)
