"""``unmask multimodal-retrieve RUN``: does an image find its text among others, and a text its image?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask import Tokens
from unmask.api import GOOD, Arguments, UserError, checked_device


class Retrieval(NamedTuple):
    """How often the nearest of the other part's codes is a right one, in [0, 1].

    A code is right when its text is that of the pair: several samples may have the same text.

    Args:
        found: share of samples whose nearest is right.
        chance: what a random choice gives.
        error: standard error of ``chance`` over so many samples.
    """

    found: float
    chance: float
    error: float


def retrieval(queries: Tensor, others: Tensor, same: Tensor) -> Retrieval:
    """Of codes ``[B, W]`` of length 1, and which pairs are right ``[B, B]`` bool."""
    nearest = (queries @ others.mT).argmax(1)
    right = same.gather(1, nearest[:, None]).float().mean()
    chance = float(same.float().mean())
    return Retrieval(float(right), chance, (chance * (1 - chance) / len(queries)) ** 0.5)


def run(command: str, arguments: list[str]) -> int:
    """Both ways, on the data that the run held out, with nothing hidden."""
    parser = Arguments(command, "Whether an image finds its text, and a text its image, on held-out pairs.")
    parser.add_argument("run", help="a run folder of `multimodal.flip`, or a checkpoint in one")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)
    device = checked_device(given.device)

    from unmask.api import load_run

    trained = load_run(given.run)
    for name, model in (("untrained", trained.untrained), ("pretrained", trained.model)):
        if "contrast" not in getattr(model, "terms", {}):
            raise UserError(f"`run` must be one of `multimodal.flip`, but is one of {type(model).__name__}.")
        images, texts, same = codes(model.to(device), trained.datamodule.val_dataloader())
        for what, found in (
            ("image to text", retrieval(images, texts, same)),
            ("text to image", retrieval(texts, images, same)),
        ):
            print(f"{name:>10}  {what}  {found.found:6.1%}  (chance {found.chance:.1%} +- {found.error:.1%})")
    return GOOD


@torch.no_grad()
def codes(model: Any, batches: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of images and of texts ``[B, W]``, and which of them belong together ``[B, B]``, with nothing hidden."""
    model.eval()
    both, texts = [], []
    contrast = model.terms["contrast"]
    for batch in batches:
        tokens = model.tokenizer(model.transfer_batch_to_device(batch, model.device, 0))
        latent = model.encoder(tokens)
        both.append(contrast.pooled(latent, tokens))
        texts += _texts(tokens.part(contrast.names[1]))
    known = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    ids = torch.tensor([known[text] for text in texts], device=model.device)
    return torch.cat([one for one, _ in both]), torch.cat([other for _, other in both]), ids[:, None] == ids


def _texts(tokens: Tokens) -> list[bytes]:
    """What each sample of a part is made of, to know its twins by."""
    if tokens.offsets is not None:
        rows = [tokens.values[start:end] for start, end in pairwise(tokens.offsets.tolist())]
    else:
        rows = list(tokens.values)
        if tokens.valid is not None:
            rows = [row[valid] for row, valid in zip(rows, tokens.valid, strict=True)]
    return [row.cpu().numpy().tobytes() for row in rows]
