"""Tar shards with their index, tar files of others, and checkpoints that several processes wrote."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
import zlib
from pathlib import Path

from fuzzing import images, mutations
from fuzzing.case import Case, Read, batches
from fuzzing.graphs import Payload
from fuzzing.runs import WORDS

ALONE = ["--trainer.max_steps", "5", "--trainer.strategy", "auto", "--trainer.devices", "1"]


def make(shared: Path) -> None:
    """Shards of digits, and a run whose checkpoint is a folder; once for all cases."""
    from unmask.cli import main
    from unmask.testing.ranks import run

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(["shard", "vision/mae-digits", "--out", str(shared / "shards"), "--shard_size", "300KB"])
        assert code == 0, f"`unmask shard` ended with {code}"
        words = ["fit", "--config", "vision/mae-digits", *WORDS, "--trainer.accelerator", "cpu", "--trainer.strategy"]
        code = run(2, [*words, "fsdp2", "--out", str(shared / "sharded")], out=shared / "sharded.log")
    assert code == 0, f"the sharded run ended with {code}: {(shared / 'sharded.log').read_text()[-2000:]}"


def shards(case: Case) -> Read:
    from unmask_vision.data import ImageShardsData

    root = case.data / "shards"
    shutil.copytree(case.shared / "shards", root)
    index = root / "shards.json"
    tars = sorted(root.glob("*.tar"))
    choice = case.rng.randrange(6)
    if choice < 3:  # an index that is JSON and lies
        plain = json.loads(index.read_text())
        wrong = (*case.values, [], -1, 2**62, "../../outside/x", "/etc/passwd", "x" * 5000, [0] * 3)
        index.write_text(json.dumps(mutations.tree_of(case.rng, plain, wrong)))
    elif choice == 3:
        index.write_bytes(case.spoilt(index.read_bytes(), is_text=True))
    else:
        tar = case.rng.choice(tars)
        content = case.spoilt(tar.read_bytes())
        tar.write_bytes(content)
        if choice == 5:  # the index is told of the damage, so that samples are read
            plain = json.loads(index.read_text())
            for shard in (one for part in plain["parts"].values() for one in part if one["file"] == tar.name):
                shard["bytes"] = len(content)
                places = zip(shard["offsets"], shard["sizes"], strict=True)
                shard["crcs"] = [zlib.crc32(content[first : first + size]) for first, size in places]
            index.write_text(json.dumps(plain))
    return lambda: batches(ImageShardsData(str(root), 8, 1, batch_size=16, num_workers=0))


def foreign(case: Case) -> Read:
    """Tar files as others write them, with members of odd kinds and names, indexed and then read."""
    from unmask.cli import main
    from unmask_vision.data import ImageShardsData

    root = case.work / "shards"
    root.mkdir()
    corpus = images.corpus()
    for number in range(case.rng.choice((1, 2))):
        made = io.BytesIO()
        with tarfile.open(
            fileobj=made, mode="w", format=case.rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
        ) as tar:
            for sample in range(6):
                name = case.rng.choice(("a.png", "b.png", "a.jpg", "b.jpg"))
                content = corpus[name] if case.chance(0.85) else case.spoilt(corpus[name], corpus.values())
                member = tarfile.TarInfo(f"{number}{sample}{name[1:]}")
                if case.chance(0.05):
                    member.name = case.rng.choice(
                        ("../../outside/x.png", "/etc/x.png", "a/../../../b.png", "x" * 300, ".")
                    )
                if case.chance(0.05):
                    member.type = case.rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE))
                    member.linkname = case.rng.choice(("/etc/passwd", "../../outside/x", member.name))
                member.size = len(content) if member.isreg() else 0
                tar.addfile(member, io.BytesIO(content))
                if case.chance(0.5):
                    label = case.rng.choice((b"1", b"cat", b"\xff", b"9" * 400, b"", b"{}"))
                    about = tarfile.TarInfo(f"{number}{sample}.{case.rng.choice(('cls', 'json', 'txt'))}")
                    about.size = len(label)
                    tar.addfile(about, io.BytesIO(label))
        content = made.getvalue()
        (root / f"{number}.tar").write_bytes(case.spoilt(content) if case.chance(0.3) else content)

    def read() -> int:
        code = main(["shard", "--index", str(root), "--data", "vision.shards"])
        if code == 0:
            batches(ImageShardsData(str(root), 8, 3, batch_size=1, num_workers=0))
        return code

    return read


def sharded(case: Case) -> Read:
    from unmask.cli import main

    run = case.work / "run"
    shutil.copytree(case.shared / "sharded", run)
    checkpoint = run / "checkpoints" / "last.ckpt"
    path = case.rng.choice(sorted(one for one in checkpoint.iterdir() if one.is_file()))
    if case.chance(0.2):
        path.unlink()
    elif path.name == ".metadata" and case.chance(0.3):
        import pickle

        path.write_bytes(pickle.dumps(Payload(case)))
    else:
        path.write_bytes(case.spoilt(path.read_bytes()))
    out = case.work / "out"
    command = case.rng.choice(
        (
            ["export", str(run), "--out", f"{out}.safetensors"],
            ["embed", str(run), "--out", f"{out}.npy"],
            ["report", str(run)],
            ["fit", "--config", str(run / "config.yaml"), "--out", str(run), "--ckpt_path", "last", *ALONE],
        )
    )
    return lambda: main(command)


KINDS = {"shards": shards, "shards of others": foreign, "sharded checkpoints": sharded}
