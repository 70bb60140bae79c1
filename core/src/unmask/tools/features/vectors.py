"""Frozen features: vectors from an encoder that sees everything, or from raw values, with their labels."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from unmask.embedder import Embedder
from unmask.structures import Latent, Tokens
from unmask.tools.features import PROBE_POOLS
from unmask.tools.features.labels import IGNORED, real_tokens, task_of
from unmask.tools.features.ranks import ALONE, Ranks
from unmask.tools.features.samples import owners
from unmask.tools.wholes import Wholes, averaged, firsts, shared
from unmask.training.sharding import gathered


class Vectors(NamedTuple):
    """Features: a row per sample, or per real token where labels are per token. Rows without a label are left out.

    Pieces of one thing, such as windows of a recording, make one row, their mean; see `Wholes`.

    Args:
        values: ``[n, D]`` float32.
        label: ``[n]`` or ``[n, C]``, or None where batches have none.
        group: ``[n]``, what rows belong to, or None where that was not asked for.
    """

    values: np.ndarray
    label: np.ndarray | None
    group: np.ndarray | None


@torch.no_grad()
def vectors(
    embedder: Embedder,
    loader: Iterable[Any],
    pool: str = "mean",
    layer: int | None = None,
    device: torch.device | str = "cpu",
    groups: str | None = None,
    ranks: Ranks = ALONE,
) -> Vectors:
    """Codes of all samples; nothing is hidden, and no random number of the caller's is used.

    Args:
        embedder: moved to ``device``, used in evaluation mode, and left in the mode it was in.
        loader: batches; labels are read from ``batch["label"]``, see `unmask.tools.features.labels`. Rows whose
            class is `IGNORED` are left out.
        pool: ``mean``, ``max``, ``mean+max`` or ``cls``, see `Latent.pool`; or ``flat``: all codes of a sample
            one after another, which keeps their order. Of labels per token nothing is pooled: ``mean`` only.
        layer: whose codes, in [1, embedder.num_layers]; None: the last one's, normed.
        device: where to compute.
        groups: the key of ``batch`` that tells what samples belong to (numbers or words); None: not asked.
        ranks: processes that make this call each with a loader of its own; all get the vectors of all, in the order
            of the processes.

    Raises:
        ValueError: an empty loader, an unknown pooling, layer or key, ``flat`` for samples of different
            length, another pooling than ``mean`` for labels per token, or no code of each token for those.
    """
    if pool not in PROBE_POOLS:
        raise ValueError(f"`pool` must be one of {', '.join(PROBE_POOLS)}, but is {pool!r}.")
    rows: list[Tensor] = []
    answers: list[_Answers] = []

    def fill() -> None:
        with evaluating(embedder.to(device)):
            for batch in loader:
                batch = move_data_to_device(batch, torch.device(device))
                tokens = embedder.tokenizer(batch)
                answer = _answers(batch, tokens, groups)
                rows.append(answer.kept(_codes(embedder.coded(tokens, layer), tokens, pool, answer.per_token)))
                answers.append(answer)

    ranks.together(fill)
    rows, answers = (list(chain.from_iterable(one)) for one in zip(*ranks.gathered((rows, answers)), strict=True))
    if len({one.shape[1] for one in rows}) > 1:
        raise ValueError(_NOT_FLAT)
    return _joined(rows, answers)


@torch.no_grad()
def raw_vectors(
    embedder: Embedder,
    loader: Iterable[Any],
    device: torch.device | str = "cpu",
    groups: str | None = None,
    ranks: Ranks = ALONE,
) -> Vectors:
    """Raw input, of the embedder's tokenizer alone: `Tokenizer.raw`, or else token values, flattened; averaged over a
    sample's tokens as soon as any two samples differ in length. Where labels are per token, each token's own values.

    Args, returns and raises as `vectors`; also ValueError when tokens are ids, which have no values, and
    the tokenizer has no `raw` of its own.
    """
    tokenizer = embedder.tokenizer
    flat: list[Tensor] = []
    mean: list[Tensor] = []
    answers: list[_Answers] = []

    def fill() -> bool:
        """Whether samples differ in length."""
        ragged = False
        with evaluating(tokenizer.to(device)):
            for batch in loader:
                batch = move_data_to_device(batch, torch.device(device))
                tokens = tokenizer(batch)
                answer = _answers(batch, tokens, groups)
                answers.append(answer)
                own = None if answer.per_token else tokenizer.raw(tokens)
                if own is None and (tokens.values is None or not tokens.values.is_floating_point()):
                    why = "labels per token need values" if answer.per_token else "it must have a `raw` of its own"
                    raise ValueError(f"{type(tokenizer).__name__} makes ids, which have no values: {why}.")
                if own is not None:
                    flat.append(answer.kept(own))
                elif answer.per_token:
                    flat.append(answer.kept(tokens.values.flatten(answer.keep.ndim)))  # type: ignore[union-attr]
                else:
                    # Whether any batch is ragged is known at the end only, so both are kept until then.
                    ragged |= tokens.offsets is not None or tokens.valid is not None
                    mean.append(answer.kept(_mean(tokens)))
                    flat.append(mean[-1] if ragged else answer.kept(tokens.values.flatten(1)))
        return ragged

    ragged = ranks.together(fill)
    *parts, any_ragged = zip(*ranks.gathered((flat, mean, answers, ragged)), strict=True)
    flat, mean, answers = (list(chain.from_iterable(one)) for one in parts)
    ragged = any(any_ragged) or len({one.shape[1] for one in flat}) > 1
    return _joined(mean if ragged and mean else flat, answers)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Run a block in evaluation mode with keyed random numbers, then put modes and generators back."""
    modes = {part: part.training for module in modules for part in module.modules()}
    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        for module in modules:
            module.eval()
        # Of torch, the CPU's generator alone: loaders draw from it, while in evaluation mode nothing
        # draws from a device's. `torch.manual_seed` would change those as well.
        torch.default_generator.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        with gathered(*modules):
            yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for part, mode in modes.items():  # one by one: frozen parts may have been in another mode
            part.training = mode


class _Answers(NamedTuple):
    """Labels and groups of one batch, one per row that is kept.

    ``keep`` is ``[B]``, ``[B, N]`` or ``[T]`` bool; ``pieces``, what is needed to number wholes, is None where labels
    are per token.
    """

    per_token: bool
    keep: Tensor | None
    label: Tensor | None
    group: np.ndarray | None
    pieces: dict[str, Any] | None
    num_samples: int

    def kept(self, rows: Tensor) -> Tensor:
        """``[n, D]`` float32 on the CPU."""
        return (rows if self.keep is None else rows[self.keep.to(rows.device)]).float().cpu()

    def whole(self, wholes: Wholes) -> np.ndarray | None:
        """The number of each row's whole, of batches in order; None where labels are per token."""
        if self.pieces is None:
            return None
        number = wholes.of(self.pieces, self.num_samples)
        return number if self.keep is None else number[self.keep.numpy()]


def _answers(batch: Any, tokens: Tokens, groups: str | None) -> _Answers:
    label = batch.get("label") if hasattr(batch, "get") else None
    per_token = label is not None and task_of(label, tokens).per_token
    keep = real_tokens(tokens) if per_token else None
    if label is not None and not label.is_floating_point():
        label = label.long()  # bool, too
        dims = keep.ndim if keep is not None else 1
        known = label != IGNORED if label.ndim == dims else (label != IGNORED).all(-1)
        keep = known if keep is None else keep & known
    if label is not None:
        label = (label if keep is None else label[keep]).cpu()
        if label.dtype in (torch.bfloat16, torch.float16):  # of a run in 16 bits; NumPy has no bfloat16
            label = label.float()
    pieces = None
    if not per_token:
        pieces = {key: batch[key] for key in ("name", "piece") if hasattr(batch, "get") and key in batch}
    group = None if groups is None else _groups(batch, tokens, groups, keep, per_token)
    return _Answers(per_token, None if keep is None else keep.cpu(), label, group, pieces, tokens.num_samples)


def _groups(batch: Any, tokens: Tokens, key: str, keep: Tensor | None, per_token: bool) -> np.ndarray:
    if key not in batch:
        raise ValueError(f"`groups` must be a key of the samples ({', '.join(map(str, batch))}), but is {key!r}.")
    given = batch[key]
    group = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    chosen = slice(None) if keep is None else keep.cpu().numpy()
    if per_token and group.shape[: chosen.ndim] != chosen.shape:  # type: ignore[union-attr]
        group = group[owners(tokens)[0].cpu().numpy()]  # each token is of its sample's group
    if len(group) != (len(chosen) if isinstance(chosen, np.ndarray) else tokens.num_samples) or group.dtype == object:
        raise ValueError(f"`groups` must be one number or word per sample, but `{key}` is {given!r:.80}.")
    return group[chosen]


_NOT_FLAT = "`pool` must be 'mean', 'max' or 'mean+max' for samples that differ in length, but is 'flat'."


def _codes(latent: Latent, tokens: Tokens, pool: str, per_token: bool) -> Tensor:
    if per_token:
        shape = real_tokens(tokens).shape
        if pool != "mean":
            raise ValueError(
                f"`pool` must be 'mean' for labels per token, of which nothing is pooled, but is {pool!r}."
            )
        if latent.values.shape[: len(shape)] != shape:
            raise ValueError(
                f"Labels per token need a code of each token, but there are {tuple(latent.values.shape)} "
                f"for {tuple(shape)}."
            )
        return latent.values
    if pool != "flat":
        return latent.pool(pool)
    if latent.parts is not None:
        return torch.cat([_codes(own, tokens.part(name), pool, False) for name, own in latent.parts.items()], dim=1)
    if tokens.offsets is not None or (tokens.valid is not None and not bool(tokens.valid.all())):
        raise ValueError(_NOT_FLAT)
    return latent.values.flatten(1)  # [B, K * D]


def _mean(tokens: Tokens) -> Tensor:
    values = tokens.values
    if tokens.offsets is not None:
        return torch.segment_reduce(values.flatten(1), "mean", lengths=tokens.offsets.diff())
    real = real_tokens(tokens)[..., None].to(values.dtype)  # [B, N, 1]
    return (values.flatten(2) * real).sum(1) / real.sum(1).clamp(min=1)  # [B, V]


def _joined(rows: Sequence[Tensor], answers: Sequence[_Answers]) -> Vectors:
    if not rows:
        raise ValueError("`loader` must have at least one batch, but has none.")
    labels = [one.label for one in answers if one.label is not None]
    groups = [one.group for one in answers if one.group is not None]
    values, label = torch.cat(list(rows)), torch.cat(labels) if len(labels) == len(answers) else None
    group = np.concatenate(groups) if groups else None
    wholes = Wholes()
    whole = [number for one in answers if (number := one.whole(wholes)) is not None]
    if whole:
        number = np.concatenate(whole)
        values, label = averaged(values, number), None if label is None else shared(label, number)
        group = None if group is None else group[firsts(number)]
    return Vectors(values.numpy().astype(np.float32, copy=False), None if label is None else label.numpy(), group)
