"""``unmask vision-occlude``: what a fine-tuned CNN still knows when parts of an image are hidden from it.

unmask vision-occlude RUN [--checkpoint FILE] [--shares 0,0.25,0.5,0.75] [--cell 4] [--seed 0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unmask.api import GOOD, Arguments, UserError, checked_device, number, whole_number, writable

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = ("mean colour", "layer masking")


def run(command: str, arguments: list[str]) -> int:
    """Hide, ask, print accuracies; write ``occluded.json`` into the run folder."""
    parser = Arguments(
        command,
        "Accuracy of a fine-tuned CNN on images of which more and more is hidden, at random: shown in the mean colour, "
        "or left out of every convolution (layer masking), where no colour misleads it.",
    )
    parser.add_argument("run", help="a run folder whose encoder was fine-tuned")
    parser.add_argument(
        "--checkpoint", help="of `unmask finetune`; default: the first of the run's finetune/pretrained*"
    )
    parser.add_argument("--data", help="another YAML file whose `data` to take; default: the run's own")
    parser.add_argument("--shares", default="0,0.25,0.5,0.75", help="of the cells to hide; default: 0,0.25,0.5,0.75")
    parser.add_argument("--cell", default="4", help="side in pixels of what is hidden together; default: 4")
    parser.add_argument("--seed", default="0", help="of what is hidden; default: 0")
    parser.add_argument("--device", default="cpu", help="one device; default: cpu")
    given = parser.parse_args(arguments)
    shares = [float(number("--shares", word)) for word in given.shares.split(",")]
    for share in shares:
        if not 0 <= share < 1:
            raise UserError(f"`--shares` must be in [0, 1), but one is {share:g}.")
    cell, seed = whole_number("--cell", given.cell), whole_number("--seed", given.seed, least=0)

    import torch

    from unmask import Draws
    from unmask.api import Cell, Measure, Results, Row, batches, load, load_run, split_of, track, write
    from unmask_vision.encoders import LayerMasked

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    file = given.checkpoint or next(iter(sorted((trained.folder / "finetune").glob("pretrained*.ckpt"))), None)
    if file is None:
        raise UserError(f"There is no fine-tuned checkpoint in `{trained.folder}`: run `unmask finetune {given.run}`.")
    writable("run", trained.folder / "occluded.json")
    classifier = classifier_of(load(file)).to(device).eval()
    masked = LayerMasked(classifier)
    trained.datamodule.setup("validate")
    loader = list(batches(trained.datamodule, split_of(trained.datamodule, "probe_test"), 128))
    right = {(share, name): 0 for share in shares for name in COLUMNS}
    total = 0
    with torch.no_grad():
        for batch in track(loader, "images"):
            image, label = classifier.pixels(batch).to(device), batch["label"]
            total += len(label)
            for share in shares:
                hidden = hidden_cells(image, share, cell, Draws.of(seed, batch["index"])).to(device)
                answers = {
                    "mean colour": classifier(image.masked_fill(hidden[:, None], 0)),
                    "layer masking": masked(image, hidden),
                }
                for name, answer in answers.items():
                    right[share, name] += int((answer.argmax(-1).cpu() == label).sum())
    measure = Measure("accuracy", percent=True)
    rows = [
        Row(f"{share:.0%}", measure, {one: Cell.of([right[share, one] / total]) for one in COLUMNS}) for share in shares
    ]
    caption = [
        f"{file}, on {total:,} images; cells of {cell} pixels are hidden at random, the same in both columns.",
        "Mean colour: what normalisation makes 0. Layer masking (Balasubramanian & Feizi 2022) trains nothing.",
    ]
    found = Results("Accuracy with parts of the images hidden, %", list(COLUMNS), rows, caption, head="hidden")
    write(trained.folder / "occluded.json", found.to_json().encode())
    found.show()
    print(f"Written to {trained.folder / 'occluded.json'}")
    return GOOD


def hidden_cells(image: Tensor, share: float, cell: int, draws: Any) -> Tensor:
    """Pixels ``[B, H, W]`` bool of the share of cells that is hidden in each image, at least one cell less than all."""
    rows, columns = (-(-side // cell) for side in image.shape[2:])
    lot = draws.uniform(rows * columns)  # [B, N]
    count = min(round(share * rows * columns), rows * columns - 1)
    hidden = (lot.argsort(1).argsort(1) < count).view(-1, rows, columns)
    whole: Tensor = hidden.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    return whole[:, : image.shape[2], : image.shape[3]]


def classifier_of(tuned: Any) -> Any:
    """A fine-tuned CNN as one module from normalised images ``[B, C, H, W]`` to scores.

    Raises:
        UserError: an encoder that is no network of convolutions, labels that are no classes, or another pooling.
    """
    from torch import nn

    from unmask.api import CLASSIFICATION
    from unmask_vision.encoders import MapEncoder

    encoder = tuned.encoder
    if not isinstance(encoder, MapEncoder) or encoder.sparse.mixers:
        raise UserError(f"The encoder must be a network of convolutions, but is {type(encoder).__name__}.")
    if tuned.task.kind != CLASSIFICATION or tuned.task.per_token or tuned.settings.pool != "mean":
        raise UserError("The checkpoint must be of classes of samples, with `--pool mean`, but is not.")

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer, self.encoder, self.head = tuned.tokenizer, encoder, tuned.head
            self.pool = nn.AdaptiveAvgPool2d(1)  # which layer masking knows

        def pixels(self, batch: Any) -> Tensor:
            return encoder.image_of(self.tokenizer({"image": batch["image"]}))

        def forward(self, image: Tensor) -> Tensor:
            encoder.sparse.show(None)
            answers: Tensor = self.head(self.pool(encoder.features(image)[-1]).flatten(1))
            return answers

    return Classifier()
