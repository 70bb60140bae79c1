"""A recipe under Ray Train: its model and data in each of Ray's workers, and a run folder that commands read.

python ray_train.py --config vision/mae-digits --out runs/ray --workers 2 --max_steps 200
"""

import argparse
import shutil
from pathlib import Path

import lightning as L
import ray
from lightning.pytorch.callbacks import ModelCheckpoint
from ray.train import RunConfig, ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer
from ray.train.torch import TorchTrainer

from unmask.api import RECIPES, built, find


def train(settings: dict) -> None:
    """What each worker does."""
    parts = built("ray_train", ["--config", settings["config"]])  # any options of `unmask fit` go here
    assert parts is not None
    model, data = parts
    folder = Path(settings["out"])
    trainer = L.Trainer(
        accelerator="gpu" if settings["gpu"] else "cpu",
        devices="auto",
        strategy=RayDDPStrategy(),
        plugins=[RayLightningEnvironment()],
        max_steps=settings["max_steps"],
        logger=False,
        callbacks=[ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer = prepare_trainer(trainer)
    trainer.fit(model, datamodule=data)
    ray.train.report({name: float(value) for name, value in trainer.callback_metrics.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="vision/mae-digits", help="a recipe")
    parser.add_argument("--out", default="runs/ray", help="the run folder")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--max_steps", type=int, default=200)
    parser.add_argument("--gpu", action="store_true", help="a GPU for each worker")
    given = parser.parse_args()

    folder = Path(given.out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(find(given.config, RECIPES).path(), folder / "config.yaml")  # what `unmask probe` builds the model of
    settings = {"config": given.config, "out": str(folder), "max_steps": given.max_steps, "gpu": given.gpu}
    trainer = TorchTrainer(
        train,
        train_loop_config=settings,
        scaling_config=ScalingConfig(num_workers=given.workers, use_gpu=given.gpu),
        run_config=RunConfig(name="ray", storage_path=str(folder)),
    )
    print(trainer.fit().metrics)


if __name__ == "__main__":
    main()
