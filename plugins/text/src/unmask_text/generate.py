"""Writing with a masked diffusion model: whole texts, or the [MASK] places of given ones.

python -m unmask_text.generate RUN [--length 40] [--count 3]
python -m unmask_text.generate RUN --text "The [MASK] [MASK] of a class is its [MASK] ."
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from unmask import MaskedModel, Places, Tokens
from unmask import Sequence as Line
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.sampling import Denoise, ancestral, first_hitting

MASK = "[MASK]"
SAMPLERS = ("first-hitting", "ancestral")


def denoiser(model: MaskedModel) -> Denoise:
    """What the model says about masked places, for a sampler.

    Raises:
        ValueError: a model without a vocabulary head, such as one that drops hidden tokens.
    """
    head, encoder = model.predictor, model.embedder
    if not isinstance(head, VocabularyHead):
        raise ValueError(
            f"`model` must have a vocabulary head to write, such as `text.mdlm`, but is {type(model).__name__}."
        )

    @torch.no_grad()
    def denoise(ids: Tensor, document: Tensor, place: Tensor) -> Tensor:
        asked, row = document.unique(return_inverse=True)  # documents that are done need no codes
        codes = encoder(Tokens(ids[asked], Line())).values[row, place]  # [M, D]
        return head.answer(codes, Places(place)).logits()

    return denoise


def write(
    model: MaskedModel,
    ids: Tensor,
    sampler: str = "first-hitting",
    num_steps: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Fills the [MASK] places of documents.

    Args:
        model: an `MDLM`, in evaluation mode.
        ids: ``[B, N]`` with the encoder's ``mask_id`` where something is to be written.
        sampler: ``first-hitting`` or ``ancestral``.
        num_steps: of the ancestral sampler.
        temperature: above 0.
        seed: of the random numbers.

    Raises:
        ValueError: an unknown sampler, or a number out of range.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"`sampler` must be one of {', '.join(SAMPLERS)}, but is {sampler!r}.")
    mask_id: Any = model.embedder.mask_id
    generator = torch.Generator(ids.device).manual_seed(seed)
    options: dict[str, Any] = {"temperature": temperature, "generator": generator}
    if sampler == "ancestral":
        return ancestral(denoiser(model), ids, mask_id, num_steps, **options)
    return first_hitting(denoiser(model), ids, mask_id, **options)


def encode(text: str, vocabulary: Any, mask_id: int) -> list[int]:
    """Ids of a text in which ``[MASK]`` stands for one unknown token."""
    ids: list[int] = []
    for number, part in enumerate(text.split(MASK)):
        if number:
            ids.append(mask_id)
        ids += vocabulary.tokenizer.encode(part, add_special_tokens=False).ids
    return ids


def main(words: Sequence[str]) -> int:
    """The command; prints one document a line."""
    from unmask.cli.arguments import Arguments, checked_device, one_of, whole_number

    parser = Arguments("generate", __doc__.splitlines()[0])
    parser.prog = "python -m unmask_text.generate"
    parser.add_argument("run", help="a run folder of `text.mdlm`, or a checkpoint in one")
    parser.add_argument("--text", action="append", help="a text to fill in, with [MASK] for each unknown token")
    parser.add_argument("--length", default="40", help="tokens of a text written from nothing")
    parser.add_argument("--count", default="3", help="texts to write, of each text given or from nothing")
    parser.add_argument("--sampler", default="first-hitting", help="first-hitting or ancestral")
    parser.add_argument("--steps", default="128", help="steps of the ancestral sampler")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1: likelier texts, and more alike")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(list(words))
    length, count, steps = (whole_number(f"--{name}", getattr(given, name)) for name in ("length", "count", "steps"))
    seed = whole_number("--seed", given.seed, least=0)
    sampler = one_of("--sampler", given.sampler, SAMPLERS)
    device = checked_device(given.device)

    from unmask.evaluate.trained import load_run
    from unmask_text.vocabulary import vocabulary

    run = load_run(given.run)
    model = run.model.to(device)
    mask_id: Any = model.embedder.mask_id
    named = vocabulary(cast(Any, run.datamodule).tokenizer)
    for text in given.text or [None]:
        ids = [mask_id] * length if text is None else encode(text, named, mask_id)
        rows = torch.tensor([ids] * count, device=device)
        for row in write(model, rows, sampler, steps, given.temperature, seed).tolist():
            print(named.tokenizer.decode(row))
    return 0


if __name__ == "__main__":
    from unmask.plugins import UserError

    try:
        sys.exit(main(sys.argv[1:]))
    except (UserError, ValueError) as error:
        sys.exit(str(error))
