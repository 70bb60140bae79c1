"""What was odd in the data: counted, the first ones named, and shown before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

NUM_NAMED = 5
"""Things of a kind that are named; the others are counted."""


@dataclass
class Findings:
    """Counts by what was found.

    Args:
        odd: by a sentence's end, such as ``hidden files and folders are left out``: how many there are, and the first
            of their names.
    """

    odd: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def note(self, what: str, name: str | None = None, count: int = 1) -> None:
        """Counts ``count`` things of which ``what`` is true, and names this one if it is among the first."""
        if count < 1:
            return
        before, names = self.odd.get(what, (0, []))
        if name is not None and len(names) < NUM_NAMED:
            names = [*names, name]
        self.odd[what] = before + count, names

    def count(self, what: str) -> int:
        """How many things were found of this kind."""
        return self.odd.get(what, (0, []))[0]

    def named(self, what: str) -> str:
        """The names of those things: the first, and how many more there are."""
        count, names = self.odd.get(what, (0, []))
        more = f" and {count - len(names):,} more" if names and count > len(names) else ""
        return ", ".join(names) + more

    def add(self, other: Findings) -> None:
        """Counts what another reading found."""
        for what, (count, names) in other.odd.items():
            before, own = self.odd.get(what, (0, []))
            self.odd[what] = before + count, [*own, *names][:NUM_NAMED]

    def lines(self) -> Iterator[str]:
        """A sentence for each kind."""
        for what, (count, _) in self.odd.items():
            names = self.named(what)
            yield f"{count:,} {what}{': ' if names else ''}{names}."

    def as_dict(self) -> dict[str, list]:
        """Plain lists and numbers, as JSON has them; `of` reads them back."""
        return {what: [count, list(names)] for what, (count, names) in self.odd.items()}

    @classmethod
    def of(cls, plain: Mapping[str, list]) -> Findings:
        """What `as_dict` gave."""
        return cls({what: (int(count), list(names)) for what, (count, names) in plain.items()})

    def __str__(self) -> str:
        return "\n".join(f"  {line}" for line in self.lines())
