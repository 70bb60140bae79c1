"""Commands on several processes each, as forks of one process that has imported everything and trained nothing.

    python ranks.py '[[2, ["fit", "--config", "toy.yaml"]], [1, ["probe", "run"]]]'

They are run one after another; the exit code is that of the first one that fails.
"""

import json
import os
import socket
import sys
import traceback
from pathlib import Path

from unmask.cli import fit, main  # noqa: F401  # what every run would import


def forked(rank: int, number: int, port: int, words: list[str]) -> int:
    """The process of one rank, told who it is as ``torchrun`` does."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        if number > 1:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(number)}
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
            words = [*words, "--trainer.devices", str(number)]
        code = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(number: int, words: list[str]) -> int:
    """The worst exit code of a command on so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [forked(rank, number, port, words) for rank in range(number)]
    return max(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in processes)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    for count, command in json.loads(sys.argv[1]):
        if failed := run(count, command):
            sys.exit(failed)
