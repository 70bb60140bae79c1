"""Tar files of other writers, WebDataset's above all: looked through once, so that they have an index from then on.

Members of a sample share what their names have before the first dot. One is its content; beside it ``.cls`` or
``.json`` may hold a label (``label``, a number or a word), a ``name`` and ``groups``. Nothing is ever unpacked to the
disk. Links, devices, sparse files and names that lead elsewhere are refused, though they would not be followed.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from zlib import crc32

from unmask.data.findings import Findings
from unmask.data.report import UNREADABLE
from unmask.data.shards.index import INDEX, Index, Shard, ShardError, read_index
from unmask.data.shards.packing import Packed, unpacked
from unmask.data.shards.writing import digest_of
from unmask.data.sources import Unreadable
from unmask.support.atomic import written_whole

BESIDE = ("cls", "json", "txt", "text", "caption", "index", "id")
"""Endings of members that tell of a content, where there is another."""
MOST_BESIDE = 2**20
"""Bytes of such a member that is read."""
Pack = Callable[[Any, int], Packed]


def index_folder(folder: Path, of: str, pack: Pack, moved: Callable[[int, int, str], None], content: str = "") -> Index:
    """Writes the index of a folder of tar files; those whose names begin with ``val`` are the part to validate on.

    Args:
        folder: of them.
        of: what a sample is, in the words of its data module.
        pack: what that module makes of a content and its number, for what is known of it; may raise `Unreadable`.
        moved: called with files done, how many there are, and the name of one.
        content: the ending of contents, without the first dot; empty: the only one that tells of nothing else.

    Raises:
        ShardError: there is an index, or no tar file, or one that cannot be used.
    """
    if (folder / INDEX).exists():
        raise ShardError(f"`--index` must be a folder without a {INDEX}, but {folder} has one.")
    packed_ones = sorted(path.name for path in folder.glob("*.tar.*") if path.suffix in (".gz", ".bz2", ".xz", ".zst"))
    if packed_ones:
        raise ShardError(f"Shards must be plain tar files, but {folder / packed_ones[0]} is compressed; unpack it.")
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise ShardError(f"`--index` must be a folder of tar files, but {folder} has none.")
    parts: dict[str, list[Shard]] = {"train": [], "val": []}
    left_out = Findings()
    for done, path in enumerate(paths):
        moved(done, len(paths), path.name)
        own = parts["val" if path.name.startswith("val") else "train"]
        shard = _looked_through(path, pack, content.lstrip("."), left_out, sum(map(len, own)))
        if len(shard):
            own.append(shard)
    if not parts["train"]:
        why = left_out.named(UNREADABLE)
        raise ShardError(f"{folder} must have samples to train on, but has none{why and f': {why}'}.")
    kept = {name: shards for name, shards in parts.items() if shards}
    index = Index(of, kept, left_out=left_out.as_dict(), fingerprint="foreign")
    text = index.text()
    read_index(text, str(folder / INDEX))
    with written_whole(folder / INDEX) as part:
        part.write_text(text, encoding="utf-8")
    return index


def _looked_through(path: Path, pack: Pack, content: str, left_out: Findings, before: int) -> Shard:
    shard = Shard(path.name, path.stat().st_size, digest_of(path))
    try:
        with tarfile.open(path, "r:") as tar:
            for key, members in _samples(tar, path):
                ending = _content(members, content, path, key)
                info = members.pop(ending)
                told = _told(tar, members, path, key)
                data = _data(tar, info)
                try:
                    made = pack(unpacked(data, ending), before + len(shard))
                except (Unreadable, OSError) as error:
                    left_out.note(UNREADABLE, f"{path.name}: {info.name} ({error})")
                    continue
                _add(shard, told.get("name") or key, info, data, ending, told, made)
    except tarfile.TarError as error:
        raise ShardError(f"Shard {path} is no whole tar file: {error}.") from error
    return shard


def _samples(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Members by ending, of one sample after the other."""
    key, members = "", dict[str, tarfile.TarInfo]()
    for info in tar:
        place = PurePosixPath(info.name)
        if place.is_absolute() or ".." in place.parts or "\\" in info.name:
            raise ShardError(f"Shard {path} has a member {info.name[:80]!r}, whose name leads out of it.")
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise ShardError(f"Shard {path} must have plain files alone, but {info.name[:80]!r} is none.")
        stem, _, ending = place.name.partition(".")
        own = (place.parent / stem).as_posix()
        if own != key and members:
            yield key, members
            members = {}
        key = own
        if ending.lower() in members:
            raise ShardError(f"Shard {path} has {info.name[:80]!r} twice.")
        members[ending.lower()] = info
    if members:
        yield key, members


def _content(members: dict[str, tarfile.TarInfo], content: str, path: Path, key: str) -> str:
    """The ending of what a sample is."""
    if content:
        if content not in members:
            raise ShardError(f"Sample {key!r} of shard {path} has no .{content}, but .{', .'.join(members)}.")
        return content
    telling = [ending for ending in members if ending not in BESIDE] or [
        ending for ending in members if ending in ("txt", "text", "caption")
    ]
    if len(telling) != 1:
        raise ShardError(
            f"Sample {key!r} of shard {path} has .{', .'.join(members)}: `--content` must say which of them it is."
        )
    return telling[0]


def _told(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], path: Path, key: str) -> dict[str, Any]:
    """What members beside a content say of it: ``label``, ``name``, ``groups``."""
    told: dict[str, Any] = {}
    for ending in ("json", "cls"):
        if ending not in members:
            continue
        info = members[ending]
        if info.size > MOST_BESIDE:
            raise ShardError(
                f"Shard {path} has {info.name[:80]!r} of {info.size:,} bytes, which may be {MOST_BESIDE:,}."
            )
        text = _data(tar, info)
        if ending == "cls":
            told["label"] = text.decode("utf-8", "replace").strip()
            continue
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ShardError(f"{info.name[:80]!r} of shard {path} is no JSON: {error}.") from error
        if isinstance(plain, dict):
            told = {name: plain[name] for name in ("label", "name", "groups") if plain.get(name) is not None} | told
    label = told.get("label")
    told["label"] = str(label) if isinstance(label, int | str) else float(label) if isinstance(label, float) else None
    groups = told.get("groups")
    told["groups"] = {str(name): str(word) for name, word in groups.items()} if isinstance(groups, dict) else {}
    told["name"] = told["name"] if isinstance(told.get("name"), str) else None
    return told


def _data(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None  # a plain file
    data = file.read()
    if len(data) != info.size:
        raise tarfile.ReadError(f"{info.name[:80]!r} ends too early")
    return data


def _add(
    shard: Shard, name: str, info: tarfile.TarInfo, data: bytes, ending: str, told: dict[str, Any], made: Packed
) -> None:
    for group in set(told["groups"]) - set(shard.groups):
        shard.groups[group] = [None] * len(shard)
    for group, column in shard.groups.items():
        column.append(told["groups"].get(group))
    for fact, value in made.facts.items():
        shard.facts.setdefault(fact, []).append(value)
    shard.names.append(name)
    shard.offsets.append(info.offset_data)
    shard.sizes.append(info.size)
    shard.crcs.append(crc32(data))
    shard.endings.append(ending)
    shard.labels.append(told["label"])
