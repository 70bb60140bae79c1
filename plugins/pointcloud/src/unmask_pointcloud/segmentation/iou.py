"""Mean intersection over union, by class and by cloud (as on ShapeNet-Part, Yi et al. 2016)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class MeanIoU(NamedTuple):
    """Both means, in [0, 1].

    Args:
        classes: of the classes, each over all points; of those that a point has or was given.
        clouds: of the clouds, each over the classes that it has or was given.
    """

    classes: float
    clouds: float


def mean_iou(label: np.ndarray, answer: np.ndarray, cloud: np.ndarray) -> MeanIoU:
    """Both means of answers about points.

    ``IoU = points rightly given a class / points that have it or were given it``

    Args:
        label: ``[n]`` int64, each point's class, at least 0.
        answer: ``[n]`` int64, the class that it was given.
        cloud: ``[n]`` int64, the cloud that it is of.

    Differs from ShapeNet-Part's protocol in the cloud's mean: there the classes are those of the cloud's category, and
    one that is neither in the cloud nor in the answer counts as 1; here categories are not known, and it is left out.

    Raises:
        ValueError: arrays of other lengths, or no points.
    """
    if not len(label) == len(answer) == len(cloud) or not len(label):
        raise ValueError(
            f"`label`, `answer` and `cloud` must have one entry per point, but have {len(label)}, {len(answer)} and "
            f"{len(cloud)}."
        )
    _, cloud = np.unique(cloud, return_inverse=True)
    num_classes = int(max(label.max(), answer.max())) + 1
    count = [
        np.bincount(cloud[chosen] * num_classes + kind[chosen], minlength=(cloud.max() + 1) * num_classes)
        for kind, chosen in ((label, label == answer), (label, slice(None)), (answer, slice(None)))
    ]
    right, has, given = (one.reshape(-1, num_classes) for one in count)  # [clouds, classes]
    return MeanIoU(_mean(right.sum(0)[None], (has + given - right).sum(0)[None]), _mean(right, has + given - right))


def _mean(right: np.ndarray, either: np.ndarray) -> float:
    """Of rows, each the mean over its columns where there are any points."""
    shares = np.divide(right, either, out=np.full(right.shape, np.nan), where=either > 0)
    return float(np.nanmean(shares, axis=1).mean())
