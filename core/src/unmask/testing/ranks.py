"""Commands on several processes each, as forks of one process that has imported everything and trained nothing.

    python -m unmask.testing.ranks '[[2, ["fit", "--config", "toy.yaml"]], [1, ["probe", "run"]]]'

They are run one after another; the exit code is that of the first one that fails. Seconds of importing are spent once.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import traceback
from pathlib import Path

from unmask.cli import fit, main  # noqa: F401  # what every run would import


def run(
    processes: int, words: list[str], folder: Path | str = ".", out: Path | None = None, limit: int | None = None
) -> int:
    """The worst exit code of the processes of a command.

    Args:
        processes: how many; where it is more than one, each is told who it is as ``torchrun`` does.
        words: of the command.
        folder: where to run it.
        out: a file for what it says; None: it says it here.
        limit: bytes of address space that each process may have, as ``ulimit -v`` sets it; each says at its end how
            many it had. None: any number.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    several = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "NODE_RANK": "0"}
    forks = []
    for rank in range(processes):
        who = several | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        given = [*words, "--trainer.devices", str(processes)] if processes > 1 else words
        forks.append(_forked(given, who, folder, out, limit))
    return max(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in forks)


def _forked(
    words: list[str], environment: dict[str, str], folder: Path | str, out: Path | None, limit: int | None
) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        if out is not None:
            handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
        os.environ.update(environment)
        os.chdir(folder)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        code = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        if limit is not None:
            print(f"Peak address space: {peak():,} bytes", flush=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def peak() -> int:
    """Bytes of address space that this process has had at most; on Linux."""
    with Path("/proc/self/status").open() as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmPeak"))


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    for number, command in json.loads(sys.argv[1]):
        if failed := run(number, command):
            sys.exit(failed)
