"""How good content becomes bad: bytes, texts, trees of JSON or YAML, records of zip files, and names of files."""

from __future__ import annotations

import copy
import io
import os
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EXTREMES = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
"""What sizes, counts and offsets lie with."""
NUMBERS = (
    "0",
    "-1",
    "-0",
    "1e308",
    "1e999",
    "-1e999",
    "nan",
    "inf",
    "0x10",
    "1_000",
    "9" * 30,
    "9" * 400,
    "1e-400",
    "2147483648",
    "9223372036854775808",
    "1000000000000",
    "0.1.2",
    "٣",
    "1,5",
    "",
)
WORDS = (
    "\u202eevil",
    "\ufeff",
    "\x00",
    "\x1b[31m",
    "é" * 50,
    "x" * 300,
    "../../outside/x",
    "/etc/passwd",
    "{0.__class__}",
    "%s%n",
    "__import__('os').system('x')",
    "<script>",
    "a\nb",
    "'",
    '"',
    "\\",
    "\ud7ff",
    "🦜",
    "-rf",
    "~",
    "$HOME",
    "*",
)


def bytes_of(rng: random.Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """One to three changes of bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_BYTES)(rng, content, others)
    return content


def _flip(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if made else 0):
        made[_place(rng, len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _cut(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    return content[: _place(rng, len(content) + 1)]


def _cut_out(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    first, last = sorted((_place(rng, len(content) + 1), _place(rng, len(content) + 1)))
    return content[:first] + content[last:]


def _splice(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(list(others) or [content])
    return content[: _place(rng, len(content) + 1)] + other[_place(rng, len(other) + 1) :]


def _lie(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A number in a header becomes another one."""
    width = rng.choice((1, 2, 4, 4, 8))
    value = rng.choice(EXTREMES) % 2 ** (8 * width)
    place = _place(rng, max(len(content) - width, 0) + 1)
    return content[:place] + value.to_bytes(width, rng.choice(("little", "big"))) + content[place + width :]


def _real(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Four or eight bytes become a float that is hard to bear."""
    form = rng.choice(("<f", "<d", ">f", ">d"))
    value = struct.pack(form, rng.choice((float("nan"), float("inf"), -3e38, 1e-40, 3e38)))
    place = _place(rng, max(len(content) - len(value), 0) + 1)
    return content[:place] + value + content[place + len(value) :]


def _insert(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    place = _place(rng, len(content) + 1)
    return content[:place] + rng.randbytes(rng.choice((1, 3, 16, 300))) + content[place:]


def _fill(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    first = _place(rng, len(content) + 1)
    last = min(len(content), first + rng.choice((1, 8, 64, 4096)))
    return content[:first] + rng.choice((b"\0", b"\xff", b" ", b"\n")) * (last - first) + content[last:]


def _repeat(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    first, last = sorted((_place(rng, len(content) + 1), _place(rng, len(content) + 1)))
    return content[:last] + content[first:last] * rng.choice((1, 2, 20)) + content[last:]


_BYTES: tuple[Callable[..., bytes], ...] = (
    _flip,
    _flip,
    _cut,
    _cut_out,
    _splice,
    _lie,
    _lie,
    _real,
    _insert,
    _fill,
    _repeat,
)


def _place(rng: random.Random, length: int) -> int:
    """A place in so many bytes; headers come first in most files, and are hit more often."""
    if length <= 1:
        return 0
    return rng.randrange(min(length, 256)) if rng.random() < 0.5 else rng.randrange(length)


def text_of(rng: random.Random, text: str) -> str:
    """One to three changes of a text: numbers, words and lines become others."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        choice = rng.randrange(7)
        if choice == 0:
            text = _substituted(rng, text, r"-?\d+(?:\.\d+)?", NUMBERS)
        elif choice == 1:
            text = _substituted(rng, text, r"\w+", WORDS)
        elif choice == 2:
            text = _substituted(rng, text, r"[,;:\t\"'{}\[\]]", (*",;:\t\"'{}[]", "", '""', "[" * 500))
        else:
            lines = text.splitlines(keepends=True) or [""]
            place = rng.randrange(len(lines))
            if choice == 3:
                del lines[place]
            elif choice == 4:
                lines.insert(place, lines[rng.randrange(len(lines))])
            elif choice == 5:
                lines[place] = lines[place].rstrip("\n") + rng.choice(
                    (",1", '"', "\r", "\r\n", " #", "\x0b\n", ",," * 99)
                )
            else:
                lines[place] = rng.choice(WORDS) + "\n"
            text = "".join(lines)
    return text


def _substituted(rng: random.Random, text: str, pattern: str, by: Sequence[str]) -> str:
    found = list(re.finditer(pattern, text[:100_000]))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + rng.choice(by) + text[match.end() :]


def tree_of(rng: random.Random, tree: Any, values: Sequence[Any]) -> Any:
    """One to three nodes of nested lists and dicts become another value, another key, or are gone.

    Args:
        rng: what is drawn from.
        tree: is not changed.
        values: for the places that are changed.
    """
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return rng.choice(values)
        holder, key = rng.choice(places)
        choice = rng.randrange(6)
        if choice == 0:
            del holder[key]
        elif choice == 1 and isinstance(holder, dict):
            holder[rng.choice((*WORDS, str(key) + "s", str(key)[:-1]))] = holder.pop(key)
        elif choice == 2:
            holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, {str(key): holder[key]}, str(holder[key])))
        elif choice == 3:
            other, name = rng.choice(places)
            if (other is holder or isinstance(other, dict)) and name in (
                other if isinstance(other, dict) else range(len(other))
            ):
                holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = copy.deepcopy(rng.choice(values))
    return tree


def _places(tree: Any) -> Any:
    for key, value in list(
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        yield tree, key
        yield from _places(value)


def records_of(rng: random.Random, content: bytes) -> bytes:
    """A zip file with one record changed, renamed, doubled or gone, and with checksums that fit."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        chosen, choice = rng.choice(names), rng.randrange(7)
        for name in names:
            data, as_called = old.read(name), name
            if name == chosen:
                if choice == 0:
                    continue
                if choice == 1:
                    as_called = rng.choice(
                        ("../../outside/x.npy", "/tmp/x", "a" * 300, name + "\u202e", rng.choice(names))
                    )
                elif choice == 2:
                    new.writestr(name, bytes_of(rng, data))
                else:
                    data = bytes_of(rng, data)
            new.writestr(as_called, data)
    return made.getvalue()


def file_name(rng: random.Random, name: str) -> str:
    """Now and then a name that nobody expects, with the same ending."""
    if rng.random() < 0.9:
        return name
    ending = Path(name).suffix
    odd = ("a\nb", "\u202egnp", "-rf", " ", "é" * 80, "'\"", "%s", "$(x)", "😀", os.fsdecode(b"\xff\xfe"), "x.csv", "~")
    return rng.choice(odd) + ending


def obstacle(rng: random.Random, path: Path) -> None:
    """What is no file, at a path where one is expected: a pipe, a folder, a link to nowhere, a device, a loop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return
    choice = rng.randrange(6)
    if choice == 0:
        os.mkfifo(path)
    elif choice == 1:
        path.mkdir()
    else:
        path.symlink_to(("/dev/zero", "nowhere", path.name, ".", "/dev/zero", "/proc/self/mem")[choice])
