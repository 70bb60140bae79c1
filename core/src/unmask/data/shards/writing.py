"""Writing shards: tar files of about one size, each whole or not at all, so that a killed writer goes on."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from filelock import FileLock, Timeout

from unmask.data.findings import Findings
from unmask.data.report import UNREADABLE
from unmask.data.shards.index import INDEX, Index, Shard, ShardError, read_index, shard_of
from unmask.data.shards.packing import Packed
from unmask.data.shards.plan import Entry, Plan
from unmask.data.sources import Unreadable
from unmask.support.atomic import remove_parts, written_whole

PLAN, LOCK = ".plan.json", ".lock"
Moved = Callable[[int, int, str], None]


def write_shards(folder: Path, plan: Plan, shard_bytes: int, moved: Moved) -> Index | None:
    """Writes all shards and then their index, beginning where a killed writer stopped.

    Args:
        folder: is made.
        plan: what to write.
        shard_bytes: of a shard, about: it ends with the sample that reaches them.
        moved: called with samples done, how many there are (0: not known), and the part.

    Returns:
        The index; None: the folder has these shards already.

    Raises:
        ShardError: the folder holds something else, or another writer is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ShardError(f"`--out` must be a folder that nobody writes to, but somebody writes to {folder}.") from None
    try:
        if not _is_new(folder, plan.fingerprint):
            return None
        remove_parts(folder)
        left_out = Findings()
        parts = {name: _part(folder, name, plan, shard_bytes, moved, left_out) for name in plan.parts}
        if not parts["train"]:
            why = left_out.named(UNREADABLE)
            raise ShardError(f"The data must have something to write, but has nothing{why and f': {why}'}.")
        index = Index(
            plan.of, {name: shards for name, shards in parts.items() if shards}, list(plan.classes), plan.about,
            plan.options, left_out.as_dict(), plan.fingerprint,
        )  # fmt: skip
        text = index.text()
        read_index(text, str(folder / INDEX))  # what cannot be read is not written
        with written_whole(folder / INDEX) as part:
            part.write_text(text, encoding="utf-8")
        for record in [*folder.glob("*.tar.json"), folder / PLAN]:
            record.unlink()
        return index
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _is_new(folder: Path, fingerprint: str) -> bool:
    """Whether there is something to write; refuses a folder of anything else."""
    if (folder / INDEX).is_file():
        if read_index((folder / INDEX).read_bytes(), str(folder / INDEX)).fingerprint == fingerprint:
            return False
        raise ShardError(f"`--out` must be a new folder, but {folder} holds shards of other data or options.")
    if (folder / PLAN).is_file():
        if (folder / PLAN).read_text(encoding="utf-8") != fingerprint:
            raise ShardError(f"`--out` must be a new folder, but {folder} holds a part of other data or options.")
        return True
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    if others:
        raise ShardError(f"`--out` must be an empty or new folder, but {folder} holds {others[0]}.")
    with written_whole(folder / PLAN) as part:
        part.write_text(fingerprint, encoding="utf-8")
    return True


def _part(folder: Path, name: str, plan: Plan, shard_bytes: int, moved: Moved, left_out: Findings) -> list[Shard]:
    """Shards of a part: those that are there, and the others."""
    entries, total = plan.parts[name]
    shards: list[Shard] = []
    done, ended = 0, False
    while (record := _record(folder, name, len(shards))).is_file():
        held = json.loads(record.read_text(encoding="utf-8"))
        shards.append(shard_of(held["shard"]))
        done, ended = held["done"], held["ended"]
        left_out.add(Findings.of(held["left_out"]))
    if ended:
        return [shard for shard in shards if len(shard)]
    rest = entries(done)
    while not ended:
        record = _record(folder, name, len(shards))
        path = folder / record.name.removesuffix(".json")
        own, begun = Findings(), done
        with written_whole(path) as part:
            shard, done, ended = _written(part, path.name, rest, begun, shard_bytes, own, moved, total, name)
        with written_whole(record) as part:
            part.write_text(
                json.dumps({"shard": asdict(shard), "done": done, "ended": ended, "left_out": own.as_dict()}),
                encoding="utf-8",
            )
        if not len(shard):
            path.unlink()
        shards.append(shard)
        left_out.add(own)
    return [shard for shard in shards if len(shard)]


def _record(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}-{number:06d}.tar.json"


def _written(
    part: Path, file: str, entries: Iterator[Entry], done: int, shard_bytes: int, left_out: Findings, moved: Moved,
    total: int, what: str,
) -> tuple[Shard, int, bool]:  # fmt: skip
    """One shard, how many samples are done then, and whether there are no more."""
    shard = Shard(file)
    ended = True
    with tarfile.open(part, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for entry in entries:
            done += 1
            moved(done, total, what)
            try:
                made = entry.pack()
            except (Unreadable, OSError) as error:
                left_out.note(UNREADABLE, f"{entry.name} ({error})")
                continue
            key = f"{len(shard):08d}"
            _add(shard, entry, made, _added(tar, f"{key}.{made.ending}", made.content))
            about = {"name": entry.name, "label": _plain(entry.label), "groups": dict(entry.groups)}
            _added(tar, f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
            if tar.offset >= shard_bytes:
                ended = False
                break
    shard.bytes, shard.digest = part.stat().st_size, digest_of(part)
    return shard, done, ended


def digest_of(path: Path) -> str:
    """Of all of a shard, as its index has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _added(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Adds a member, the same bytes each time; where its content begins."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    begins = tar.offset + tarfile.BLOCKSIZE  # short names need one block
    tar.addfile(info, BytesIO(content))
    return begins


def _add(shard: Shard, entry: Entry, made: Packed, offset: int) -> None:
    """A sample's entry in all columns."""
    if len(shard) and set(made.facts) != set(shard.facts):
        raise ShardError(f"{entry.name} must have the facts {sorted(shard.facts)}, but has {sorted(made.facts)}.")
    for name in set(entry.groups) - set(shard.groups):
        shard.groups[name] = [None] * len(shard)
    for name, column in shard.groups.items():
        column.append(entry.groups.get(name))
    for name, value in made.facts.items():
        shard.facts.setdefault(name, []).append(value)
    if isinstance(entry.label, np.ndarray):
        kind = entry.label.dtype
        shard.dtype = "int64" if kind.kind in "iub" else "float32" if kind == np.float32 else "float64"
    shard.names.append(entry.name)
    shard.offsets.append(offset)
    shard.sizes.append(len(made.content))
    shard.crcs.append(crc32(made.content))
    shard.endings.append(made.ending)
    shard.labels.append(_plain(entry.label))


def _plain(label: Any) -> Any:
    """A label as JSON has it, None for what is no number."""
    if isinstance(label, np.ndarray):
        return [None if one != one else one for one in label.tolist()]
    return label.item() if isinstance(label, np.generic) else label
