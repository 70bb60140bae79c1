"""Documents for people: running text as a picture, as HTML and as plain text, with hidden tokens marked."""

from __future__ import annotations

import html
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unmask import Prediction, Tokens
from unmask_text.layout import Words
from unmask_text.vocabulary import Vocabulary, vocabulary

WIDTH, LINE, MARGIN, FONT_SIZE = 640, 20, 6, 14
TINTS = ((255, 255, 255), (232, 240, 252))
COVER = (140, 140, 140)

Fillings = list[tuple[str, float]]


class Piece(NamedTuple):
    """One token of a document.

    Args:
        text: as it is written.
        spaced: whether a blank comes before it.
        word: which word it belongs to.
        hidden: whether it is.
        fillings: texts with probabilities, most probable first; empty where no answer is asked.
    """

    text: str
    spaced: bool
    word: int
    hidden: bool
    fillings: Fillings


Document = list[Piece]


@torch.no_grad()
def documents(
    tokens: Tokens, words: Words, hidden: Tensor | None, prediction: Prediction | None, top_k: int
) -> list[Document]:
    """B documents, of dense and packed tokens alike.

    Args:
        tokens: with their values.
        words: their layout.
        hidden: ``[B, N]`` or packed ``[T]`` bool; None: nothing is.
        prediction: with ``logits()`` of the asked places; None, or without: no fillings are shown.
        top_k: fillings per asked place.
    """
    named = vocabulary(words.vocabulary) if words.vocabulary is not None else None
    valid = _valid(tokens)  # [B, N]
    hidden = torch.zeros_like(tokens.values, dtype=torch.bool) if hidden is None else hidden
    parts = (*(_rows(part, valid) for part in (tokens.values, words.number, hidden)), valid)
    fillings = _fillings(prediction, tokens, valid, named, top_k)
    result = []
    for row, columns in enumerate(zip(*(part.tolist() for part in parts), strict=True)):
        document = []
        for place, (id, word, is_hidden, real) in enumerate(zip(*columns, strict=True)):
            if real:
                text, spaced = _piece(named, id)
                document.append(Piece(text, spaced, word, is_hidden, fillings.get((row, place), [])))
        result.append(document)
    return result


def as_picture(document: Document) -> np.ndarray:
    """Running text, wrapped, ``[height, WIDTH, 3]`` uint8; a grey box for each hidden token."""
    font = ImageFont.load_default(FONT_SIZE)
    boxes, left, line = [], MARGIN, 0
    for piece in document:
        text = _printable(piece.text)
        gap = 4 if piece.spaced and left > MARGIN else 0
        width = min(max(int(font.getlength(text)) + 2, 6), WIDTH - 2 * MARGIN)
        if left + gap + width > WIDTH - MARGIN:
            left, line, gap = MARGIN, line + 1, 0
        boxes.append((left + gap, line, width, text, piece))
        left += gap + width + 1
    image = Image.new("RGB", (WIDTH, (line + 1) * LINE + 2 * MARGIN), "white")
    pen = ImageDraw.Draw(image)
    for left, line, width, text, piece in boxes:
        top = MARGIN + line * LINE
        pen.rectangle((left, top, left + width - 1, top + LINE - 3), COVER if piece.hidden else TINTS[piece.word % 2])
        if not piece.hidden:
            pen.text((left + 1, top), text, fill="black", font=font)
    return np.asarray(image)


def as_html(document: Document) -> str:
    """A page: hidden tokens marked; their fillings in a tooltip and in a table below the text."""
    parts, rows = [], []
    for piece in document:
        text = html.escape(_printable(piece.text))
        blank = " " if piece.spaced else ""
        if not piece.hidden and not piece.fillings:
            parts.append(f"{blank}{text}")
            continue
        told = ", ".join(f"{_printable(word)} {share:.1%}" for word, share in piece.fillings)
        parts.append(f'{blank}<mark title="{html.escape(told, quote=True)}">{text}</mark>')
        if piece.fillings:
            cells = "".join(
                f"<td{' class=right' if word == piece.text else ''}>{html.escape(_printable(word))}"
                f" <small>{share:.1%}</small></td>"
                for word, share in piece.fillings
            )
            rows.append(f"<tr><th>{text}</th>{cells}</tr>")
    table = f"<table>\n{chr(10).join(rows)}\n</table>" if rows else ""
    return f'{_PAGE}<p dir="auto">{"".join(parts).strip()}</p>\n{table}\n'


def as_text(document: Document) -> str:
    """The text with ``[[hidden]]`` tokens in brackets, and a line of fillings for each."""
    text = "".join(
        (" " if piece.spaced else "") + (f"[[{_printable(piece.text)}]]" if piece.hidden else _printable(piece.text))
        for piece in document
    )
    lines = [text.strip(), ""]
    for piece in document:
        if piece.fillings:
            told = ", ".join(f"{_printable(word)} {share:.3f}" for word, share in piece.fillings)
            lines.append(f"{_printable(piece.text)}: {told}")
    return "\n".join(lines).rstrip() + "\n"


def _valid(tokens: Tokens) -> Tensor:
    if tokens.offsets is not None:
        lengths = tokens.offsets.diff()
        return torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
    return torch.ones_like(tokens.values, dtype=torch.bool) if tokens.valid is None else tokens.valid


def _rows(of_tokens: Tensor, valid: Tensor) -> Tensor:
    """What is known of each token, ``[B, N]`` or packed ``[T]``, as ``[B, N]``, 0 at padding."""
    if of_tokens.shape == valid.shape:
        return of_tokens.masked_fill(~valid, 0)
    return of_tokens.new_zeros(valid.shape).masked_scatter(valid, of_tokens)


def _piece(named: Vocabulary | None, id: int) -> tuple[str, bool]:
    return named.piece(id) if named is not None else (f"#{id}", True)


def _fillings(
    prediction: Any, tokens: Tokens, valid: Tensor, named: Vocabulary | None, top_k: int
) -> dict[tuple[int, int], Fillings]:
    """By (row, place), what is most probable there."""
    logits_of = getattr(prediction, "logits", None)
    if logits_of is None:
        return {}
    logits = logits_of().float()
    best, ids = logits.softmax(-1).topk(min(top_k, logits.shape[-1]))  # [M, k] or [B, M, k]
    asked = prediction.asked
    if tokens.offsets is not None:
        spots = valid.nonzero()[asked.index]  # [M, 2]
    else:
        real = torch.ones_like(asked.index, dtype=torch.bool) if asked.valid is None else asked.valid
        row = torch.arange(len(asked.index), device=real.device)[:, None].expand_as(asked.index)
        spots = torch.stack([row[real], asked.index[real]], dim=1)
        best, ids = best[real], ids[real]
    return {
        (row, place): [(_piece(named, id)[0], share) for id, share in zip(some, shares, strict=True)]
        for (row, place), some, shares in zip(spots.tolist(), ids.tolist(), best.tolist(), strict=True)
    }


def _printable(text: str) -> str:
    """Control characters as their pictures: a line break inside a token must not break the line."""
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 else "␡" if ord(c) == 127 else c for c in text)


_PAGE = """<!doctype html><meta charset="utf-8"><title>unmask</title>
<style>body{font:16px/1.7 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
mark{background:#bbb;border-radius:3px}
td,th{padding:0 .8em 0 0;text-align:left;font-weight:normal}th{background:#ddd}.right{background:#cfc}</style>
"""
