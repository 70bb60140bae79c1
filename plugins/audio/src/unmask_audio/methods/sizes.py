"""Sizes of vision transformers on spectrograms, which the methods share."""

from __future__ import annotations

from typing import Literal, NamedTuple

from unmask import Tokenizer

Size = Literal["tiny", "small", "base", "large"]


class Sizes(NamedTuple):
    """Width, blocks and heads of the encoder; width and heads of what predicts, and its blocks by kind."""

    width: int
    depth: int
    num_heads: int
    predictor_width: int
    predictor_heads: int
    local_depth: int
    global_depth: int


SIZES = {
    "tiny": Sizes(192, 12, 3, 192, 6, 4, 4),  # its predictors are ours
    "small": Sizes(384, 12, 6, 512, 16, 16, 8),  # these are Audio-MAE's, as released
    "base": Sizes(768, 12, 12, 512, 16, 16, 8),
    "large": Sizes(1024, 24, 16, 512, 16, 16, 8),
}


def patch_of(patch: tuple[int, int] | None, tokenizer: Tokenizer | None) -> tuple[int, int]:
    """Sides of a patch in frames and in mel bins: as given, the tokenizer's, or 16 by 16.

    Raises:
        ValueError: the tokenizer cuts other patches than those given.
    """
    own = getattr(tokenizer, "patch", None)
    if patch is not None and own is not None and tuple(patch) != tuple(own):
        raise ValueError(f"`patch` must be that of `tokenizer`, {list(own)}, but is {list(patch)}.")
    return patch or own or (16, 16)
