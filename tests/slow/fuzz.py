"""Hostile input by the thousand: damaged files, lying headers, bombs, pickles with code, odd names, wrong values.

    python tests/slow/fuzz.py --cases 10000 --seed 0
    python tests/slow/fuzz.py --cases 10000 --part 2/4 --minutes 30 --out results.jsonl      # carries on where it ended
    python tests/slow/fuzz.py --replay 1234 --seed 0 --keep /tmp/case                        # one case, with its files

A case is a kind of input and a number; its seed and its number make all of it. Good content is damaged (`fuzzing`
says how) and read by a data module, or by the command line in process. A case is well when it is read, or refused by
an error that is the user's in at most two plain lines. It fails by

- an exception of any other kind (what would be a traceback), an exit code other than 0, 1 and 2, or no words;
- a signal that ends its process; more than 10 s of processor time, or 30 s in which it only waits;
- more than 2 GB of memory beyond what the process had;
- a process started, a connection, code of a file that runs (a canary in pickles and archives);
- anything written outside of its work folder, and input that is changed.

Cases run in forks of one process that has imported everything.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import json
import os
import pkgutil
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = True

from fuzzing import clouds, configs, graphs, images, plugins, runs, shards, sounds, tables, texts  # noqa: E402
from fuzzing.case import Case, Read  # noqa: E402
from fuzzing.judge import Judge, limit_memory  # noqa: E402

KINDS: dict[str, Callable[[Case], Read]] = {
    name: kind
    for module in (images, sounds, texts, graphs, clouds, configs, runs, plugins, shards)
    for name, kind in module.KINDS.items()
}
WEIGHTS = {
    "images": 4,
    "audio": 4,
    "texts": 2,
    "point files": 4,
    "configs": 4,
    "run folders": 3,
    "plugin metadata": 2,
    "weights": 2,
    "shards": 2,
}
"""How often a kind comes, where not once."""
SECONDS, WAITING = 10.0, 30.0
BATCH = 40
"""Cases that one process runs before it is replaced."""
SPARE = 4 * 2**30
"""Bytes that a process can take before it is refused more."""


def main() -> int:
    given = _arguments()
    schedule = [kind for kind in KINDS for _ in range(WEIGHTS.get(kind, 1))]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        shared = Path(folder) / "shared"
        shared.mkdir()
        _prepare(shared)
        if given.replay is not None:
            kind = schedule[given.replay % len(schedule)]
            print(f"case {given.replay}: {kind}")
            root = given.keep or Path(folder)
            root.mkdir(parents=True, exist_ok=True)
            for result in _forked([(given.replay, kind)], given.seed, root, shared, keep=given.keep is not None):
                print(json.dumps(result, indent=1, ensure_ascii=False))
            return 0
        place, parts = map(int, given.part.split("/"))
        todo = [
            (number, schedule[number % len(schedule)]) for number in range(given.cases) if number % parts == place - 1
        ]
        if given.kinds:
            todo = [case for case in todo if case[1] in given.kinds.split(",")]
        results = _earlier(given.out, given.seed)
        todo = [case for case in todo if case[0] not in results]
        deadline = time.monotonic() + 60 * given.minutes
        while todo and time.monotonic() < deadline:
            for result in _forked(todo[:BATCH], given.seed, Path(folder), shared):
                results[result["case"]] = result
                if given.out is not None:
                    with given.out.open("a") as file:
                        file.write(json.dumps(result) + "\n")
                if result["verdict"] not in ("read", "refused"):
                    print(f"{result['case']} {result['kind']}: {result['verdict']}: {result['words']}", flush=True)
            todo = [case for case in todo if case[0] not in results]
    return _report(list(results.values()), len(todo))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hostile input, by the thousand.")
    parser.add_argument("--cases", type=int, default=10_000, help="how many; default: 10,000")
    parser.add_argument("--seed", type=int, default=0, help="of all of them; default: 0")
    parser.add_argument("--minutes", type=float, default=600, help="stop then; with --out, the next call carries on")
    parser.add_argument("--part", default="1/1", help="of the cases, such as 2/4, for several machines")
    parser.add_argument("--kinds", help=f"with commas between; default: all of {', '.join(KINDS)}")
    parser.add_argument(
        "--out", type=Path, help="a file of results, a line each; cases that are in it are not run again"
    )
    parser.add_argument("--replay", type=int, help="run this case alone")
    parser.add_argument("--keep", type=Path, help="a folder for the files of the case that is replayed")
    return parser.parse_args()


def _prepare(shared: Path) -> None:
    """Imports what cases need, makes what they spoil, and trains the run whose files they damage."""
    process = os.fork()
    if process == 0:  # what training leaves behind in a process is no part of the cases
        code = 1
        try:
            runs.make(shared)
            shards.make(shared)
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise SystemExit("The run that cases are made from could not be trained.")
    import torch

    torch.set_num_threads(1)
    for package in ("unmask", *(f"unmask_{name}" for name in ("vision", "audio", "text", "graph", "pointcloud"))):
        for module in pkgutil.walk_packages(__import__(package).__path__, f"{package}."):
            if not module.name.endswith("__main__") and "skeletons" not in module.name:
                importlib.import_module(module.name)
    for name in (
        "pyarrow.parquet",
        "tifffile",
        "pillow_heif",
        "h5py",
        "networkx",
        "requests",
        "torch_geometric.datasets",
    ):
        importlib.import_module(name)
    (
        images.corpus(),
        sounds.corpus(),
        clouds.corpus(),
        graphs.networks(),
        texts.tokenizer(),
        configs.recipes(),
        tables.parquet([{"a": 1}]),
    )
    from fuzzing import bombs

    bombs.gzip(), bombs.gzip(64), bombs.npz("points", (2**28, 3)), bombs.text_chunk_png()
    for size in ((14_000, 14_000), (60_000, 60_000, 0), (1, 199_000_000, 0), (2**31 - 1, 1, 0)):
        bombs.png(*size)


def values_of(seed: int, count: int = 300) -> tuple[Any, ...]:
    """Plain values of any kind and depth, as Hypothesis finds them worth trying."""
    import hypothesis
    from hypothesis import strategies

    texts_ = strategies.text(max_size=30)
    leaves = strategies.one_of(
        strategies.none(),
        strategies.booleans(),
        strategies.integers(-(2**70), 2**70),
        strategies.floats(),
        texts_,
        strategies.sampled_from(
            ("", "null", "~", "yes", "0x1F", "1:30", "*a", "&a", "!!x", "random", "../x", "/etc/passwd")
        ),
    )
    trees = strategies.recursive(
        leaves,
        lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(texts_, inner, max_size=4),
        max_leaves=8,
    )
    found: list[Any] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(trees)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return tuple(found)


VALUES: dict[int, tuple[Any, ...]] = {}


def _forked(
    cases: list[tuple[int, str]], seed: int, root: Path, shared: Path, keep: bool = False
) -> Iterator[dict[str, Any]]:
    """Results of the first cases, as many as one process survives, as they come."""
    if seed not in VALUES:
        VALUES[seed] = values_of(seed)
    values = VALUES[seed]
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(reader)
            _work(cases, seed, root, shared, values, writer, keep)
        finally:
            os._exit(0)
    os.close(writer)
    current, begun, cpu_begun, rest = None, 0.0, 0.0, b""
    why = None
    with open(reader, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], 0.25)
            if ready:
                chunk = pipe.read(2**16)
                if not chunk:
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    if "verdict" in said:
                        current = None
                        yield said
                    else:
                        current, begun, cpu_begun = said, time.monotonic(), _cpu(process)
                continue
            if current is not None:
                wall, cpu = time.monotonic() - begun, _cpu(process) - cpu_begun
                if cpu > SECONDS or (wall > WAITING and cpu < 0.5) or wall > 20 * SECONDS:
                    why = f"{cpu:.0f} s of processor time, {wall:.0f} s in all{_stack(process, root / 'stack')}"
                    os.kill(process, signal.SIGKILL)
                    break
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if current is not None:
        verdict = ("hang", why) if why else ("signal", f"ended by {status}")
        yield current | {"verdict": verdict[0], "words": verdict[1], "seconds": SECONDS}
        with contextlib.suppress(OSError):
            shutil.rmtree(root / f"case{current['case']}") if not keep else None


def _work(
    cases: list[tuple[int, str]], seed: int, root: Path, shared: Path, values: tuple[Any, ...], writer: int, keep: bool
) -> None:
    judge = Judge()
    faulthandler.register(signal.SIGUSR1, (root / "stack").open("w"), all_threads=False)
    limit_memory(SPARE)
    for number, kind in cases:
        folder = root / f"case{number}"
        about = {"case": number, "kind": kind, "seed": seed}
        os.write(writer, json.dumps(about).encode() + b"\n")
        for name in ("data", "work", "tmp", "outside", "tables"):
            (folder / name).mkdir(parents=True)
        (folder / "outside" / "x").write_text("not to be touched")
        random.seed(number)
        case = Case(folder, random.Random(f"{seed}-{number}-{kind}"), values, shared)
        try:
            read = KINDS[kind](case)
        except Exception as error:  # of this program, not of the toolkit
            result = about | {
                "verdict": "not made",
                "words": "".join(traceback.format_exception(error)[-2:]),
                "seconds": 0,
            }
            os.write(writer, json.dumps(result).encode() + b"\n")
            continue
        begin = time.process_time()
        verdict, words = judge.of(read, folder)
        result = about | {"verdict": verdict, "words": words, "seconds": round(time.process_time() - begin, 2)}
        os.write(writer, json.dumps(result).encode() + b"\n")
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _cpu(process: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stack(process: int, file: Path) -> str:
    """What a process is doing, from `faulthandler`."""
    os.kill(process, signal.SIGUSR1)
    lines: list[str] = []
    for _ in range(20):
        time.sleep(0.5)
        lines = file.read_text().splitlines() if file.is_file() else []
        if lines:
            break
    calls = [line.strip().replace('File "', "").replace('", line ', ":") for line in lines if "File" in line]
    calls = [Path(call.partition(":")[0]).name + ":" + call.partition(":")[2] for call in calls]
    return f", at {' < '.join(calls[:6])}" if calls else ""


def _earlier(out: Path | None, seed: int) -> dict[int, dict[str, Any]]:
    if out is None or not out.is_file():
        return {}
    lines = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
    return {one["case"]: one for one in lines if one["seed"] == seed}


def _report(results: list[dict[str, Any]], num_left: int) -> int:
    verdicts = sorted({one["verdict"] for one in results}, key=lambda word: (word not in ("read", "refused"), word))
    print(f"{'kind':20}" + "".join(f"{word:>12}" for word in ("cases", *verdicts)))
    for kind in [*KINDS, "all"]:
        own = [one for one in results if kind in ("all", one["kind"])]
        counts = Counter(one["verdict"] for one in own)
        print(f"{kind:20}" + "".join(f"{number:12,}" for number in (len(own), *(counts[word] for word in verdicts))))
    if num_left:
        print(f"{num_left:,} cases are left.")
    failed = [one for one in results if one["verdict"] not in ("read", "refused")]
    longest = max((one["seconds"] for one in results), default=0)
    print(f"{len(failed):,} of {len(results):,} cases failed; the longest took {longest:.1f} s of processor time.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
