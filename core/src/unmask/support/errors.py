"""How a command ends: exit codes, and mistakes that are shown as one or two plain lines."""

from __future__ import annotations

import sys

GOOD, FAILED, MISTAKE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes. 1: a run that failed, 2: a mistake of the user's, 130: Ctrl-C, 143: SIGTERM."""


class UserError(Exception):
    """Something that the user can put right. Shown as its message alone: at most two plain lines."""

    exit_code = MISTAKE
    """What the command ends with."""


LONGEST_LINE = 1500
"""Characters of a line of a message at most: what a file says of itself may stand in it."""


def complain(message: str) -> None:
    """Write a message to stderr, as at most two plain lines; of very long ones the middle is left out."""
    lines = [" ".join(line.split()) for line in message.strip().splitlines()]
    lines = [line for line in lines if line]
    if len(lines) > 2:
        lines = [lines[0], " ".join(lines[1:])]
    half = LONGEST_LINE // 2
    print(
        "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:half]} ... {line[-half:]}" for line in lines),
        file=sys.stderr,
    )
