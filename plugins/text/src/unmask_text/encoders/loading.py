"""Loading: a transformers model, fresh or with its weights, ready for packed documents, and its special ids."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from unmask.api import nearest, quoted
from unmask_text.encoders.attention import PACKED


def fresh(settings: dict[str, Any]) -> PreTrainedModel:
    """A model with new weights.

    Raises:
        ValueError: ``settings`` without a ``model_type``, or of a kind that transformers has not.
    """
    settings = dict(settings)
    kind = settings.pop("model_type", None)
    if kind is None:
        raise ValueError("`config` must have a 'model_type', such as 'bert', but has none.")
    known = AutoModel._model_mapping._config_mapping
    if kind not in known:
        likely = quoted(nearest(kind, known)) or "bert, roberta, modernbert"
        raise ValueError(f"`model_type` must be one that transformers has, but is {kind!r}; nearest: {likely}.")
    config = AutoConfig.for_model(kind, **settings)
    return AutoModel.from_config(config, **_how(config))


def loaded(path: str, options: dict[str, Any]) -> PreTrainedModel:
    """The model at ``path``, with ``options`` in place of its own settings."""
    config = AutoConfig.from_pretrained(path, trust_remote_code=False, **options)
    return AutoModel.from_pretrained(path, config=config, trust_remote_code=False, **_how(config))


def special_ids(
    path: str | None, given: dict[str, int | None], defaults: dict[str, int], vocab_size: int
) -> dict[str, int]:
    """Ids of special tokens by name (``cls``, ``sep``, ``mask``): as given, of the tokenizer at ``path`` (for a model
    of ``vocab_size``), or the defaults where there is no path.

    Raises:
        ValueError: the tokenizer is missing, or has no such token.
    """
    if path is None:
        return {name: defaults[name] if given[name] is None else int(given[name]) for name in given}  # type: ignore[arg-type]
    if None not in given.values():
        return {name: int(value) for name, value in given.items()}  # type: ignore[arg-type]
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError):
        tokenizer = None
    # Without its files, transformers makes a tokenizer that knows little but special tokens.
    if tokenizer is None or len(tokenizer) < vocab_size // 2:
        names = ", ".join(f"`{name}_id`" for name in given)
        raise ValueError(f"{names} of the encoder must be given, because there is no tokenizer at {path!r}.")
    ids = {}
    for name, value in given.items():
        found = value if value is not None else getattr(tokenizer, f"{name}_token_id", None)
        if found is None:
            raise ValueError(f"`{name}_id` must be given: the tokenizer at {path!r} has no {name} token.")
        ids[name] = int(found)
    return ids


def _how(config: Any) -> dict[str, Any]:
    """Packed attention where the model can read several documents in one row: it takes any attention, and
    positions. And no pooler, whose weights nothing would train."""
    kind: Any = AutoModel._model_mapping[type(config)]
    how: dict[str, Any] = {}
    if (
        getattr(kind, "_supports_attention_backend", False)
        and "position_ids" in inspect.signature(kind.forward).parameters
    ):
        how["attn_implementation"] = PACKED
    if "add_pooling_layer" in inspect.signature(kind).parameters:
        how["add_pooling_layer"] = False
    return how
