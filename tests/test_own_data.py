"""Every cell of docs/own-data.md: the folder is made, read, and what the page says of it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from odd_folders import KINDS, MODALITIES, concerns, said

TABLE = yaml.safe_load((Path(__file__).parent.parent / "docs" / "own_data.yaml").read_text(encoding="utf-8"))
CELLS = [(kind, modality) for kind in KINDS for modality in MODALITIES if concerns(kind, modality)]


def test_the_page_has_every_cell():
    assert {(kind, modality) for kind, row in TABLE.items() for modality in row} == set(CELLS)


@pytest.mark.parametrize(("kind", "modality"), CELLS)
def test_what_the_page_says_is_said(kind, modality, tmp_path):
    ((outcome, words),) = TABLE[kind][modality].items()
    read, text = said(kind, modality, tmp_path)
    assert read == (outcome == "read"), text
    text, at = " ".join(text.split()), 0
    for part in " ".join(words.split()).replace("...", "\0").split("\0"):
        found = text.find(part.strip("()"), at)
        assert found >= 0, f"{part!r} is not said after place {at} of: {text}"
        at = found + len(part)
