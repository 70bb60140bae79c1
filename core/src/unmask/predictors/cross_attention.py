"""Cross-attention predictor: asked places read a memory (SiamMAE, Gupta et al. 2023; CropMAE, Eymael et al. 2024,
arXiv:2403.17823; CroCo, Weinzaepfel et al. 2022; CrossMAE, Fu et al. 2024)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn import sincos
from unmask.nn.cross import CrossBlock, LayerMixture
from unmask.nn.rotary import rotary
from unmask.nn.transformer import xavier
from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Places, Prediction, Tokens


class CrossAttentionPredictor(Predictor):
    """Codes of the view's visible places and a mask token at each hidden one, with positions, attend to the memory.

    The memory is what the encoder made of another part, or of the view's own visible places. Defaults are CropMAE's,
    small size; those of other papers are given by their methods.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of the blocks.
        depth: blocks.
        num_heads: attention heads; must divide ``width``.
        mlp_width: hidden width of the blocks' MLPs, whatever the width.
        dropout: of each sublayer and of the attention, in [0, 1).
        part: the view that is predicted, by its name; None: codes have no parts.
        memory: the part that is read; None: the view itself.
        queries: what reads: the whole ``view``, codes and mask tokens, or mask tokens at the ``asked`` places alone.
        self_attention: of what reads: ``before`` the memory is read, ``after`` it, or ``none``: then answers at a
            place do not depend on where else is asked.
        norm_first: whether norms come before the sublayers, and one at the end.
        memory_norm: whether each block norms the memory.
        memory_positions: whether codes of the memory are told where they lie.
        memory_queries: whether what reads is part of the memory as well (CAE).
        num_layers: of the encoder, of all of which each block reads a learned mixture (CrossMAE); None: of the last.
        rotary_base: above 1: positions turn queries and keys, and are added to nothing; None: they are added.
        activation: of the MLPs, ``relu`` or ``gelu``.

    Raises:
        ValueError: a word or number outside its range, options that exclude each other; when called, codes without
            parts of these names, without layers, or packed tokens.
    """

    joint = True

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        width: int = 256,
        depth: int = 4,
        num_heads: int = 8,
        mlp_width: int = 2048,
        dropout: float = 0.1,
        part: str | None = "local",
        memory: str | None = "whole",
        queries: Literal["view", "asked"] = "view",
        self_attention: Literal["none", "before", "after"] = "after",
        norm_first: bool = False,
        memory_norm: bool = False,
        memory_positions: bool = False,
        memory_queries: bool = False,
        num_layers: int | None = None,
        rotary_base: float | None = None,
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__()
        for name, word, words in (
            ("queries", queries, ("view", "asked")),
            ("self_attention", self_attention, ("none", "before", "after")),
            ("activation", activation, ("relu", "gelu")),
        ):
            if word not in words:
                raise ValueError(f"`{name}` must be one of {', '.join(words)}, but is {word!r}.")
        if rotary_base is not None and not rotary_base > 1:
            raise ValueError(f"`rotary_base` must be above 1, but is {rotary_base}.")
        if num_layers is not None and (memory_queries or memory_positions):
            raise ValueError(
                "`memory_queries` and `memory_positions` must be false where `num_layers` is given: mixtures of layers "
                "are read as they are; nearest: num_layers null."
            )
        self.width, self.num_heads = width, num_heads
        self.part, self.memory = part, memory
        self.queries = queries
        self.memory_positions, self.memory_queries = memory_positions, memory_queries
        self.rotary_base = rotary_base
        self.embed = nn.Linear(encoder_width, width) if queries == "view" or num_layers is None else None
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        eps = 1e-6 if norm_first else 1e-5  # as MAE's blocks, and as torch's
        self.blocks = nn.ModuleList(
            CrossBlock(
                width,
                num_heads,
                mlp_width,
                dropout,
                self_attention,
                norm_first,
                memory_norm,
                None if num_layers is None else encoder_width,
                activation,
                eps,
            )
            for _ in range(depth)
        )
        self.reads = range(num_layers or 0)
        self.mixture = None if num_layers is None else LayerMixture(encoder_width, num_layers + 1, depth)
        self.norm = nn.LayerNorm(width, eps=eps) if norm_first else nn.Identity()
        self.head = nn.Linear(width, target_width)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in (self.embed, self.head, *(self.blocks if norm_first else ())):
            if module is not None:
                module.apply(xavier)

    def start(self, model: Any) -> None:
        if self.mixture is not None and len(self.reads) != model.encoder.num_layers:
            raise ValueError(
                f"`num_layers` must be {model.encoder.num_layers}, the encoder's, but is {len(self.reads)}."
            )

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        view, memory = (self._part(latent, name) for name in (self.part, self.memory or self.part))
        own, read = (mask if name is None else mask.part(name) for name in (self.part, self.memory or self.part))
        tokens = places if self.part is None else places.part(self.part)
        if tokens.offsets is not None:
            raise ValueError("CrossAttentionPredictor works on dense tokens, but these are packed; pad them.")
        asked = own.asked
        groups = asked.index.shape[1] if asked.index.ndim == 3 and self.queries == "asked" else 1

        # What reads: the whole view, or mask tokens where answers are asked; groups become samples of their own.
        x, valid, num_prefix = self._view(view, tokens, own) if self.queries == "view" else self._asked(tokens, own)

        # What is read: codes of the other part, of all layers or of the last.
        memories = self._memories(memory, places if self.memory is None else places.part(self.memory), read)
        memories = [one.repeat_interleave(groups, dim=0) for one in memories]  # [B * G, K, W'] each
        real = self._valid(memory, read)
        real = None if real is None else real.repeat_interleave(groups, dim=0)
        turns = self._turns(view, memory, tokens, asked, num_prefix, read)

        for block, given in zip(self.blocks, memories * (len(self.blocks) // len(memories)), strict=True):
            if self.memory_queries:
                x = block(x, torch.cat([given, x], dim=1), valid, _side_by_side(real, valid, given, x), turns)
            else:
                x = block(x, given, valid, real, turns)

        x = self.norm(x[:, num_prefix:])
        if self.queries == "view":
            answers = Prediction(asked.gather(self.head(x)), asked)
        else:
            answers = Prediction(self.head(x).reshape(*asked.index.shape, -1), asked)
        return answers if self.part is None else Prediction.join({self.part: answers})

    def _part(self, latent: Latent, name: str | None) -> Latent:
        if name is None and latent.parts is None:
            return latent
        parts = latent.parts or {}
        if name is None or name not in parts:
            have = ", ".join(parts) or "none"
            raise ValueError(f"The codes must have parts `{self.part}` and `{self.memory}`, but have {have}.")
        return parts[name]

    def _table(self, tokens: Tokens, mask: Mask) -> Tensor | None:
        """Positions that are added ``[B, N, W]``; None where they turn queries and keys."""
        if self.rotary_base is not None:
            return None
        table = sincos(tokens.layout, mask.hidden.shape[1], self.width, mask.hidden.device)
        return table.to(self.mask_token.dtype).expand(len(mask.hidden), -1, -1)

    def _view(self, view: Latent, tokens: Tokens, mask: Mask) -> tuple[Tensor, Tensor | None, int]:
        assert self.embed is not None
        table = self._table(tokens, mask)
        codes = self.embed(view.values)  # [B, K, W]
        x = self.mask_token.to(codes.dtype).expand(*mask.hidden.shape, -1)
        x = codes if view.seen is None else view.seen.scatter(codes, x)  # [B, N, W]
        x = x if table is None else x + table.to(codes.dtype)
        if view.prefix is None:
            return x, mask.valid, 0
        num_prefix = view.prefix.shape[1]
        x = torch.cat([self.embed(view.prefix), x], dim=1)
        return x, None if mask.valid is None else F.pad(mask.valid, (num_prefix, 0), value=True), num_prefix

    def _asked(self, tokens: Tokens, mask: Mask) -> tuple[Tensor, Tensor | None, int]:
        table, asked = self._table(tokens, mask), mask.asked
        x = self.mask_token.expand(*asked.index.shape, -1) if table is None else self.mask_token + asked.gather(table)
        return x.flatten(0, -3), None if asked.valid is None else asked.valid.flatten(0, -2), 0  # [B * G, M, W]

    def _memories(self, memory: Latent, tokens: Tokens, mask: Mask) -> list[Tensor]:
        """What each block reads, or all of them."""
        if self.mixture is None:
            assert self.embed is not None
            codes = self.embed(memory.values)
            table = self._table(tokens, mask) if self.memory_positions else None
            if table is not None:
                codes = codes + (table if memory.seen is None else memory.seen.gather(table)).to(codes.dtype)
            return [codes if memory.prefix is None else torch.cat([self.embed(memory.prefix), codes], dim=1)]
        if memory.inner is None:
            raise ValueError("`num_layers` must be null where codes come without those of inner layers, but is given.")
        layers = [*(memory.inner[number] for number in self.reads), memory]
        whole = [one.values if one.prefix is None else torch.cat([one.prefix, one.values], dim=1) for one in layers]
        mixed: list[Tensor] = self.mixture(whole)
        return mixed

    @staticmethod
    def _valid(latent: Latent, mask: Mask) -> Tensor | None:
        """Which rows of the memory are real ``[B, K]``; None: all."""
        real = latent.seen.valid if latent.seen is not None else mask.valid
        if real is None or latent.prefix is None:
            return real
        return F.pad(real, (latent.prefix.shape[1], 0), value=True)

    def _turns(
        self, view: Latent, memory: Latent, tokens: Tokens, asked: Places, num_prefix: int, read: Mask
    ) -> tuple[Tensor, Tensor] | None:
        """Angles of what reads and of what is read; class and register tokens are not turned."""
        if self.rotary_base is None:
            return None
        num_tokens = read.hidden.shape[1]
        head = self.width // self.num_heads
        table = rotary(tokens.layout, num_tokens, head, self.rotary_base, read.hidden.device)
        every = table.expand(len(read.hidden), -1, -1, -1)  # [B, N, A, F]
        mine = every if self.queries == "view" else asked.gather(every).flatten(0, -4)
        theirs = every if memory.seen is None else memory.seen.gather(every)
        mine, theirs = (
            F.pad(mine, (0, 0, 0, 0, num_prefix, 0)),
            F.pad(theirs, (0, 0, 0, 0, 0 if memory.prefix is None else memory.prefix.shape[1], 0)),
        )
        theirs = theirs.repeat_interleave(len(mine) // len(theirs), dim=0)
        return mine, torch.cat([theirs, mine], dim=1) if self.memory_queries else theirs


def _side_by_side(real: Tensor | None, valid: Tensor | None, given: Tensor, x: Tensor) -> Tensor | None:
    """Which rows of memory and readers are real, or None when all are."""
    if real is None and valid is None:
        return None
    both = (
        rows.new_ones(rows.shape[:2], dtype=torch.bool) if known is None else known
        for known, rows in ((real, given), (valid, x))
    )
    return torch.cat(list(both), dim=1)
