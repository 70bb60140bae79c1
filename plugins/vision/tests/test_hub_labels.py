"""Labels of data sets by name: classes, numbers, words and lists of them, each for its own task."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from unmask_vision.data.hub import HubImagesData
from unmask_vision.data.hub_labels import IGNORED

ABC = datasets.ClassLabel(names=["a", "b", "c"])
INTS, FLOATS, WORDS = (datasets.Value(kind) for kind in ("int64", "float64", "string"))


def data_of(root: Path, feature: Any, cells: list[Any], column: str = "label", **options: Any) -> HubImagesData:
    pictures = [Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)) for number in range(len(cells))]
    features = datasets.Features({"image": datasets.Image(), column: feature})
    rows = datasets.Dataset.from_dict({"image": pictures, column: cells}, features=features)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(root / "set")
    return HubImagesData(str(root / "set"), image_size=8, **options)


def labels_of(data: HubImagesData) -> list[Any]:
    part = data.splits.probe_train
    assert part is not None
    return [part[number]["label"] for number in range(len(part))]


@pytest.mark.parametrize(
    ("feature", "cells", "labels", "classes", "told"),
    [
        (ABC, ["a", "c", "b", None], [0, 2, 1, IGNORED], ["a", "b", "c"], "  classes: a, b, c."),
        (INTS, [3, 7, None, 3], [3, 7, IGNORED, 3], [], "Labels are 2 whole numbers."),
        (datasets.Value("bool"), [True, False, True, True], [1, 0, 1, 1], [], "Labels are 2 whole numbers."),
        (FLOATS, [0.9, 0.1, -2.5, 4.0], [0.9, 0.1, -2.5, 4.0], [], "Labels are real numbers."),
        (WORDS, ["dog", "cat", " ", "dog"], [1, 0, IGNORED, 1], ["cat", "dog"], "  classes: cat, dog."),
    ],
)
def test_one_label_an_image(tmp_path, feature, cells, labels, classes, told):
    data = data_of(tmp_path, feature, cells)
    assert labels_of(data) == pytest.approx(labels)
    assert {type(label) for label in labels_of(data)} == {torch.Tensor if feature is FLOATS else int}
    assert list(data.classes) == classes
    assert told in data.found()
    assert ("rows have no label" in data.found()) == (IGNORED in labels)


@pytest.mark.parametrize(
    ("feature", "cells", "labels", "classes", "told"),
    [
        (INTS, [[0, 1, 0], [1, 1, 0]], [[0, 1, 0], [1, 1, 0]], [], "Labels are 3 numbers each, 0 or 1"),
        (INTS, [[0, 3], [1], []], [[1, 0, 0, 1], [0, 1, 0, 0], [0] * 4], [], "Labels are lists of 4 classes"),
        (ABC, [[0, 1], [1, 2]], [[1, 1, 0], [0, 1, 1]], ["a", "b", "c"], "  classes: a, b, c.\n  Labels are lists"),
        (WORDS, [["x", "y"], ["y"]], [[1, 1], [0, 1]], ["x", "y"], "  classes: x, y.\n  Labels are lists"),
        (INTS, [[0, 1], None], [[0, 1], [IGNORED] * 2], [], "Labels are 2 numbers each"),
        (FLOATS, [[0.5, 0.9], [1.5, 0.1]], [[0.5, 0.9], [1.5, 0.1]], [], "Labels are 2 real numbers each."),
    ],
)
def test_several_labels_an_image(tmp_path, feature, cells, labels, classes, told):
    data = data_of(tmp_path, datasets.Sequence(feature), cells, label_column="label")
    found = torch.stack(labels_of(data))
    assert found.dtype == (torch.float32 if feature is FLOATS else torch.int64)
    assert torch.equal(found, torch.tensor(labels, dtype=found.dtype))
    assert list(data.classes) == classes
    assert told in data.found()


def test_a_missing_real_number_is_unknown(tmp_path):
    assert math.isnan(labels_of(data_of(tmp_path, FLOATS, [0.5, None]))[1])


def test_data_without_labels_says_so(tmp_path):
    other = data_of(tmp_path / "0", WORDS, ["one", "two"], column="caption")
    assert "No labels; `label_column` can name one of caption." in other.found()
    assert labels_of(data_of(tmp_path / "1", WORDS, ["one", "two"], "caption", label_column="caption")) == [0, 1]
    empty = data_of(tmp_path / "2", INTS, [None, None])
    assert "No labels, for a part has none in `label`." in empty.found()
    assert empty.splits.probe_train is None
    assert list(empty.classes) == []


def test_what_cannot_be_a_label_is_refused(tmp_path):
    ragged = datasets.Sequence(FLOATS)
    for place, (feature, cells, said) in enumerate([
        (ragged, [[0.5], [0.5, 0.1]], "Lists of real numbers in `label_column` must have one length, but .* 1 to 2"),
        (datasets.Sequence(INTS), [[-1], [5, 3]], r"must hold numbers in \[0, 32767\], but .* hold -1 to 5"),
        ({"x": INTS}, [{"x": 1}, {"x": 2}], "must name a column of classes, numbers, words, .* 'label' holds dict"),
    ]):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            data_of(tmp_path / str(place), feature, cells, label_column="label").setup()
    unasked = data_of(tmp_path / "unasked", ragged, [[0.5], [0.5, 0.1]])
    assert "No labels: Lists of real numbers" in unasked.found()
    with pytest.raises(
        ValueError,
        match=r"`image_column` must name a column of images, but 'label' is one of Value\('int64'\); nearest: image\.",
    ):
        data_of(tmp_path / "image", INTS, [1, 2], image_column="label").setup()
