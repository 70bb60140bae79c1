"""Cluster ids: which of K typical tokens a hidden one is nearest to, for methods that name patches by ids and have no
trained tokenizer of them (iGPT clusters pixels so, Chen et al. 2020; BEiT, FLAVA and LayoutLMv3 take a tokenizer's)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from unmask.parts import Target
from unmask.seeds import mix
from unmask.step import Given
from unmask.structures import Mask, Tokens
from unmask.support.checks import at_least, inside


class ClusterIds(Target):
    """``argmin_k |values - centre_k|^2`` as ids ``[B, M]``; centres are found by k-means when a fit begins.

    scikit-learn finds the centres in the first tokens of the training data, on one process for all. They are kept with
    the model's weights.

    Args:
        num_clusters: K, in [2, 65536].
        part: of joint tokens, whose values are clustered; None: those of a sample of one part.
        num_tokens: how many tokens of the training data the centres are found in, at least K.

    Raises:
        ValueError: a number outside its range; when called, centres that were never found.
    """

    centres: Tensor
    """``[K, V]``; of no width until they are found."""

    def __init__(self, num_clusters: int, part: str | None = None, num_tokens: int = 50_000) -> None:
        super().__init__()
        inside("[2, 65536]", num_clusters=num_clusters)
        at_least(num_clusters, num_tokens=num_tokens)
        self.num_clusters, self.part, self.num_tokens = num_clusters, part, num_tokens
        self.register_buffer("centres", torch.zeros(num_clusters, 0))

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return mask.asked.gather(self.ids(tokens))

    @torch.no_grad()
    def ids(self, tokens: Tokens) -> Tensor:
        """Of all places ``[B, N]`` int64."""
        if not self.centres.shape[1]:
            raise ValueError("Clusters must be found before places have ids: `unmask fit` does so when it begins.")
        with torch.autocast(tokens.device.type, enabled=False):
            # |x - c|^2 without |x|^2, which is the same for all
            scores = tokens.values.float() @ self.centres.mT - self.centres.square().sum(-1) / 2
        return scores.argmax(-1)

    def find(self, values: Tensor, seed: int = 0) -> None:
        """Finds the centres among values ``[T, V]``.

        Raises:
            ValueError: fewer of them than clusters.
        """
        from sklearn.cluster import MiniBatchKMeans

        if len(values) < self.num_clusters:
            raise ValueError(f"`num_clusters` must be at most {len(values)}, the tokens, but is {self.num_clusters}.")
        fit = MiniBatchKMeans(self.num_clusters, random_state=seed % 2**32, n_init=1, compute_labels=False)
        self._put(torch.from_numpy(fit.fit(values.float().cpu().numpy()).cluster_centers_))

    def begin(self, model: Any) -> None:
        if self.centres.shape[1]:
            return
        trainer = model.trainer
        if trainer.is_global_zero:
            self.find(torch.cat(list(self._values(model))), mix(model.seed, "clusters"))
        self._put(trainer.strategy.broadcast(self.centres.cpu()))

    def _values(self, model: Any) -> Iterator[Tensor]:
        """Values of real tokens of the training data ``[T, V]``, until there are enough."""
        count = 0
        for batch in model.trainer.train_dataloader:
            tokens = model.tokenizer(move_data_to_device(batch, model.device))
            tokens = tokens if self.part is None else tokens.part(self.part)
            values = tokens.values.flatten(0, -2) if tokens.valid is None else tokens.values[tokens.valid]
            yield values
            count += len(values)
            if count >= self.num_tokens:
                return

    def _put(self, centres: Tensor) -> None:
        self.centres = centres.to(self.centres.device, torch.float32)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Takes centres of whatever width they have."""
        found = state_dict.get(f"{prefix}centres")
        if found is not None and len(found) == self.num_clusters:
            self._put(found)
        super()._load_from_state_dict(state_dict, prefix, *rest)
