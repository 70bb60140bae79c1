"""Models and data of point clouds that do not fit each other are refused before anything is read."""

import lightning as L
import pytest

from unmask import agreements
from unmask.api import main
from unmask_pointcloud.data import PointCloudFilesData, SolidsData
from unmask_pointcloud.encoders import PointTransformer
from unmask_pointcloud.methods import DVAE, PointBERT, PointMAE
from unmask_pointcloud.predictors import PointDecoder

SMALL = {"num_patches": 8, "patch_size": 16}


def mae(**options):
    return PointMAE(size=None if "encoder" in options else "tiny", **(SMALL | options))


def dvae(**options):
    return DVAE(**(SMALL | options), num_codes=8, width=16, hidden_width=8)


def bert(**options):
    return PointBERT(size="tiny", **(SMALL | options), num_codes=8, dvae_width=16, hidden_width=8, queue_size=8)


def solids(channels=(), num_points=128, **options):
    return SolidsData(24, num_points=num_points, stored_points=num_points, channels=channels, **options)


@pytest.mark.parametrize("method", [mae, dvae, bert])
@pytest.mark.parametrize("loaded", [False, True])
def test_channels_of_points(method, loaded):
    agreements.check(method(channels=3), solids(("normals",)), loaded)
    with pytest.raises(
        ValueError, match=r"`model.channels` must be 3, the numbers of `data.channels` normals \(3\), but"
    ):
        agreements.check(method(), solids(("normals",)), loaded)
    with pytest.raises(ValueError, match=r"must be 0, the numbers of `data.channels` none, but is 1"):
        agreements.check(method(channels=1), solids(), loaded)
    with pytest.raises(ValueError, match=r"must be 4, the numbers of `data.channels` rgb \(3\), intensity \(1\)"):
        agreements.check(method(), PointCloudFilesData("nowhere", channels=("rgb", "intensity")), loaded)


def test_channels_of_an_encoder():
    model = mae(encoder=PointTransformer(64, 1, 1), channels=3, predictor=PointDecoder(64, 48, 1, 1))
    with pytest.raises(
        ValueError, match=r"`model.encoder.channels` must be 3, the `channels` of the tokenizer, but is 0"
    ):
        agreements.check(model, solids(("normals",)), False)


def test_points_of_a_cloud(capsys):
    for options, said in (
        ({"num_patches": 129}, "`data.num_points` must be at least 129, the `model.num_patches`, but is 128"),
        ({"patch_size": 132}, "`data.num_points` must be at least 132, the `model.patch_size`, but is 128"),
    ):
        with pytest.raises(ValueError, match=said):
            agreements.check(mae(**options), solids(), False)
    assert capsys.readouterr().out == ""
    agreements.check(mae(patch_size=64), solids(), False)
    assert "`model.patch_size` is 64 of the 128 points" in capsys.readouterr().out
    agreements.check(mae(patch_size=8), solids(), False)
    assert "at least 64 of the 128 points of a cloud (`data.num_points`) are in no patch" in capsys.readouterr().out


def test_a_trainer_refuses_them():
    trainer = L.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    with pytest.raises(ValueError, match=r"must be 3, the numbers of `data.channels`"):
        trainer.fit(mae(), datamodule=solids(("normals",), batch_size=4))


def test_answers_are_those_of_the_target():
    """A Chamfer distance takes sets of any two sizes, so nothing else would tell."""
    with pytest.raises(ValueError, match="`target_width` of the predictor must be 48, 3 numbers of each point"):
        mae(predictor=PointDecoder(192, 96))


def test_a_command_refuses_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = ["--config", "pointcloud/point-mae-solids", "--data.num_solids", "24", "--data.batch_size", "4"]
    assert main(["fit", *recipe, "--data.channels", "[normals]", "--trainer.max_steps", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "`model.channels` must be 3, the numbers of `data.channels` normals (3), but is 0; so must "
        "`model.encoder.channels`, where an encoder is given."
    ]
