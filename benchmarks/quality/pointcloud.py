"""What Point-MAE and Point-BERT learn on LDraw-20 in minutes of a CPU, beside descriptors and an untrained encoder.

Each method is trained as `unmask fit` trains it, on all clouds but those of the test part, for as many steps as fit
``--budget_s`` seconds of one thread's processor time (Point-BERT: both stages together), measured over its first steps:
a crowded machine changes how long one waits, not how far training comes. Then codes are frozen: mean and maximum over
patches, a linear SVM and kNN on all labels, and 5-way and 10-way episodes of 10 and 20 shots, with C by inner folds of
the training labels, in every column alike. Columns: descriptors (`unmask_pointcloud.descriptors`), the untrained
encoder, the same with batch norm's statistics collected, the pretrained encoder. At the end, by how many standard
errors over seeds pretraining leads over the best of the others.

    python benchmarks/quality/pointcloud.py FOLDER [--seeds 0 1 2] [--budget_s 1200] [--set lr=2e-3] [--out FILE]
    python benchmarks/quality/pointcloud.py FOLDER --search [--budget_s 150]

FOLDER holds .npz files with ``points`` ``[n, P, 3]``: one with ``test`` in its name and ``label``, one with ``train``
and ``label``, and any others to train on without labels. ``--search`` changes one setting at a time and compares the
linear SVM on held-out parts of the training labels; the test part is not looked at. Each seed's figures are appended
to ``--out``, and a seed whose figures are there is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from budget import fit
from settings import Changeable, lines, prepare
from sklearn.model_selection import StratifiedKFold

from unmask import Embedder, MaskedModel, Optimization
from unmask.masks import RandomMask
from unmask.tools.features.samples import batches
from unmask.tools.features.vectors import raw_vectors, vectors
from unmask.tools.probe.probe import probe_columns
from unmask.tools.probe.statistics import with_statistics
from unmask_pointcloud.data import NpzCloudsData
from unmask_pointcloud.encoders.point_transformer import PointTransformer
from unmask_pointcloud.few_shot import episodes, linear_svm
from unmask_pointcloud.methods.dvae import DVAE
from unmask_pointcloud.methods.point_bert import PointBERT
from unmask_pointcloud.methods.point_mae import PointMAE
from unmask_pointcloud.predictors.decoder import PointDecoder

METHODS = ("point-mae", "point-bert")
COLUMNS = ("descriptors", "untrained", "with statistics", "pretrained")
SHOTS = ((5, 10), (5, 20), (10, 10), (10, 20))
"""Classes of an episode, and labels of each."""
CLIP = 10.0
"""Greatest norm of a gradient. Training is in bfloat16, codes are read out in float32."""
DVAE_SHARE = 0.25
"""Of Point-BERT's budget, for its first stage."""


@dataclass(frozen=True)
class Setting(Changeable):
    """What is trained; `SEARCH` has what else was tried."""

    points: int = 1024
    patches: int = 16
    patch_size: int = 64
    width: int = 192
    depth: int = 3
    pointnet_width: int = 32
    ratio: float = 0.6
    batch: int = 32
    lr: float = 2e-3
    augment: str = "none"
    codes: int = 512


SETTINGS = {
    "point-mae": Setting(),
    "point-bert": Setting(patches=32, patch_size=32, depth=4, lr=1e-3),
}
SEARCH = (
    "lr=2e-3", "lr=1e-3", "lr=4e-3", "batch=16", "batch=64", "patches=32", "patches=64", "patch_size=32", "width=128",
    "width=256", "depth=4", "pointnet_width=64", "ratio=0.45", "ratio=0.75", "augment=scale-translate",
    "augment=rotate-y",
)  # fmt: skip
"""The first is what stands."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget_s", type=float, default=1200, help="of one thread, to train each method and seed")
    parser.add_argument("--episodes", type=int, default=10, help="of few labels, per seed")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--search", action="store_true", help="one setting at a time, with Point-MAE")
    parser.add_argument("--out", type=Path, default=Path("pointcloud-quality.jsonl"), help="a line per method and seed")
    arguments = parser.parse_args()
    prepare()
    if arguments.search:
        setting = SETTINGS["point-mae"].changed(arguments.set)
        for word in SEARCH:
            changed = setting.changed([word])
            data = data_of(arguments.folder, changed)
            model, told = trained("point-mae", data, changed, arguments.budget_s, seed=0)
            print(f"{word:34s} {held_out_accuracy(model, data):.3f}  ({told})", flush=True)
        return

    for method in arguments.methods:
        setting = SETTINGS[method].changed(arguments.set)
        data = data_of(arguments.folder, setting)
        key = {"method": method, "budget_s": arguments.budget_s} | asdict(setting)
        print(
            "\nprocessor seconds of one thread; " + ", ".join(f"{name} {value}" for name, value in key.items()),
            flush=True,
        )
        for seed in arguments.seeds:
            if not any(one["seed"] == seed for one in lines(arguments.out, key)):
                untrained = model_of(method, setting, seed)
                model, told = trained(method, data, setting, arguments.budget_s, seed)
                print(f"  seed {seed}: {told}", flush=True)
                scores = measured(model, untrained, data, seed, arguments.episodes)
                with arguments.out.open("a") as file:
                    file.write(json.dumps(key | {"seed": seed, "about": told, "scores": scores}) + "\n")
        show([one["scores"] for one in lines(arguments.out, key) if one["seed"] in arguments.seeds])


def data_of(folder: Path, setting: Setting) -> NpzCloudsData:
    files = sorted(folder.expanduser().glob("*.npz"))
    test = [str(path) for path in files if "test" in path.stem]
    if not test or len(test) == len(files):
        sys.exit(f"`folder` must hold .npz files to train on and one with `test` in its name, but {folder} does not.")
    return NpzCloudsData(
        [str(path) for path in files if str(path) not in test],
        test,
        num_points=setting.points,
        augment=() if setting.augment == "none" else tuple(setting.augment.split(",")),
        batch_size=setting.batch,
        num_workers=0,
        val_batch_size=64,
    )


def model_of(method: str, setting: Setting, seed: int) -> MaskedModel:
    """A fresh one, the same for the same seed."""
    L.seed_everything(seed, verbose=False)
    patches: dict[str, Any] = {"num_patches": setting.patches, "patch_size": setting.patch_size}
    heads = setting.width // 32
    rest = {"pointnet_width": setting.pointnet_width, "drop_path_ratio": 0.0}
    optim = Optimization(base_lr=setting.lr, scale_lr=False, betas=(0.9, 0.95), warmup_steps=100)
    if method == "point-mae":
        return PointMAE(
            **patches,
            mask=RandomMask(setting.ratio),
            encoder=PointTransformer(setting.width, setting.depth, heads, **rest),  # type: ignore[arg-type]
            predictor=PointDecoder(setting.width, 3 * setting.patch_size, 1, heads, 0.0),
            optim=optim,
        )
    book = {"num_codes": setting.codes, "hidden_width": setting.pointnet_width}
    width = 2 * setting.pointnet_width
    if method == "dvae":
        optim = replace(optim, base_lr=2e-3, weight_decay=5e-4, warmup_steps=30)
        return DVAE(**patches, **book, width=width, score_scale=8, temperature=1.0, kl_weight=0.01, optim=optim)
    encoder = PointTransformer(
        setting.width, setting.depth, heads, patch_width=width, class_token=True, mask_token=True, **rest  # type: ignore[arg-type]
    )  # fmt: skip
    return PointBERT(**patches, **book, dvae_width=width, encoder=encoder, queue_size=2048, momentum=0.99, optim=optim)


def trained(method: str, data: NpzCloudsData, setting: Setting, budget_s: float, seed: int) -> tuple[MaskedModel, str]:
    """The model, and how long that took."""
    model = model_of(method, setting, seed)
    if not isinstance(model, PointBERT):
        return model, fit(model, data, budget_s, seed, CLIP)
    dvae = model_of("dvae", setting, seed)
    first = fit(dvae, data, DVAE_SHARE * budget_s, seed, CLIP)
    model.target.dvae.load_state_dict(dvae.encoder.state_dict())
    model.encoder.patch_net.load_state_dict(model.target.dvae.patch_net.state_dict())
    model.start_parts()
    model.target.taken.fill_(True)
    return model, f"first stage {first}; " + fit(model, data, (1 - DVAE_SHARE) * budget_s, seed, CLIP)


def extracted(
    model: MaskedModel, data: NpzCloudsData, raw: bool = False, embedder: Embedder | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Features and labels of the clouds to fit on, and of those to score on; by the model's embedder or another."""
    found = []
    for split in (data.splits.probe_train, data.splits.probe_test):
        loader = batches(data, split, 64)
        got = raw_vectors(model.embedder, loader) if raw else vectors(embedder or model.embedder, loader, "mean+max")
        assert got.label is not None
        found.append((got.values, got.label))
    return found


def measured(
    model: MaskedModel, untrained: MaskedModel, data: NpzCloudsData, seed: int, num_episodes: int
) -> dict[str, dict[str, float]]:
    """By row and column, an accuracy."""
    collected = with_statistics(untrained.embedder, data.train_dataloader())
    parts = [
        extracted(model, data, raw=True), extracted(untrained, data), extracted(untrained, data, embedder=collected),
        extracted(model, data),
    ]  # fmt: skip
    columns = {name: (train[0], test[0]) for name, (train, test) in zip(COLUMNS, parts, strict=True)}
    labels, test_labels = parts[0][0][1], parts[0][1][1]
    whole = probe_columns(columns, labels, test_labels, probes=("knn",), labels_per_class=(), seed=seed)
    scores = {row.name: {name: row.cells[name].mean for name in COLUMNS} for row in whole.rows}
    answers = {name: linear_svm(train, labels, test) for name, (train, test) in columns.items()}
    scores |= {"linear SVM, all labels": {name: float((answers[name] == test_labels).mean()) for name in COLUMNS}}
    for ways, shots in SHOTS:
        few = episodes(columns, labels, test_labels, ways, shots, num_episodes, seed)
        scores[f"{ways}-way, {shots} shots"] = {name: statistics.mean(few.cells[name].scores) for name in COLUMNS}
    return scores


def held_out_accuracy(model: MaskedModel, data: NpzCloudsData) -> float:
    """Of a linear SVM, over five folds of the training labels."""
    train, labels = extracted(model, data)[0]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    right = [
        linear_svm(train[fit], labels[fit], train[held]) == labels[held] for fit, held in folds.split(train, labels)
    ]
    return float(np.concatenate(right).mean())


def show(runs: list[dict[str, dict[str, float]]]) -> None:
    """Means over seeds, and how far pretraining leads in standard errors of the difference."""
    print(f"\n  {'':22s}" + "".join(f"{name:>17s}" for name in COLUMNS) + f"   lead over the best, {len(runs)} seeds")
    for row in runs[0]:
        values = np.array([[one[row][name] for name in COLUMNS] for one in runs])  # [seeds, columns]
        best = values[:, :-1].mean(0).argmax()
        lead = values[:, -1] - values[:, best]
        error = lead.std(ddof=1) / math.sqrt(len(lead)) if len(lead) > 1 else math.nan
        told = f"{lead.mean():+.3f} ± {error:.3f}" + (f" ({lead.mean() / error:+.1f} s.e.)" if error > 0 else "")
        print(f"  {row:22s}" + "".join(f"{mean:17.3f}" for mean in values.mean(0)) + f"   {told}")


if __name__ == "__main__":
    main()
