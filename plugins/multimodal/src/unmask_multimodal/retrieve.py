"""``unmask multimodal-retrieve RUN``: does a sample's one part find its other among those of other samples?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Subset

from unmask import MaskedModel, Tokens
from unmask.api import (
    GOOD,
    PRETRAINED,
    UNTRAINED,
    Arguments,
    Cell,
    Measure,
    Results,
    Row,
    UserError,
    batches,
    checked_device,
    evaluating,
    load_run,
    message_of,
    parts_given,
    split_of,
    whole_number,
    write,
)

AMONG = (1, 5, 10)
CHANCE = "chance"


def run(command: str, arguments: list[str]) -> int:
    """Both ways, on the data that the run held out, with nothing hidden."""
    parser = Arguments(command, "Whether one part of a sample finds the other among held-out samples, both ways.")
    parser.add_argument("run", help="a run folder of joint samples, or a checkpoint in one")
    parser.add_argument(
        "--parts", help="two of them, such as image,text; default: those of a contrast, or the first two"
    )
    parser.add_argument("--num_samples", default="1000", help="spread evenly over the validation data; default: 1000")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)
    most, device = whole_number("--num_samples", given.num_samples, least=2), checked_device(given.device)

    trained = load_run(given.run)
    chosen = parts_given(given.parts, trained.model.part_names)
    try:
        results = retrieve(
            {UNTRAINED: trained.untrained, PRETRAINED: trained.model}, trained.datamodule, chosen, most, device
        )
    except ValueError as error:
        raise UserError(message_of(error)) from error
    results = results.about(trained.about)
    write(trained.folder / "retrieve.json", results.to_json().encode())
    results.show()
    print(f"Written to {trained.folder / 'retrieve.json'}")
    return GOOD


def retrieve(
    models: dict[str, MaskedModel],
    datamodule: Any,
    parts: Sequence[str] | None = None,
    num_samples: int = 1000,
    device: str = "cpu",
) -> Results:
    """Recall at 1, 5 and 10 both ways: whether any right one is among the nearest codes, by cosine.

    A code is right when it is of the same sample, or of one whose part, the one or the other, has the same values.

    Args:
        models: by column.
        datamodule: whose validation data is searched.
        parts: two names; None: those of the model's contrast, or the first two.
        num_samples: at most, spread evenly.
        device: where to compute.

    Raises:
        ValueError: a model without two parts, or parts whose mean codes differ in width.
    """
    model = next(iter(models.values()))
    first, second = _pair(model, parts)
    dataset = split_of(datamodule, "val")
    total = len(dataset)  # type: ignore[arg-type]
    count = min(num_samples, total)
    some = Subset(dataset, [i * total // count for i in range(count)])
    rows: dict[str, dict[str, Cell]] = {}
    how = ""
    for column, one in models.items():
        both, same, how = codes(one.to(device), batches(datamodule, some, datamodule.val_batch_size), (first, second))
        for (asking, asked), (queries, others) in (
            ((first, second), both), ((second, first), both[::-1]),
        ):  # fmt: skip
            for among in AMONG:
                if among >= count:
                    continue
                cells = rows.setdefault(f"{asking} to {asked}, recall at {among}", {})
                cells[CHANCE] = Cell.of(chance(same, among).tolist())
                cells[column] = Cell.of(found(queries, others, same, among).tolist())
    percent = Measure("recall", percent=True)
    return Results(
        "Retrieval, %",
        [CHANCE, *models],
        [Row(name, percent, cells) for name, cells in rows.items()],
        [
            f"{count:,} held-out samples; {how}, nothing hidden. ± standard error over samples.",
            "Right: of the same sample, or of one with the same values in either part.",
        ],
        {"num_samples": count, "parts": [first, second]},
        head="nearest by cosine",
        gain="gain over {}",
    )


def found(queries: Tensor, others: Tensor, same: Tensor, among: int) -> Tensor:
    """Whether a right one is among the nearest of each: ``[B]`` in 0 and 1, float64.

    Args:
        queries: ``[B, W]`` of length 1.
        others: ``[B, W]`` likewise.
        same: ``[B, B]`` bool, which are right.
        among: how many of the nearest count, in [1, B].
    """
    nearest = (queries @ others.mT).topk(among, dim=1).indices  # [B, among]
    return same.gather(1, nearest).any(1).double()


def chance(same: Tensor, among: int) -> Tensor:
    """How often a right one is among so many drawn without looking: ``[B]``, ``1 - C(B - r, among) / C(B, among)``."""
    total, right = same.shape[1], same.sum(1).double()  # r of each
    missed = torch.ones_like(right)
    for drawn in range(among):
        missed = missed * ((total - right - drawn).clamp(min=0) / (total - drawn))
    return 1 - missed


@torch.no_grad()
def codes(model: MaskedModel, loader: Any, names: tuple[str, str]) -> tuple[tuple[Tensor, Tensor], Tensor, str]:
    """Codes of two parts, each of which is encoded without the other, with nothing hidden.

    Returns:
        Codes ``[B, W]`` of length 1 of either part, which of them belong together ``[B, B]`` bool, and which codes
        they are, in words.

    Raises:
        ValueError: mean codes of different widths.
    """
    term = _contrast(model, names)
    layer = None if term is None else term.layers[-1]
    embedders = [model.embedder_of([name]) for name in names]
    widths = [one.width for one in embedders]
    if term is None and widths[0] != widths[1]:
        told = " and ".join(f"{width} of {name}" for width, name in zip(widths, names, strict=True))
        raise ValueError(f"Mean codes of both parts must have one width, but have {told}; a run with a contrast fits.")
    both: tuple[list[Tensor], list[Tensor]] = ([], [])
    kinds: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
    numbers: list[list[int]] = [[], []]
    with evaluating(model):
        for batch in loader:
            batch = model.transfer_batch_to_device(batch, model.device, 0)
            for i, (name, embedder) in enumerate(zip(names, embedders, strict=True)):
                tokens = embedder.tokenizer(batch)
                latent = embedder.coded(tokens, layer)
                code = latent.pool("mean") if term is None else term.code(name, latent.part(name))
                both[i].append(F.normalize(code.float(), dim=-1).cpu())
                numbers[i] += [kinds[i].setdefault(one, len(kinds[i])) for one in _contents(tokens.part(name))]
    kind = [torch.tensor(one) for one in numbers]
    same = (kind[0][:, None] == kind[0]) | (kind[1][:, None] == kind[1])
    told = "mean codes" if term is None else "projections of the contrast"
    return (torch.cat(both[0]), torch.cat(both[1])), same, told


def _pair(model: MaskedModel, parts: Sequence[str] | None) -> tuple[str, str]:
    known = model.part_names
    if len(known) < 2:
        raise ValueError("`run` must be one of samples of two parts or more, but they have one.")
    if parts is not None and len(parts) != 2:
        raise ValueError(f"`--parts` must be two of {', '.join(known)}, but is {', '.join(parts)}.")
    contrasts = [tuple(term.names) for term in model.terms.values() if hasattr(term, "code")]
    first, second = parts or next(iter(contrasts), known[:2])
    return first, second


def _contrast(model: MaskedModel, names: tuple[str, str]) -> Any:
    """The term that projects both parts' codes; None: there is none."""
    fit = (term for term in model.terms.values() if hasattr(term, "code") and set(names) <= set(term.names))
    return next(fit, None)


def _contents(tokens: Tokens) -> list[bytes]:
    """What each sample holds, padding left out."""
    values = tokens.values.cpu()
    if tokens.offsets is not None:
        cuts = tokens.offsets.tolist()
        rows = [values[start:stop] for start, stop in pairwise(cuts)]
    elif tokens.valid is not None:
        rows = [row[real] for row, real in zip(values, tokens.valid.cpu(), strict=True)]
    else:
        rows = list(values)
    return [row.contiguous().numpy().tobytes() for row in rows]
