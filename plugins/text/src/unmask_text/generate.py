"""``unmask text-generate``: texts from nothing, or the [MASK] places of given ones, by masked diffusion.

unmask text-generate RUN [--length 40] [--count 3]
unmask text-generate RUN --text "The [MASK] [MASK] of a class is its [MASK] ."
unmask text-generate RUN --order margin
"""

from __future__ import annotations

from typing import Any, cast

from unmask.api import GOOD, Arguments, UserError, checked_device, one_of, whole_number
from unmask_text.commands import console

SAMPLERS = ("first-hitting", "ancestral", "cosine", "linear")
ORDERS = ("random", "fixed", "probability", "margin", "correction")
"""Those of `unmask_text.writing`, which loads torch."""


def run(command: str, arguments: list[str]) -> int:
    """Write texts, or fill in the [MASK] places of given ones, with a run of `text.mdlm`."""
    parser = Arguments(command, "Writes texts, or fills in [MASK], with a run of `text.mdlm`.")
    parser.add_argument("run", help="a run folder of `text.mdlm`, or a checkpoint in one")
    parser.add_argument("--text", action="append", help="a text to fill in, with [MASK] for each unknown token")
    parser.add_argument("--length", default="40", help="tokens of a text written from nothing; default: 40")
    parser.add_argument("--count", default="3", help="texts to write, of each text given or from nothing; default: 3")
    parser.add_argument(
        "--sampler",
        default="first-hitting",
        help="how many tokens are written in a step: one (first-hitting, default), as many as the model's noise "
        "process says (ancestral), or as a schedule says (cosine, linear)",
    )
    parser.add_argument("--steps", default="128", help="steps of all samplers but first-hitting; default: 128")
    parser.add_argument(
        "--order",
        default="random",
        help="which tokens come first: random (default), fixed (left to right), probability, margin, or correction "
        "(by probability, and what has become unlikely is written again)",
    )
    parser.add_argument(
        "--choice-noise", type=float, default=0.0, help="chance in the order of the last three; default: 0"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1: likelier texts, and more alike")
    parser.add_argument("--seed", default="0", help="of the random numbers; default: 0")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)
    length, count, steps = (whole_number(f"--{name}", getattr(given, name)) for name in ("length", "count", "steps"))
    seed = whole_number("--seed", given.seed, least=0)
    sampler = one_of("--sampler", given.sampler, SAMPLERS)
    order: Any = one_of("--order", given.order, ORDERS)
    device = checked_device(given.device)

    import torch

    from unmask.api import load_run
    from unmask_text.vocabulary import vocabulary
    from unmask_text.writing import encode, write

    trained = load_run(given.run)
    model = trained.model.to(device)
    mask_id: Any = getattr(model.embedder.encoder, "mask_id", None)
    if mask_id is None:
        raise UserError(
            f"`run` must be one of `text.mdlm`, but is one of {type(model).__name__}, which writes no text."
        )
    named = vocabulary(cast(Any, trained.datamodule).tokenizer)
    for text in given.text or [None]:
        ids = [mask_id] * length if text is None else encode(text, named, mask_id)
        rows = torch.tensor([ids] * count, device=device)
        try:
            written = write(model, rows, sampler, steps, given.temperature, seed, order, given.choice_noise)
        except ValueError as error:
            raise UserError(str(error)) from error
        for row in written.tolist():
            print(named.tokenizer.decode(row))
    return GOOD


if __name__ == "__main__":
    console("text-generate", run)
