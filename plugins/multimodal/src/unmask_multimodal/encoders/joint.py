"""The joint encoder: a stem or a whole encoder for each part, and a trunk over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask_multimodal.encoders.trunks import Stream, Trunk


class JointEncoder(Encoder):
    """Each part is embedded by a stem, or encoded by an encoder of its own; a trunk makes codes of all rows together.

    A stem is an encoder without layers, such as ``vision.vit`` with ``options: {depth: 0}``. Layers are counted on:
    those of the parts' encoders first (of the one that has the fewest), then the trunk's; where parts have layers of
    their own, layer ``own_layers`` are the codes of their encoders before they meet, normed. A sample may lack a part:
    all its places are padding then, and nothing of them is read.

    Args:
        encoders: by the names of parts.
        trunk: over the rows of all parts.
        part_embeddings: whether a learned vector of each part is added to its rows before the trunk.
        project: whether a linear layer takes rows to the trunk also where they are as wide as it (FLAVA).
        own_norms: whether the trunk reads codes after the last norm of a part's own encoder; FLAVA: before it.

    Raises:
        ValueError: no encoder; when called, parts of other names.
    """

    joint = True

    def __init__(
        self,
        encoders: dict[str, Encoder],
        trunk: Trunk,
        part_embeddings: bool = False,
        project: bool = False,
        own_norms: bool = True,
    ) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("`encoders` must name at least one part, but is empty.")
        self.encoders: Any = nn.ModuleDict(encoders)
        self.trunk = trunk
        self.own_norms = own_norms
        self.width = trunk.width
        self.own_layers = min(one.num_layers for one in encoders.values())
        self.num_layers = self.own_layers + trunk.num_layers
        self.projects: Any = nn.ModuleDict(
            {
                name: nn.Linear(one.width, trunk.width) if project or one.width != trunk.width else nn.Identity()
                for name, one in encoders.items()
            }
        )
        self.part_embeddings: Any = None
        if part_embeddings:
            self.part_embeddings = nn.ParameterDict(
                {name: nn.Parameter(0.02 * torch.randn(1, 1, trunk.width)) for name in encoders}
            )

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Codes of all parts; of those only that the tokens have."""
        self.depth(layer)
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        """Codes of several layers, in one pass; 0: rows as they enter the first."""
        names = list(tokens.parts or {})
        for name in names:
            if name not in self.encoders:
                known = ", ".join(self.encoders)
                raise ValueError(f"`encoders` must name each part, {', '.join(names)}, but names {known}.")
        names = [name for name in self.encoders if name in names]  # a trunk may have weights of its first part

        # Each part by its own encoder; the trunk reads what comes last of it.
        own = sorted({layer for layer in layers if layer is not None and layer <= self.own_layers and self.own_layers})
        by_part = {name: self._own(name, tokens, mask, own) for name in names}
        streams = {name: self._stream(name, codes[None], tokens.part(name)) for name, codes in by_part.items()}

        above = [layer for layer in layers if layer not in own]
        numbers = [None if layer is None else layer - self.own_layers for layer in above]
        states = dict(zip(above, self.trunk(streams, numbers) if above else [], strict=True))
        return [
            self._latent(by_part, *states[layer]) if layer in states
            else Latent.join({name: by_part[name][layer] for name in names})
            for layer in layers
        ]  # fmt: skip

    def _own(self, name: str, tokens: Tokens, mask: Mask | None, layers: list[int]) -> dict[int | None, Latent]:
        """Codes of one part by its own encoder: those asked for, and under None what enters the trunk."""
        encoder: Encoder = self.encoders[name]
        part, hidden = tokens.part(name), mask and mask.part(name)
        lacking = _lacking(part, hidden)
        if lacking is not None:  # a part that is not there gets a place, for an encoder cannot do without
            part, hidden = _with_a_place(part, hidden, lacking)
        last = 0 if not encoder.num_layers else None if self.own_norms else encoder.num_layers
        numbers = [last, *(None if layer == self.own_layers else layer for layer in layers)]
        asked = list(dict.fromkeys(numbers))
        codes = encoder.codes_of(part, hidden, asked)
        if lacking is not None:
            codes = [_without(one, lacking, part) for one in codes]
        return {layer: codes[asked.index(number)] for layer, number in zip([None, *layers], numbers, strict=True)}

    def _stream(self, name: str, latent: Latent, tokens: Tokens) -> Stream:
        rows = latent.values if latent.prefix is None else torch.cat([latent.prefix, latent.values], dim=1)
        rows = self.projects[name](rows)
        if self.part_embeddings is not None:
            rows = rows + self.part_embeddings[name].to(rows.dtype)
        num_prefix = 0 if latent.prefix is None else latent.prefix.shape[1]
        valid = latent.seen.valid if latent.seen is not None else tokens.valid
        if valid is not None and num_prefix:
            there = valid.any(1, keepdim=True) if tokens.valid is None else tokens.valid.any(1, keepdim=True)
            valid = torch.cat([there.expand(-1, num_prefix), valid], dim=1)
        return Stream(rows, valid, tokens.places, latent.seen, num_prefix)

    def _latent(self, by_part: dict[str, dict[int | None, Latent]], rows: dict[str, Tensor], own: Any) -> Latent:
        parts = {}
        for name, codes in by_part.items():
            latent = codes[None]
            num_prefix = 0 if latent.prefix is None else latent.prefix.shape[1]
            values, prefix = rows[name][:, num_prefix:], rows[name][:, :num_prefix]
            if latent.seen is not None and latent.seen.valid is not None:  # rows that only fill up show another place
                values = values.masked_fill(~latent.seen.valid[..., None], 0)
            parts[name] = Latent(values, latent.seen, prefix if num_prefix else None)
        return replace(Latent.join(parts), prefix=own)


def _lacking(tokens: Tokens, mask: Mask | None) -> Tensor | None:
    """Which samples lack the part, or show nothing of it ``[B]``; None: none does."""
    seen = None if mask is None else mask.seen
    if seen is not None and not seen.index.shape[1]:
        return torch.ones(len(seen.index), dtype=torch.bool, device=seen.index.device)
    valid = tokens.valid if seen is None else seen.valid
    if valid is None:
        return None
    lacking = ~valid.any(1)
    return lacking if bool(lacking.any()) else None


def _with_a_place(tokens: Tokens, mask: Mask | None, lacking: Tensor) -> tuple[Tokens, Mask | None]:
    """The first place of samples that lack the part counts as real and is shown, all of their values as 0."""
    first = F.pad(lacking[:, None], (0, tokens.num_tokens - 1))  # [B, N]
    wide = lacking.view(-1, *[1] * (tokens.values.ndim - 1))
    valid = None if tokens.valid is None else tokens.valid | first
    tokens = replace(tokens, valid=valid, values=tokens.values.masked_fill(wide, 0))
    if mask is None:
        return tokens, None
    valid = mask.valid | first if mask.valid is not None else None
    return tokens, replace(mask, valid=valid, hidden=mask.hidden & ~first, num_hidden=None)


def _without(latent: Latent, lacking: Tensor, tokens: Tokens) -> Latent:
    """The codes without those places: they are padding again."""
    if latent.seen is None:
        return latent
    valid = torch.ones_like(latent.seen.index, dtype=torch.bool) if latent.seen.valid is None else latent.seen.valid
    return replace(latent, seen=replace(latent.seen, valid=valid & ~lacking[:, None]))
