"""Cluster target: which clusters a hidden frame belongs to (HuBERT, Hsu et al. 2021, section III.A)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unmask import Given, Mask, Target, Tokens, seeds
from unmask.api import UserError, at_least, progress
from unmask_audio.speech.kmeans import CHUNK, fit_codebooks, nearest_centres
from unmask_audio.speech.sources import Cepstra, LayerCodes

FEATURES = "unmask.features"
"""Key of a file's header: what its clusters are of."""


class ClusterTarget(Target):
    """The cluster whose centre is nearest to a frame's features: ids ``[B, M]``, of several codebooks ``[B, C, M]``.

    Args:
        source: makes features ``[B, N, F]`` of tokens.
        num_clusters: of each codebook, in [2, 10,000].
        codebook: file of clusters, read where it is there and written where it is not, when a fit begins; None: they
            are found anew, and kept in checkpoints alone.
        num_frames: how many frames of the training data clusters are found from, at least 1.

    Raises:
        ValueError: a number outside its range; when called, clusters that were never fitted.
        UserError: when a fit begins, a ``codebook`` of other clusters.
    """

    centres: Tensor
    counts: Tensor
    fitted: Tensor

    def __init__(
        self,
        source: Cepstra | LayerCodes,
        num_clusters: Sequence[int],
        codebook: str | None = None,
        num_frames: int = 1_000_000,
    ) -> None:
        super().__init__()
        at_least(1, num_frames=num_frames)
        if not num_clusters or not all(2 <= count <= CHUNK for count in num_clusters):
            raise ValueError(f"`num_clusters` must be in [2, {CHUNK}], but is {list(num_clusters)}.")
        self.source = source
        self.num_clusters = tuple(num_clusters)
        self.codebook = None if codebook is None else Path(codebook)
        self.num_frames = num_frames
        self.register_buffer("centres", torch.zeros(len(num_clusters), max(num_clusters), source.width))
        self.register_buffer("counts", torch.tensor(num_clusters), persistent=False)
        self.register_buffer("fitted", torch.tensor(False))

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        ids = mask.asked.gather(self.ids(tokens))  # [B, M, C]
        return ids[..., 0] if ids.shape[-1] == 1 else ids.transpose(1, 2)

    @torch.no_grad()
    def ids(self, tokens: Tokens) -> Tensor:
        """Of all frames ``[B, N, C]``."""
        if not self.fitted:
            raise ValueError("Clusters must be fitted before frames have ids: `unmask fit` does so when it begins.")
        return nearest_centres(self.source(tokens), self.centres, self.counts)

    def begin(self, model: Any) -> None:
        """Reads the teacher of a finished first stage, and reads or finds the clusters, on one process for all; unless
        a checkpoint held both."""
        if self.fitted:
            return
        if model.first_stage is not None:
            model.first_stage.needed(self.source.encoder)
        trainer = model.trainer

        def batches() -> Iterator[Tokens]:
            for batch in trainer.train_dataloader:
                yield model.tokenizer(move_data_to_device(batch, model.device))

        if trainer.is_global_zero and self.codebook is not None and self.codebook.exists():
            self.read(self.codebook)
            print(f"Clusters: those that lie in {self.codebook}, whatever data they were found in.", flush=True)
        elif trainer.is_global_zero:
            with progress("Finding clusters", self.num_frames) as tell:
                self.fit(batches, self.num_frames, seeds.mix(model.seed, "clusters"), tell)
            if self.codebook is not None:
                self.save(self.codebook)
        self.put(trainer.strategy.broadcast(self.books))

    def fit(
        self, batches: Callable[[], Iterable[Tokens]], num_frames: int, seed: int, tell: Callable[[int], None]
    ) -> None:
        """Finds the clusters of real frames.

        Args:
            batches: gives tokens of the training data from the beginning; called again when they end.
            num_frames: how many frames to read.
            seed: of the centres' beginnings.
            tell: called with the number of frames read so far.
        """
        self.put(fit_codebooks(self._frames(batches), self.num_clusters, num_frames, seed, tell))

    @property
    def books(self) -> list[Tensor]:
        """Centres of each codebook ``[K, F]``, on the CPU."""
        return [own[:count].cpu().clone() for own, count in zip(self.centres, self.num_clusters, strict=True)]

    def put(self, codebooks: Sequence[Tensor]) -> None:
        """Takes these centres, ``[K, F]`` for each codebook."""
        for own, centres in zip(self.centres, codebooks, strict=True):
            own[: len(centres)] = centres.to(own)
        self.fitted.fill_(True)

    def save(self, path: Path) -> None:
        """Writes the codebooks to a file of safetensors, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        save_file(
            {f"codebook.{i}": book for i, book in enumerate(self.books)},
            part,
            {FEATURES: json.dumps(self.source.fingerprint())},
        )
        os.replace(part, path)

    def read(self, path: Path) -> None:
        """Takes the codebooks of a file that `save` wrote.

        Raises:
            UserError: the file is damaged, or its clusters are others: in number, or of other features.
        """
        try:
            with safe_open(path, "pt") as file:
                made_of = json.loads((file.metadata() or {}).get(FEATURES, "null"))
                books = [file.get_tensor(f"codebook.{i}") for i in range(len(file.keys()))]
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"`codebook` must be a file of clusters, but `{path}` cannot be read: {error}") from error
        sizes = [len(book) for book in books]
        if made_of != self.source.fingerprint() or sizes != list(self.num_clusters):
            raise UserError(
                f"`codebook` must hold {list(self.num_clusters)} clusters of {self.source.fingerprint()}, but "
                f"`{path}` holds {sizes} of {made_of}; give another path, or delete it."
            )
        self.put(books)

    @torch.no_grad()
    def _frames(self, batches: Callable[[], Iterable[Tokens]]) -> Iterator[Tensor]:
        """Features of real frames ``[n, F]``, without end."""
        while True:
            empty = True
            for tokens in batches():
                empty = False
                features = self.source(tokens)  # [B, N, F]
                yield features.flatten(0, 1) if tokens.valid is None else features[tokens.valid]
            if empty:
                return
