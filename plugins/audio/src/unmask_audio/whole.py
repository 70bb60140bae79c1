"""Whole sounds: a fine-tuned encoder's answers about the windows of a sound, averaged.

unmask audio-clips RUN
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unmask.api import GOOD, Arguments, UserError, checked_device, writable

if TYPE_CHECKING:
    from torch import Tensor

    from unmask.api import FineTuning
    from unmask_audio.data.module import AudioData


class Scores(NamedTuple):
    """Scores by name, on the test sounds.

    Args:
        windows: each window counts for itself, as in ``unmask finetune``.
        sounds: each sound counts once, with the mean of what is said about its windows.
        num_windows: how many there are.
        num_sounds: likewise.
    """

    windows: dict[str, float]
    sounds: dict[str, float]
    num_windows: int
    num_sounds: int


def score(model: FineTuning, data: AudioData, device: str = "cpu") -> Scores:
    """Answers about the windows of ``probe_test``, by window and by sound.

    What is averaged are probabilities where labels are classes, and else numbers.

    Args:
        model: fine-tuned on one label per sound.
        data: whose sounds.
        device: where to compute.

    Raises:
        ValueError: a model of labels per token, or data without labels.
    """
    import numpy as np
    import torch
    from lightning.fabric.utilities import move_data_to_device

    from unmask.api import Wholes, batches, evaluating, split_of

    if model.task.per_token:
        raise ValueError("Scores of whole sounds need a label per sound, but the model was tuned on one per token.")
    wholes, owners, answers = Wholes(), [], []
    test = split_of(data, "probe_test")
    with torch.no_grad(), evaluating(model.to(device)):
        for batch in batches(data, test, data.val_batch_size):
            owners.append(torch.from_numpy(wholes.of(batch["name"], batch["piece"].tolist())))
            answers.append(model.predict_step(move_data_to_device(batch, torch.device(device))))
    model.cpu()
    owner = torch.cat(owners)  # [n], of each window
    outputs, label = (torch.cat(each) for each in list(zip(*answers, strict=True))[:2])
    first = torch.from_numpy(np.unique(owner.numpy(), return_index=True)[1])
    whole = answers[0]._replace(outputs=_mean(outputs, owner, model.task.kind), label=label[first])
    return Scores(model.score(answers), model.score([whole]), len(owner), len(wholes.names))


def _mean(outputs: Tensor, owner: Tensor, kind: str) -> Tensor:
    """Outputs ``[n, C]`` averaged by owner ``[n]``, so that they are answered as the mean of answers is."""
    import numpy as np
    import torch

    from unmask.api import CLASSIFICATION, means

    least = torch.finfo(torch.float64).tiny
    said = outputs.double()
    said = said.softmax(-1) if kind == CLASSIFICATION else said.sigmoid() if kind == "multi-label" else said
    mean = torch.from_numpy(np.concatenate(list(means(said.numpy(), owner.numpy()))))
    if kind == CLASSIFICATION:
        return mean.clamp(min=least).log().float()
    return mean.logit(eps=1e-12).float() if kind == "multi-label" else mean.float()


def run(command: str, arguments: list[str]) -> int:
    """Score every encoder that was fine-tuned in a run, print the table, write ``clips.json``."""
    parser = Arguments(
        command,
        "Scores what `unmask finetune` trained in a run on whole sounds: what is said about the windows of a sound is "
        "averaged. `unmask finetune` counts each window for itself.",
    )
    parser.add_argument("run", help="a run folder in which `unmask finetune` was run")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)

    from unmask.api import load, load_run, write
    from unmask_audio.data.module import AudioData

    device = checked_device(given.device)
    trained = load_run(given.run)
    if not isinstance(trained.datamodule, AudioData):
        raise UserError(f"The data must be sounds, but is {type(trained.datamodule).__name__}.")
    files = sorted(Path(trained.folder, "finetune").glob("*.ckpt"))
    if not files:
        raise UserError(f"`{trained.folder}` must have been fine-tuned; run `unmask finetune {trained.folder}` first.")
    out = writable("run", trained.folder / "clips.json")
    try:
        found = {file.stem: score(load(file), trained.datamodule, device) for file in files}
    except ValueError as error:
        raise UserError(str(error)) from error
    write(out, (json.dumps({name: one._asdict() for name, one in found.items()}, indent=2) + "\n").encode())
    one = next(iter(found.values()))
    print(f"{one.num_windows:,} windows of {one.num_sounds:,} sounds")
    print(f"{'':44}{'by window':>14}{'by sound':>14}")
    for name, scores in found.items():
        for measure in scores.windows:
            print(f"{f'{name}, {measure}':44}{scores.windows[measure]:14.4f}{scores.sounds[measure]:14.4f}")
    print(f"Written to {out}")
    return GOOD
