"""What checkpoints of other programs hold beside tensors, as data alone: their settings, and stand-ins for the rest.

A pickle names classes and has them made. Of those below, some are plain containers and are made; for the others an
object without any code of theirs takes their place. Whatever else a file names is refused by torch.
"""

from __future__ import annotations

import argparse
import pathlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

_NUMBERS = "biufc"
_DICTS = ("yacs.config.CfgNode", "easydict.EasyDict", "addict.addict.Dict", "ml_collections.config_dict.ConfigDict")
_PACKAGES = ("fairseq", "omegaconf", "pytorch_lightning", "lightning", "lightning_fabric", "hydra", "timm")
"""Whose classes of settings and states training checkpoints name."""


class Inert:
    """Takes the place of an object of a class that nobody imports."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


def known() -> list[Any]:
    """Classes that are made as they are: namespaces of arguments, paths, NumPy's numbers and arrays of them."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in np.typecodes["All"] if np.dtype(code).kind in _NUMBERS}
    array = np.empty(0).__reduce__()[0]
    return [
        argparse.Namespace,
        np.dtype,
        np.ndarray,
        *kinds,
        *((scalar, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
        *((array, f"{module}.multiarray._reconstruct") for module in ("numpy.core", "numpy._core")),
        *((pathlib.PurePosixPath, f"pathlib.{name}") for name in ("PosixPath", "PurePosixPath")),
        *((pathlib.PureWindowsPath, f"pathlib.{name}") for name in ("WindowsPath", "PureWindowsPath")),
    ]


def stand_in(name: str) -> tuple[Any, str] | None:
    """What takes the place of the class ``name``; None: nothing may."""
    if name in _DICTS:
        return OrderedDict, name
    if name == "typing.Any" or (name.partition(".")[0] in _PACKAGES and name.rpartition(".")[2][:1].isupper()):
        return Inert, name  # names of functions begin with a small letter
    return None


def settings(content: Any, name: str = "") -> dict[str, Any]:
    """Numbers, texts and lists of them by dotted name, such as ``args.norm_pix_loss``; tensors are left out."""
    if isinstance(content, argparse.Namespace):
        content = vars(content)
    if isinstance(content, Mapping):
        found: dict[str, Any] = {}
        for key, value in content.items():
            found |= settings(value, f"{name}.{key}" if name else str(key))
        return found
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, list | tuple) and all(isinstance(one, int | float | str | None) for one in content):
        return {name: list(content)}
    return {name: content} if isinstance(content, int | float | str) and name else {}
