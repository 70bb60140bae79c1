"""``unmask audio-stats``: mean and deviation of a data set's features, by which a tokenizer normalises them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from unmask.api import GOOD, Arguments, UserError, checked_device, whole_number, writable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from unmask.data import MaskedDataModule
    from unmask_audio.frontends import FrontEnd

BATCH_SIZE = 32


def run(command: str, arguments: list[str]) -> int:
    """Take the options of the measurement, leave the others to the parser of ``unmask fit``, measure."""
    parser = Arguments(
        command,
        "Mean and standard deviation of the features that a recipe's tokenizer makes of its training data: its `mean` "
        "and `std`. Give a recipe or file with --config, and any --model... and --data... as for `unmask fit`.",
    )
    parser.add_argument("--max_samples", default="10000", help="windows to measure, spread evenly; default: 10000")
    parser.add_argument("--per_feature", action="store_true", help="numbers of each feature, as cepstra need")
    parser.add_argument("--out", help="a .json file to write them to, too")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given, words = parser.parse_known_args(arguments)
    if not words:
        raise UserError("`unmask audio-stats` needs a recipe or file: `--config NAME`.")
    max_samples = whole_number("--max_samples", given.max_samples)
    if given.out and Path(given.out).suffix != ".json":
        raise UserError(f"`--out` must end in .json, but is `{given.out}`.")
    out = writable("--out", Path(given.out)) if given.out else None

    from unmask import agreements
    from unmask.api import built, message_of, write
    from unmask_audio.tokenizer import SpectrogramTokenizer

    device = checked_device(given.device)
    parts = built(command, words)
    if parts is None:  # after --print_config
        return GOOD
    model, datamodule = parts
    if not isinstance(model.tokenizer, SpectrogramTokenizer):
        raise UserError(
            f"`unmask audio-stats` measures features of spectrograms, but the tokenizer of "
            f"{type(model).__name__} is a {type(model.tokenizer).__name__}."
        )
    try:
        agreements.check(model, datamodule, loaded=False)
        found = measure(model.tokenizer.frontend, datamodule, max_samples, device)
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error

    numbers = found.per_feature if given.per_feature else found.overall
    print(f"{found.num_frames:,} frames of {found.num_samples:,} windows. In the recipe, under `tokenizer`:")
    for name, value in numbers.items():
        print(f"{name}: {json.dumps(value)}")
    if out is not None:
        counts = {"num_samples": found.num_samples, "num_frames": found.num_frames}
        write(out, (json.dumps(numbers | counts) + "\n").encode())
        print(f"Written to {out}")
    return GOOD


class Moments(NamedTuple):
    """Each feature's sum and sum of squares ``[F]`` float64, over ``num_frames`` of ``num_samples`` windows."""

    total: Tensor
    squares: Tensor
    num_frames: int
    num_samples: int

    @property
    def overall(self) -> dict[str, Any]:
        """``mean`` and ``std`` of all features together."""
        return _rounded(self.total.mean() / self.num_frames, self.squares.mean() / self.num_frames)

    @property
    def per_feature(self) -> dict[str, Any]:
        """``mean`` and ``std`` of each."""
        return _rounded(self.total / self.num_frames, self.squares / self.num_frames)


def measure(
    frontend: FrontEnd, datamodule: MaskedDataModule, max_samples: int, device: torch.device | str = "cpu"
) -> Moments:
    """Moments of the training split's features, frames beyond a clip's end left out; nothing is augmented."""
    import torch
    from lightning.fabric.utilities import move_data_to_device
    from torch.utils.data import Subset

    from unmask.api import batches, progress, split_of

    datamodule.setup("validate")  # says what was found, and asks for no full batch
    train = split_of(datamodule, "train")
    num_samples = len(train)  # type: ignore[arg-type]
    count = min(max_samples, num_samples)
    chosen = Subset(train, [number * num_samples // count for number in range(count)])
    frontend = frontend.to(device)
    total = squares = torch.zeros(frontend.width, dtype=torch.float64)
    num_frames = done = 0
    with progress("measuring features", count) as moved, torch.no_grad():
        for batch in batches(datamodule, chosen, BATCH_SIZE):
            batch = move_data_to_device(batch, torch.device(device))
            values, frames = frontend(batch["wave"], batch.get("length"))  # [B, T, F]
            if frames is not None:
                values = values[torch.arange(values.shape[1], device=values.device) < frames[:, None]]
            flat = values.reshape(-1, frontend.width).double().cpu()
            total, squares, num_frames = total + flat.sum(0), squares + flat.square().sum(0), num_frames + len(flat)
            done += len(batch["wave"])
            moved(done)
    return Moments(total, squares, num_frames, count)


def _rounded(mean: Tensor, square: Tensor) -> dict[str, Any]:
    """Six digits after the point, which is more than any data set is known to."""
    std = (square - mean.square()).clamp(min=0).sqrt()
    rounded = [numbers.round(decimals=6).tolist() for numbers in (mean, std)]
    return dict(zip(("mean", "std"), rounded, strict=True))
