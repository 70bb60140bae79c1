"""How a command ends: exit codes, and mistakes that are shown as one or two plain lines."""

from __future__ import annotations

import sys

GOOD, FAILED, MISTAKE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes. 1: a run that failed, 2: a mistake of the user's, 130: Ctrl-C, 143: SIGTERM."""


class UserError(Exception):
    """Something that the user can put right. Shown as its message alone: at most two plain lines."""

    exit_code = MISTAKE
    """What the command ends with."""


def complain(message: str) -> None:
    """Write a message to stderr, as at most two plain lines."""
    lines = [" ".join(line.split()) for line in message.strip().splitlines()]
    lines = [line for line in lines if line]
    if len(lines) > 2:
        lines = [lines[0], " ".join(lines[1:])]
    print("\n".join(lines), file=sys.stderr)
