"""Images in whatever logger a run has: by what the logger can do, not by its class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger
from PIL import Image


def show(logger: Logger, name: str, picture: np.ndarray, step: int, file: Path) -> bool:
    """Show a picture in a logger, in the first of these ways that it has.

    - ``logger.log_image(key, images, step)``: Weights & Biases, SwanLab, and loggers made like theirs;
    - ``experiment.add_image(tag, array, step, dataformats)``: TensorBoard;
    - ``experiment.log_image(run_id, image, ...)``: MLflow;
    - ``experiment.log_image(image_data, name, step)``: Comet;
    - ``experiment.log_image(name, image)``: DVCLive;
    - ``logger.log_file(path)``: Lightning's own service;
    - ``experiment.track(image, name, step)``: Aim;
    - ``experiment[name].append(image)``: Neptune.

    Args:
        logger: of the trainer.
        name: what the picture is called there.
        picture: ``[height, width, 3]`` uint8.
        step: optimiser steps done.
        file: where the picture was written.

    Returns:
        Whether it was shown; False: the logger has none of these.

    Raises:
        Exception: whatever the logger raises.
    """
    if callable(log_image := getattr(logger, "log_image", None)):
        log_image(key=name, images=[picture], step=step)
        return True
    experiment: Any = getattr(logger, "experiment", None)
    if callable(add_image := getattr(experiment, "add_image", None)):
        add_image(name, picture, step, dataformats="HWC")
        return True
    if callable(log_image := getattr(experiment, "log_image", None)):
        _log_image(log_image, logger, name, picture, step)
        return True
    if callable(log_file := getattr(logger, "log_file", None)):
        log_file(str(file))
        return True
    package = type(experiment).__module__.partition(".")[0]
    if package == "aim":
        experiment.track(import_module("aim").Image(Image.fromarray(picture)), name=name, step=step)
        return True
    if package == "neptune":
        experiment[name].append(Image.fromarray(picture), step=step)
        return True
    return False


def _log_image(log_image: Any, logger: Logger, name: str, picture: np.ndarray, step: int) -> None:
    """By the names of its arguments: services share the name of the method, and nothing else."""
    known: Mapping[str, Any] = inspect.signature(log_image).parameters
    image = Image.fromarray(picture)
    if "run_id" in known:
        if "key" in known:
            log_image(logger.run_id, image, key=name, step=step)  # type: ignore[attr-defined]
        else:
            log_image(logger.run_id, image, f"{name}/step-{step:07d}.png")  # type: ignore[attr-defined]
    elif "image_data" in known:
        log_image(image, name=name, step=step)
    else:
        log_image(f"{name}.png", image)
