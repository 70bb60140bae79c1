"""What GraphMAE learns on Cora, MUTAG, IMDB-BINARY and PROTEINS, by the protocols and with the settings of its paper.

`graph.graphmae` is trained as `unmask fit` trains it: by Lightning, from the data module, with its own optimiser. Then
codes are frozen. Nodes: one linear layer, Adam 0.01, decay 1e-4, 300 full-batch epochs on the public split, at the last
epoch (what the paper's tables have) and at the best validation epoch. Graphs: pooled codes, RBF machine, 10 folds, C of
0.001 to 10 by inner folds. Columns: raw features, the untrained encoder, the same with BatchNorm's statistics
collected once, and the pretrained encoder.

    python benchmarks/quality/graph.py FOLDER [FOLDER ...] [--data cora mutag] [--seeds 0 1 2 3 4] [--out FILE]

A FOLDER holds Planetoid's raw files (``ind.cora.x``, ...) or text files of GIN's repository (``MUTAG.txt``, ...).
Each seed's figures are appended to ``--out``, and a seed whose figures are there is not run again.

Differs from the authors' code: nodes are hidden in each graph apart (there: in the whole batch), ``ceil`` of the share
(there: ``floor``); stand-ins are visible nodes; learning rates fall per step (there: per epoch, the same for Cora).
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from settings import Changeable

from unmask import Corruption
from unmask.losses import ScaledCosineLoss
from unmask.masks import RandomMask
from unmask.support.nearest import nearest, quoted
from unmask_graph.data.module import GraphData
from unmask_graph.data.planetoid import PlanetoidData
from unmask_graph.data.tu import TUData
from unmask_graph.evaluate.measure import measure
from unmask_graph.methods.graphmae import GraphMAE
from unmask_graph.optim import Adam


@dataclass(frozen=True)
class Setting(Changeable):
    """The authors' settings for one data set (``configs.yml`` of their code)."""

    file: str
    task: str
    epochs: int
    width: int
    num_layers: int
    mask_ratio: float
    replace: float
    gamma: float
    lr: float
    weight_decay: float = 0.0
    cosine: bool = False
    batch_size: int = 1
    pool: str = "mean"


SETTINGS = {
    "cora": Setting("ind.cora.x", "nodes", 1500, 512, 2, 0.5, 0.05, 3.0, 1e-3, weight_decay=2e-4, cosine=True),
    "mutag": Setting("MUTAG.txt", "graphs", 20, 32, 5, 0.75, 0.1, 2.0, 5e-4, batch_size=64, pool="sum"),
    "imdb-b": Setting("IMDBBINARY.txt", "graphs", 60, 512, 2, 0.5, 0.0, 1.0, 1.5e-4, batch_size=32, pool="mean"),
    "proteins": Setting("PROTEINS.txt", "graphs", 100, 512, 3, 0.5, 0.0, 1.0, 1.5e-4, batch_size=32, pool="max"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="with ind.cora.x, ... or MUTAG.txt, ...")
    parser.add_argument("--data", nargs="+", help=f"of {', '.join(SETTINGS)}; default: all that the folders hold")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, help="in place of the paper's")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings in place of the paper's"
    )
    parser.add_argument("--precision", default="32-true", help="Lightning's name of it, such as bf16-mixed")
    parser.add_argument("--out", type=Path, default=Path("graph-quality.jsonl"), help="a line per data set and seed")
    arguments = parser.parse_args()
    there = dict(_there(arguments.folders))
    for name in arguments.data or []:
        if name not in there:
            near = quoted(nearest(name, there) or there) or "nothing is there"
            parser.error(f"`--data` must be of what the folders hold, but is `{name}`; nearest: {near}.")
    if not there:
        parser.error(f"`folders` must hold one of {quoted(one.file for one in SETTINGS.values())}, but hold none.")
    found = {name: path for name, path in there.items() if name in (arguments.data or there)}

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*(does not have many workers|smaller than the logging interval).*")
    for name, path in found.items():
        setting = SETTINGS[name].changed([f"epochs={arguments.epochs}"] * bool(arguments.epochs) + arguments.set)
        key = {"data": name, "precision": arguments.precision} | asdict(setting)
        print("\n" + ", ".join(f"{one} {value}" for one, value in key.items()))
        data = data_of(setting, path)
        data.setup("fit")
        for seed in arguments.seeds:
            if not any(one["seed"] == seed for one in _lines(arguments.out, key)):
                began = time.perf_counter()
                scores = run(data, setting, seed, arguments.precision)
                line = key | {"seed": seed, "seconds": round(time.perf_counter() - began), "scores": scores}
                with arguments.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            _told(f"seed {seed}", [one for one in _lines(arguments.out, key) if one["seed"] == seed])
        runs = [one for one in _lines(arguments.out, key) if one["seed"] in arguments.seeds]
        if len(runs) > 1:
            _told(f"mean of {len(runs)} seeds", runs)


def data_of(setting: Setting, path: Path) -> GraphData:
    if setting.task == "nodes":
        return PlanetoidData(str(path.parent), name=path.name.split(".")[1])
    return TUData(str(path), batch_size=setting.batch_size, drop_last=False)


def model_of(data: GraphData, setting: Setting) -> GraphMAE:
    return GraphMAE(
        num_features=data.num_features,
        kind="gat" if setting.task == "nodes" else "gin",
        width=setting.width,
        num_layers=setting.num_layers,
        mask=RandomMask(setting.mask_ratio),
        loss=ScaledCosineLoss(setting.gamma),
        corruption=Corruption(token=1 - setting.replace, random=setting.replace),
        optim=Adam(
            base_lr=setting.lr,
            scale_lr=False,
            min_lr=0.0 if setting.cosine else setting.lr,
            weight_decay=setting.weight_decay,
            betas=(0.9, 0.999),
        ),
    )


def run(data: GraphData, setting: Setting, seed: int, precision: str) -> dict[str, dict[str, float]]:
    """By row and column, an accuracy."""
    L.seed_everything(seed, verbose=False)
    model = model_of(data, setting)
    untrained = copy.deepcopy(model)
    data.seed = None  # the order of batches is this seed's
    trainer = L.Trainer(
        max_epochs=setting.epochs,
        accelerator="cpu",
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        limit_val_batches=0,
        callbacks=[Told(setting.epochs)],
    )
    trainer.fit(model, datamodule=data)
    result = measure(model, untrained, data, setting.task, pool=setting.pool, seed=seed)
    return {row.name: {column: cell.mean for column, cell in row.cells.items()} for row in result.rows}


class Told(L.Callback):
    """A line every tenth of the epochs."""

    def __init__(self, epochs: int) -> None:
        self.every, self.began = max(epochs // 10, 1), time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        done = trainer.current_epoch + 1
        if done % self.every == 0:
            each = (time.perf_counter() - self.began) / done
            loss = float(trainer.callback_metrics["train/loss"])
            print(f"    epoch {done}: loss {loss:.4f}, {each:.3f} s an epoch", flush=True)


def _there(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    for name, setting in SETTINGS.items():
        for folder in folders:
            if (folder / setting.file).is_file():
                yield name, folder / setting.file
                break


def _lines(out: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured before, with the same settings."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    return [line for line in lines if all(line.get(name) == value for name, value in key.items())]


def _told(title: str, runs: list[dict[str, Any]]) -> None:
    print(f"  {title} ({', '.join(str(one['seconds']) for one in runs)} s)")
    for row, columns in runs[0]["scores"].items():
        cells = []
        for column in columns:
            scores = np.array([one["scores"][row][column] for one in runs]) * 100
            cells.append(f"{column} {scores.mean():.2f}" + (f" ± {scores.std():.2f}" if len(runs) > 1 else ""))
        print(f"    {row}: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
