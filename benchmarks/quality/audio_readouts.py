"""What codes of clips tell of their digit: the mean code or codes in order of time, and logistic regression."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from audio_digits import Digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from torch import Tensor, nn

from unmask.tools.features.samples import batches
from unmask.tools.features.vectors import evaluating

STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse strengths of regularisation of logistic regression to choose from."""


class Part(NamedTuple):
    """Clips: features ``[n, D]``, digits and speakers ``[n]``."""

    features: np.ndarray
    label: np.ndarray
    speaker: np.ndarray


@torch.no_grad()
def extracted(
    codes: Callable[[Any], Tensor], module: nn.Module, data: Digits, readouts: tuple[int, ...]
) -> list[tuple[Part, Part]]:
    """For each number of stretches the clips to fit on and those to score on; ``module`` makes ``codes``."""
    found = []
    for split in (data.splits.probe_train, data.splits.probe_test):
        rows: dict[int, list[Tensor]] = {number: [] for number in readouts}
        labels, speakers = [], []
        with evaluating(module):
            for batch in batches(data, split, 100):
                each = codes(batch)  # [B, T, D]
                share = batch["length"] / batch["wave"].shape[1]
                own = (share * each.shape[1]).ceil().long().clamp(min=1)
                for clip, length in zip(each, own.tolist(), strict=True):
                    for number, row in rows.items():
                        row.append(F.adaptive_avg_pool1d(clip[:length].T, number).T.flatten())
                labels.append(batch["label"])
                speakers += batch["speaker"]
        own_labels, own_speakers = torch.cat(labels).numpy(), np.array(speakers)
        found.append([Part(torch.stack(row).float().numpy(), own_labels, own_speakers) for row in rows.values()])
    return list(zip(*found, strict=True))


def drawn_from(part: Part, number: int, rng: np.random.Generator) -> Part:
    """``number`` clips of each digit."""
    digits = np.unique(part.label)
    index = np.concatenate([rng.choice(np.flatnonzero(part.label == one), number, replace=False) for one in digits])
    return Part(*(values[index] for values in part))


def accuracy(train: Part, test: Part) -> float:
    """Of logistic regression, its strength chosen by leaving out each of the training speakers."""
    x, y = train.features - train.features.mean(0), test.features - train.features.mean(0)
    scale = math.sqrt(x.var(0).mean()) or 1.0
    if len(x) < x.shape[1]:  # of more features than clips, the space that clips span holds all there is to fit
        basis = np.linalg.svd(x, full_matrices=False)[2].T
        x, y = x @ basis, y @ basis
    scoring = make_scorer(  # told the digits, of which a speaker's few clips may lack some
        log_loss, greater_is_better=False, response_method="predict_proba", labels=np.unique(train.label)
    )
    search = GridSearchCV(
        LogisticRegression(max_iter=300, tol=1e-3), {"C": STRENGTHS}, cv=LeaveOneGroupOut(), scoring=scoring
    )
    fitted = search.fit(x / scale, train.label, groups=train.speaker)
    return float((fitted.predict(y / scale) == test.label).mean())
