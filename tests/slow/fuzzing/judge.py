"""What a case is judged by, inside of the process that runs it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import resource
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzzing.case import Read

MEMORY = 2 * 2**30
"""Bytes that the process may grow by during one case."""
LONGEST_MESSAGE = 3200
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
)
_RUNS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
    "socket.bind",
    "webbrowser.open",
)


class Judge:
    """Watches what is done while a case is read; made once in each process, for an audit hook stays for ever."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.violations: list[str] = []
        sys.addaudithook(self._hook)

    def of(self, read: Read, folder: Path) -> tuple[str, str]:
        """``read``, ``refused`` or what is wrong, and the words that it was told in."""
        work = folder / "work"
        before = _snapshot(folder)
        sys.__dict__.pop("fuzz_canary", None)
        said = io.StringIO()
        _reset_peak()
        begin = _memory("VmRSS")
        self.violations, self.folder = [], folder
        try:
            with (
                _inside(folder, work),
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(said),
                warnings.catch_warnings(),
            ):
                verdict, words = _outcome(read, said)
        finally:
            self.folder = None
        grown = _memory("VmHWM") - begin
        if verdict in ("read", "refused"):
            if "fuzz_canary" in sys.__dict__:
                verdict, words = "code", "the canary of `exec` was set"
            elif self.violations:
                verdict, words = "harm", "; ".join(sorted(set(self.violations))[:5])
            elif (after := _snapshot(folder)) != before:
                changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
                verdict, words = "written", ", ".join(changed[:5])
            elif grown > MEMORY:
                verdict, words = "memory", f"{grown / 2**30:.1f} GB; {words}"
        return verdict, words

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        folder = self.folder
        if folder is None or not (event == "open" or event in _CHANGES or event in _RUNS):
            return
        if event == "subprocess.Popen" and arguments[0] == "uname":  # `platform` asks for the processor so
            return
        if event in _RUNS:
            self._note(f"{event} {str(arguments)[:200]}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and isinstance(flags, int) and flags & _WRITING:
                self._check(event, os.fsdecode(path))
        else:
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._check(event, os.fsdecode(path))

    def _check(self, event: str, path: str) -> None:
        assert self.folder is not None
        where = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path))
        allowed = [os.path.realpath(self.folder / name) for name in ("work", "tmp")]
        if not any(f"{where}/".startswith(f"{one}/") for one in allowed) and not path.startswith(
            ("/dev/null", "/dev/tty")
        ):
            self._note(f"{event} {path}")

    def _note(self, text: str) -> None:
        callers = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_stack(limit=12)[:-3]]
        self.violations.append(f"{text} ({' '.join(callers[-5:])})")


def _outcome(read: Read, said: io.StringIO) -> tuple[str, str]:
    from unmask.configs.errors import is_mistake, message_of
    from unmask.support.errors import complain

    try:
        code = read()
    except Exception as error:
        if not is_mistake(error, running=False):
            return "traceback", _where(error)
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            complain(message_of(error))
        words = shown.getvalue()
    else:
        words = said.getvalue().strip()
        if "Traceback (most recent" in words:
            return "traceback", words[-400:]
        if not isinstance(code, int) or code == 0:
            return "read", words[-300:]
        if code not in (1, 2):
            return "exit code", f"{code}: {words[-300:]}"
        lines = [line for line in words.splitlines() if line.strip()]
        words = "\n".join(lines[-2:])
        if not lines:
            return "no words", f"exit code {code} without a word"
    if not words.strip() or len(words) > LONGEST_MESSAGE:
        return "no plain line", f"{len(words)} characters: {words[:300]}"
    return "refused", words[:300]


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/unmask" in frame.filename and "/site-packages/" not in frame.filename]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in (own[-1:] + frames[-1:])]
    return f"{type(error).__name__}: {str(error)[:200]} at {' ... '.join(places)}"


@contextlib.contextmanager
def _inside(folder: Path, work: Path) -> Iterator[None]:
    home = Path.cwd()
    kept = {name: os.environ.get(name) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    os.environ |= {
        "HOME": str(work / "home"),
        "TMPDIR": str(folder / "tmp"),
        "XDG_CACHE_HOME": str(work / "home" / ".cache"),
    }
    tempfile.tempdir = None
    os.chdir(work)
    try:
        yield
    finally:
        os.chdir(home)
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        tempfile.tempdir = None


def _snapshot(folder: Path) -> dict[str, str]:
    """What lies in the folder of a case, and has to stay as it is: everything but ``work`` and ``tmp``."""
    found = {}
    for parent, folders, files in os.walk(folder):
        if parent == str(folder):
            folders[:] = [name for name in folders if name not in ("work", "tmp")]
        for name in [*folders, *files]:
            path = Path(parent, name)
            status = path.lstat()
            is_small = path.is_file() and not path.is_symlink() and status.st_size < 2**20
            digest = hashlib.blake2b(path.read_bytes()).hexdigest() if is_small else ""
            found[str(path)] = f"{status.st_mode} {status.st_size} {digest}"
    return found


def limit_memory(num_bytes: int) -> None:
    """The process cannot take more than so many bytes beside what it has: others live on this machine, too."""
    most = _memory("VmSize") + num_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _memory(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
