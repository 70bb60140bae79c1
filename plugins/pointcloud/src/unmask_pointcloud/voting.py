"""Voting: a fine-tuned encoder's answers about several looks at a cloud, averaged (as in Point-MAE's evaluation).

unmask pointcloud-vote RUN [--looks 10]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unmask.api import GOOD, Arguments, UserError, at_least, checked_device, whole_number, writable

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    from unmask.api import FineTuning
    from unmask_pointcloud.data.module import PointCloudData


class Vote(NamedTuple):
    """Accuracies on the test clouds, in [0, 1].

    Args:
        single: of one look at each cloud, as everywhere else.
        voted: of the mean of all looks' probabilities.
    """

    single: float
    voted: float


def vote(model: FineTuning, data: PointCloudData, looks: int = 10, seed: int = 0, device: str = "cpu") -> Vote:
    """Answers about the clouds of ``probe_test``, with and without voting.

    A look is what a training sample is: points drawn anew from those that are stored, and the data's augmentation.

    Args:
        model: fine-tuned on one class per cloud.
        data: whose clouds.
        looks: at each cloud, at least 1. Point-MAE: 10.
        seed: of the looks.
        device: where to compute.

    Differs from Point-MAE's released evaluation, which votes up to 300 times anew and tells the best: here the looks
    are drawn once.

    Raises:
        ValueError: a count below 1, a model of other labels, or data without classes.
    """
    import torch
    from lightning.fabric.utilities import move_data_to_device
    from torch.utils.data import Subset

    from unmask.api import CLASSIFICATION, batches, evaluating, split_of
    from unmask.data import Augmented
    from unmask_pointcloud.data.module import View

    at_least(1, looks=looks)
    if model.task.per_token or model.task.kind != CLASSIFICATION:
        raise ValueError("Voting needs a model that was fine-tuned on one class per cloud, but this one was not.")
    still = split_of(data, "probe_test")
    view = data.splits.probe_test
    assert isinstance(view, View)
    assert data.augment is not None
    moved = Augmented(View(view.clouds, view.chosen, True), data.augment)

    def probabilities(dataset: Dataset) -> tuple[Tensor, Tensor]:
        found, labels = [], []
        with torch.no_grad(), evaluating(model.to(device)):
            for batch in batches(data, dataset, data.val_batch_size):
                found.append(model(move_data_to_device(batch, torch.device(device))).float().softmax(-1).cpu())
                labels.append(batch["label"])
        return torch.cat(found), torch.cat(labels)

    single, label = probabilities(still)
    keys = [[(seed, look, index) for index in range(len(view))] for look in range(looks)]  # of random numbers
    total = torch.stack([probabilities(Subset(moved, own))[0] for own in keys]).mean(0)  # type: ignore[arg-type]
    return Vote(*(float((answer.argmax(-1) == label).double().mean()) for answer in (single, total)))


def run(command: str, arguments: list[str]) -> int:
    """Vote with every encoder that was fine-tuned in a run, print the table, write ``vote.json``."""
    parser = Arguments(
        command,
        "Scores what `unmask finetune` trained in a run, with voting and without: voted figures stand apart.",
    )
    parser.add_argument("run", help="a run folder in which `unmask finetune` was run")
    parser.add_argument("--looks", default="10", help="at each cloud; default: 10")
    parser.add_argument("--seed", default="0", help="of the looks; default: 0")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)
    looks, seed = whole_number("--looks", given.looks), whole_number("--seed", given.seed, least=0)

    from unmask.api import load, load_run, write
    from unmask_pointcloud.data.module import PointCloudData

    device = checked_device(given.device)
    trained = load_run(given.run)
    if not isinstance(trained.datamodule, PointCloudData):
        raise UserError(f"The data must be point clouds, but is {type(trained.datamodule).__name__}.")
    files = sorted(Path(trained.folder, "finetune").glob("*.ckpt"))
    if not files:
        raise UserError(f"`{trained.folder}` must have been fine-tuned; run `unmask finetune {trained.folder}` first.")
    out = writable("run", trained.folder / "vote.json")
    try:
        found = {file.stem: vote(load(file), trained.datamodule, looks, seed, device) for file in files}
    except ValueError as error:
        raise UserError(str(error)) from error
    content = {"looks": looks, "seed": seed, "accuracy": {name: one._asdict() for name, one in found.items()}}
    write(out, (json.dumps(content, indent=2) + "\n").encode())
    print(f"{'accuracy, %':28}{'single look':>14}{f'vote of {looks}':>14}")
    for name, one in found.items():
        print(f"{name:28}{100 * one.single:14.1f}{100 * one.voted:14.1f}")
    print(f"Voted figures compare with voted ones only.\nWritten to {out}")
    return GOOD
