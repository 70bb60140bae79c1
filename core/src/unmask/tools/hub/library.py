"""`huggingface_hub`, by its public names alone, and what may go wrong with it in plain words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from unmask.support.atomic import is_full
from unmask.support.errors import UserError

SCHEME = "hf://"


class Repository(NamedTuple):
    """A repository of the Hub.

    Args:
        name: with its owner: ``org/name``.
        revision: a branch, tag or commit; None: the default branch.
    """

    name: str
    revision: str | None = None

    @classmethod
    def of(cls, address: str, revision: str | None = None) -> Repository:
        """Of ``hf://org/name``, ``hf://org/name@revision`` or ``org/name``.

        Raises:
            UserError: it is no such address, or names another revision than the one given.
        """
        name, _, own = address.removeprefix(SCHEME).strip("/").partition("@")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise UserError(f"A repository must be called `org/name`, but is `{address}`; nearest: `{_nearest(name)}`.")
        if own and revision is not None and own != revision:
            raise UserError(f"`--revision` must be `{own}`, as in `{address}`, but is `{revision}`; give it once.")
        return cls(name, own or revision)

    def __str__(self) -> str:
        return SCHEME + self.name + (f"@{self.revision}" if self.revision else "")


def library() -> Any:
    """`huggingface_hub`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UserError('The Hub needs the package `huggingface_hub`: pip install "unmask[hub]".') from None
    return huggingface_hub


def endpoint() -> str | None:
    """Where the Hub is: ``HF_ENDPOINT``; None: the library's own."""
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def told_plainly(repository: Repository) -> Iterator[None]:
    """Errors of the library, of the network and of the Hub in one line.

    Args:
        repository: what is read or written.

    Raises:
        UserError: in place of them.
    """
    errors = library().errors
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the library raises its own kinds, its client's and the system's
        if is_full(error):
            raise
        raise UserError(_reason(error, errors, repository)) from error


def unreachable(error: BaseException) -> bool:
    """Whether the Hub did not answer at all: no network, no such host, too late, or told not to ask."""
    kinds = (ConnectionError, TimeoutError)  # `OfflineModeIsEnabled` is one
    network = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests")
    return (isinstance(error, kinds) or network) and getattr(error, "response", None) is None


def _reason(error: Exception, errors: Any, repository: Repository) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"`{repository}` cannot be reached: `HF_HUB_OFFLINE` forbids it."
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"`{repository}` cannot be reached, and no copy of it lies in the cache."
    if isinstance(error, errors.GatedRepoError):
        return f"`{repository}` is gated: accept its terms on its page, and log in: `hf auth login`."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"`{SCHEME}{repository.name}` has no revision `{repository.revision}`."
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return f"There is no repository `{repository}`, or it is private and your token may not read it."
    if status == 401:
        return f"The Hub does not know your token, as `{repository}` needs: `hf auth login`, or `HF_TOKEN`."
    if status == 403:
        return f"Your token may not do that to `{repository}`: it must be allowed to write there."
    if unreachable(error):
        return f"`{repository}` cannot be reached: {_short(error)}"
    return f"`{repository}`: {_short(error)}"


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300].rstrip(".") + "."


def _nearest(name: str) -> str:
    words = [re.sub(r"[^\w.-]+", "-", word).strip("-") for word in name.split("/") if word]
    return "/".join(["org", *words][-2:]) if words else "org/name"
