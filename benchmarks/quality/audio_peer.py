"""transformers' ViTMAE on spectrograms, in a plain loop over the same batches: the peer of `audio.py`."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from unmask import MaskedDataModule, Optimization, Tokens
from unmask.nn import sincos
from unmask.optim import parameter_groups
from unmask.structures import Grid
from unmask_audio.tokenizer import SpectrogramTokenizer


class Peer(nn.Module):
    """ViTMAE of the same size. It knows square patches and pictures only: the numbers of a patch are laid out in a
    square, and its position tables, filled as in the paper, and its loss are made here for other grids.

    Args:
        tokenizer: whose patches have a square number of values, and whose clips all have as many patches.
        encoder: width, blocks and heads.
        decoder: likewise.
        ratio: share of hidden patches.
    """

    def __init__(
        self,
        tokenizer: SpectrogramTokenizer,
        encoder: tuple[int, int, int],
        decoder: tuple[int, int, int],
        ratio: float,
    ) -> None:
        super().__init__()
        assert tokenizer.num_frames is not None
        self.grid = (tokenizer.num_frames // tokenizer.patch[0], tokenizer.frontend.width // tokenizer.patch[1])
        self.side = side = math.isqrt(math.prod(tokenizer.patch))
        if side**2 != math.prod(tokenizer.patch):
            raise ValueError(f"`patch` must have a square number of values for ViTMAE, but is {list(tokenizer.patch)}.")
        config = ViTMAEConfig(
            image_size=side, patch_size=side, num_channels=1, layer_norm_eps=1e-6, mask_ratio=ratio,
            hidden_size=encoder[0], num_hidden_layers=encoder[1], num_attention_heads=encoder[2],
            intermediate_size=4 * encoder[0], decoder_hidden_size=decoder[0], decoder_num_hidden_layers=decoder[1],
            decoder_num_attention_heads=decoder[2], decoder_intermediate_size=4 * decoder[0],
        )  # fmt: skip
        self.tokenizer, self.model = tokenizer, ViTMAEForPreTraining(config)
        embeddings = self.model.vit.embeddings
        embeddings.image_size = embeddings.patch_embeddings.image_size = (math.prod(self.grid) * side, side)
        embeddings.position_embeddings = self._table(encoder[0])
        self.model.decoder.decoder_pos_embed = self._table(decoder[0])

    def loss(self, batch: Any) -> Tensor:
        """Mean square at hidden patches, each normalised by its own moments."""
        tokens = self.tokenizer(batch)
        seen = self.model.vit(self._pictures(tokens))
        answers = self.model.decoder(seen.last_hidden_state, seen.ids_restore).logits  # [B, N, V]
        values = tokens.values
        truth = (values - values.mean(-1, keepdim=True)) / (values.var(-1, keepdim=True) + 1e-6).sqrt()
        return ((answers - truth).square().mean(-1) * seen.mask).sum() / seen.mask.sum()

    def codes(self, batch: Any) -> Tensor:
        """``[B, T, F, D]``, with nothing hidden."""
        tokens = self.tokenizer(batch)
        config = self.model.vit.embeddings.config
        ratio, config.mask_ratio = config.mask_ratio, 0.0
        order = torch.arange(tokens.values.shape[1]).expand(len(tokens.values), -1).float()
        codes = self.model.vit(self._pictures(tokens), noise=order).last_hidden_state[:, 1:]
        config.mask_ratio = ratio
        return codes.unflatten(1, self.grid)

    def _table(self, width: int) -> nn.Parameter:
        """``[1, 1 + N, D]``: zeros for the class token, then the grid."""
        codes = sincos(Grid(self.grid), self.grid[0] * self.grid[1], width)
        return nn.Parameter(F.pad(codes[None], (0, 0, 1, 0)), requires_grad=False)

    def _pictures(self, tokens: Tokens) -> Tensor:
        """``[B, 1, N * side, side]``: the patches, whose numbers lie in squares, below each other."""
        return tokens.values.unflatten(2, (self.side, self.side)).flatten(1, 2)[:, None]


def fit_peer(peer: Peer, data: MaskedDataModule, optim: Optimization, budget_s: float, seed: int) -> str:
    """The optimiser, schedule and precision of the others, until the CPU time is spent."""
    L.seed_everything(seed, verbose=False)
    optimizer = torch.optim.AdamW(parameter_groups(peer.model, optim.base_lr, 0.05), betas=optim.betas)
    data.seed = seed
    began, used, steps, loss = time.process_time(), 0.0, 0, torch.tensor(math.nan)
    while used < budget_s:
        for batch in data.train_dataloader():
            warm = min(steps / (optim.warmup_steps or 1), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = optim.base_lr * min(warm, optim.factor(round(1000 * used / budget_s), 0, 1000))
                group["weight_decay"] = 0.05 if group["decays"] else 0.0
            with torch.autocast("cpu", torch.bfloat16):
                loss = peer.train().loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(peer.model.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()
            steps, used = steps + 1, time.process_time() - began
            if used >= budget_s:
                break
    return f"{steps:,} steps in {used:.0f} s of CPU, training loss {loss.item():.4f}"
