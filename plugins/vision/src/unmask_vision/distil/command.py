"""``unmask vision-distil``: a few synthetic images that teach what a run's encoder knows, and how well they do.

unmask vision-distil RUN [--num_images 100] [--steps 1000] [--seeds 0,1,2] [--out FOLDER]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unmask.api import GOOD, Arguments, UserError, checked_device, whole_number, writable


def run(command: str, arguments: list[str]) -> int:
    """Learn the images, measure them, print the table; write images, targets and numbers into a folder."""
    parser = Arguments(
        command,
        "Learns a few synthetic images and targets from a run's encoder by kernel ridge regression (KRR-ST), pretrains "
        "a small network on them, and probes it with labels beside one pretrained on as many real images.",
    )
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("--data", help="another YAML file whose `data` has the images; default: the run's own")
    parser.add_argument("--num_images", default="100", help="synthetic images; default: 100")
    parser.add_argument("--steps", default="1000", help="that they are learnt in; the paper: 160000; default: 1000")
    parser.add_argument("--pretrain_steps", default="500", help="of a network on images and targets; default: 500")
    parser.add_argument("--width", default="64", help="of the networks' convolutions; default: 64")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2; default: 0")
    parser.add_argument("--out", help="where to write; default: `distilled` in the run folder")
    parser.add_argument("--device", default="cpu", help="of the teacher; default: cpu")
    given = parser.parse_args(arguments)
    names = ("num_images", "steps", "pretrain_steps", "width")
    numbers = {name: whole_number(f"--{name}", getattr(given, name)) for name in names}
    seeds = [whole_number("--seeds", word, least=0) for word in dict.fromkeys(given.seeds.split(","))]

    import numpy as np

    from unmask.api import load_run, progress, write
    from unmask_vision.data.module import ImageData
    from unmask_vision.distil.krr import Distillation

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    if not isinstance(trained.datamodule, ImageData):
        raise UserError(f"The data must be images, but is {type(trained.datamodule).__name__}.")
    folder = Path(given.out) if given.out else trained.folder / "distilled"
    writable("--out", folder / "distilled.json")
    train, test = (_taught(trained, split, device) for split in ("probe_train", "probe_test"))

    found: list[dict[str, Any]] = []
    for seed in seeds:
        try:
            distilled = Distillation(
                train["image"], train["answer"], numbers["num_images"], numbers["steps"], width=numbers["width"],
                seed=seed,
            )  # fmt: skip
        except ValueError as error:
            raise UserError(str(error).replace("`", "`--", 1)) from error
        with progress("Distilling", numbers["steps"]) as moved:
            for done, _ in enumerate(distilled.run(), 1):
                moved(done)
        losses = distilled.losses
        synthetic, targets = distilled.synthetic.detach(), distilled.targets.detach()
        given_to = {
            "untrained": None,
            "real": (train["image"][distilled.chosen], train["answer"][distilled.chosen]),
            "synthetic": (synthetic, targets),
        }
        found.append({"seed": seed, "loss": [losses[0], losses[-1]]})
        for name, data in given_to.items():
            found[-1][name] = _accuracy(data, train, test, numbers, seed)
        if seed == seeds[0]:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / "images.npy", synthetic.numpy())
            np.save(folder / "targets.npy", targets.numpy())
    write(folder / "distilled.json", (json.dumps({**numbers, "found": found}, indent=2) + "\n").encode())
    _table(found, numbers, len(train["image"])).show()
    print(f"Written to {folder / 'images.npy'} (read by `vision.arrays`), targets.npy and distilled.json")
    return GOOD


def _taught(trained: Any, split: str, device: Any) -> dict[str, Any]:
    """Images of a split ``[n, C, H, W]`` float32, the encoder's mean codes about them, and labels."""
    import torch

    from unmask.api import batches, split_of

    datamodule, model = trained.datamodule, trained.model.to(device).eval()
    datamodule.setup("validate")
    images, answers, labels = [], [], []
    with torch.no_grad():
        for batch in batches(datamodule, split_of(datamodule, split), 256):
            image = batch["image"] if batch["image"].is_floating_point() else batch["image"].float() / 255
            images.append(image)
            answers.append(model.embed({"image": image.to(device)}).pool("mean").float().cpu())
            if "label" not in batch:
                raise UserError("The data must have labels to probe by, but has none.")
            labels.append(batch["label"])
    answer = torch.cat(answers)
    return {"image": torch.cat(images), "answer": answer, "label": torch.cat(labels)}


def _accuracy(data: Any, train: dict[str, Any], test: dict[str, Any], numbers: dict[str, int], seed: int) -> float:
    """Share of the test images that a linear probe, fitted on all labels, tells by a network pretrained on ``data``."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from unmask_vision.distil.krr import pretrained

    images, targets = (train["image"][:2], train["answer"][:2]) if data is None else data
    net = pretrained(images, targets, 0 if data is None else numbers["pretrain_steps"], numbers["width"], seed)
    with torch.no_grad():
        features = [net.features(part["image"]).numpy() for part in (train, test)]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(features[0], train["label"].numpy())
    return float(probe.score(features[1], test["label"].numpy()))


def _table(found: list[dict[str, Any]], numbers: dict[str, int], num_real: int) -> Any:
    from unmask.api import Cell, Measure, Results, Row

    columns = ["untrained", "real", "synthetic"]
    cells = {name: Cell.of([one[name] for one in found]) for name in columns}
    first, last = (sum(one["loss"][i] for one in found) / len(found) for i in (0, 1))
    caption = [
        f"A small network, pretrained for {numbers['pretrain_steps']} steps on {numbers['num_images']} images and what "
        f"the encoder says of them: real ones drawn from {num_real:,}, or synthetic ones.",
        "Then a linear probe on all labels of the training images.",
        f"The outer loss went from {first:.4g} to {last:.4g} in {numbers['steps']} steps.",
    ]
    if len(found) > 1:
        caption.append(f"± standard error over {len(found)} seeds.")
    row = Row("classes", Measure("accuracy", percent=True), cells)
    return Results("Accuracy of a probe, %", columns, [row], caption, head="over", gain="gain over {}")
