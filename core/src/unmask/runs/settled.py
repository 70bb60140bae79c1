"""The config of a run as it was used: with the options that model and data settled between them."""

from __future__ import annotations

from typing import Any

import yaml

from unmask.support.yaml_files import parse_yaml


def settled(text: str, model: Any, data: Any) -> str:
    """The text of a config with what model and data say in ``settled``, values by the names of their options; see
    `unmask.agreements`. Without any, the text as it is.
    """
    changes = {"model": getattr(model, "settled", None) or {}, "data": getattr(data, "settled", None) or {}}
    if not any(changes.values()):
        return text
    content = parse_yaml(text, "config")
    for part, values in changes.items():
        if values and isinstance(content.get(part), dict):
            content[part]["init_args"] = (content[part].get("init_args") or {}) | values
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
