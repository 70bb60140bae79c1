"""The whole encoder in one safetensors file, with all that it takes to rebuild it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from unmask import __version__
from unmask.model import MaskedModel
from unmask.parts import Tokenizer
from unmask.runs.weights import State, Weights
from unmask.support.errors import UserError
from unmask.support.yaml_files import parse_yaml
from unmask.tools.exchange.format import Export, Format

CONFIG, SHA256, WHOLE = "unmask.config", "unmask.sha256", "unmask.whole"
"""Of the metadata: the run's config, the sum of the tensors, and of a whole model what it keeps beside them."""


class Safetensors(Format):
    """Tensors under the encoder's own names, and as metadata the run's config, so that ``unmask import`` needs no more.

    Metadata, all of it text: ``unmask.version``, ``.method``, ``.encoder`` and ``.tokenizer`` (JSON), ``.config``
    (the run's YAML), ``.seed``, ``.step`` and ``.sha256`` of the tensors.
    """

    suffix = ".safetensors"

    def refusal(self, model: MaskedModel) -> None:
        return None

    def save(self, export: Export, out: Path) -> str:
        write_native(export.model.embedder.encoder.state_dict(), export, out)
        return ""

    def usage(self, export: Export, out: Path) -> str:
        return (
            "from safetensors.torch import load_file\n\n"
            f"weights = load_file({str(out)!r})  # or a run again: unmask import {out}"
        )

    def load(self, weights: State, model: MaskedModel) -> State:
        own = model.state_dict()  # whose names are those of a whole run's checkpoint
        return {name if name in own else f"encoder.{name}": tensor for name, tensor in weights.items()}


def write_native(tensors: State, export: Export, out: Path, **more: str) -> None:
    """Writes tensors of a model with all that it takes to rebuild it.

    Args:
        tensors: by name; those of the whole model, or of its encoder.
        export: whose.
        out: the file.
        more: further metadata.
    """
    embedder = export.model.embedder
    encoder = embedder.encoder
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {
        "format": "pt",
        "unmask.version": __version__,
        "unmask.method": _path(export.model),
        "unmask.encoder": json.dumps({"class_path": _path(encoder), "init_args": _given(export.config, "encoder")}),
        "unmask.tokenizer": json.dumps(_settings(embedder.tokenizer)),
        CONFIG: export.config,
        "unmask.seed": str(export.seed),
        "unmask.step": str(export.step),
        SHA256: sha256(tensors),
    }
    save_file(tensors, out, metadata | more)


def sha256(tensors: State) -> str:
    """Of names, types, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_sha256(weights: Weights) -> None:
    """Compares a file's tensors with what it says of them; files that say nothing pass.

    Raises:
        UserError: they differ.
    """
    told = weights.metadata.get(SHA256)
    if told is not None and sha256(weights.tensors) != told:
        raise UserError(f"`{weights.file}` is damaged: its tensors are not those that its `{SHA256}` was taken of.")


def _path(part: Any) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"


def _given(config: str, part: str) -> Any:
    """What a config says of a part of the model; None: the method's default."""
    model = (parse_yaml(config, "config") or {}).get("model")
    arguments = model.get("init_args") if isinstance(model, dict) else None
    chosen = (arguments or {}).get(part)
    return chosen.get("init_args", {}) if isinstance(chosen, dict) else None


def _settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """Its class, plain attributes and small buffers, such as means and sizes."""
    plain = {k: v for k, v in vars(tokenizer).items() if isinstance(v, int | float | str) and not k.startswith("_")}
    plain.pop("training", None)
    buffers: dict[str, Tensor] = dict(tokenizer.named_buffers())
    small = {name: buffer.flatten().tolist() for name, buffer in buffers.items() if buffer.numel() < 64}
    return {"class_path": _path(tokenizer)} | plain | small
