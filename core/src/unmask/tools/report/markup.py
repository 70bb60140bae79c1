"""HTML by construction: balanced tags, and every text escaped unless it is markup already."""

from __future__ import annotations

import re
from html import escape
from typing import Any

FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010fffd]")
"""Control characters, half surrogates, and code points that are no characters."""
VOID = frozenset({"br", "img", "meta", "wbr"})
"""Elements that have no end tag."""


class Markup(str):
    """Text that is HTML already, and not escaped again."""


def element(tag: str, *children: Any, **attributes: Any) -> Markup:
    """``<tag attributes>children</tag>``.

    Args:
        tag: the element's name.
        children: strings, which are escaped, `Markup`, numbers, lists of these; None is left out.
        attributes: their values are escaped; None is left out and True stands alone. A trailing ``_`` is
            dropped from names (``class_``) and others become ``-``.
    """
    words = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is not None and value is not False:
            words.append(name if value is True else f'{name}="{escape(_printable(str(value)))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if tag in VOID else f"{opening}{join(*children)}</{tag}>")


def join(*children: Any) -> Markup:
    """``children`` one after the other; as of `element`."""
    parts = []
    for child in children:
        if isinstance(child, list | tuple):
            parts.append(join(*child))
        elif isinstance(child, Markup):
            parts.append(child)
        elif child is not None:
            parts.append(Markup(escape(_printable(str(child)))))
    return Markup("".join(parts))


def _printable(text: str) -> str:
    """Without characters that HTML does not allow, such as the NUL of a damaged file."""
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
