"""What MAE learns on Fashion-MNIST, beside raw pixels, an untrained encoder, and transformers' `ViTMAEForPreTraining`.

Both are of one size and take turns of a few seconds in one process until each has had the same wall
time; ours goes through Lightning and the data module, the peer through a bare loop over tensors in memory.
Learning rate, batch size, masks, target and precision are the same.

    python benchmarks/quality/vision.py FOLDER [--steps 10000] [--seed 0]
    python benchmarks/quality/vision.py FOLDER --all [--seconds 300] [--seeds 0 1] [--methods vision.mae ...]

``--all`` compares every registered method on images instead, and peers, at equal CPU seconds: see `vision_methods.py`.
FOLDER holds the four ``*-ubyte.gz`` files of Fashion-MNIST (Xiao et al. 2017).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import lightning as L
import numpy as np
import torch
import vision_methods
from fashion import SIDE, FashionData, flat, pixel_values
from torch.utils.data import DataLoader
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from unmask import Optimization, seeds
from unmask.callbacks import ProgressBar
from unmask.nn import sincos
from unmask.predictors import TransformerPredictor
from unmask.structures import Grid
from unmask.targets import ValueTarget
from unmask.tools.features.vectors import vectors
from unmask.tools.probe.columns import probe_columns
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE

PATCH, WIDTH, DEPTH, HEADS = 4, 128, 4, 4
DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS = 64, 2, 4
BATCH, RATE, WARMUP, DECAY, RATIO = 128, 1.5e-3, 200, 0.05, 0.75
LABELS = 5_000
"""Labels of the larger linear probe, of the images that kNN stores."""
TURN_S = 5.0
"""Seconds that one of the two trains before it is the other's turn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with train-images-idx3-ubyte.gz and the three others")
    parser.add_argument("--steps", type=int, default=10_000, help="of ours; the peer has the same wall time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for every figure")
    parser.add_argument("--all", action="store_true", help="every method at equal CPU seconds, see vision_methods.py")
    arguments, words = parser.parse_known_args()
    if arguments.all:
        vision_methods.main([word for word in sys.argv[1:] if word != "--all"])
        return
    if words:
        parser.error(f"there is no option {words[0]}")

    L.seed_everything(arguments.seed, verbose=False)
    data = FashionData(arguments.folder)
    ours, theirs = mae(), peer()
    untrained = {name: extract(model, data) for name, model in (("ours", ours), ("peer", theirs))}

    turns = Turns(Peer(theirs, data.splits.train.images, arguments.seed))
    trainer = L.Trainer(
        max_steps=arguments.steps,
        precision="bf16-mixed",
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[turns, ProgressBar()],
    )
    trainer.fit(ours, datamodule=data)
    print(f"ours: {arguments.steps} steps in {turns.own_s:.0f} s; peer: {turns.peer.steps} in {turns.peer_s:.0f} s")

    pixels = [flat(dataset) for dataset in (data.splits.probe_train, data.splits.probe_test)]
    columns = {
        "raw pixels": tuple(pixels),
        "untrained peer": untrained["peer"],
        "untrained encoder": untrained["ours"],
        "transformers' ViTMAE": extract(theirs, data),
        "pretrained encoder": extract(ours, data),
    }
    labels = [dataset.labels.numpy() for dataset in (data.splits.probe_train, data.splits.probe_test)]
    result = probe_columns(
        columns, *labels, labels_per_class=(20,), num_draws=10, max_labels=LABELS, seed=arguments.seed
    )
    about = (
        f"MAE on Fashion-MNIST: {arguments.steps:,} steps of {BATCH} in {turns.own_s:.0f} s on "
        f"{torch.get_num_threads()} threads; the peer {turns.peer.steps:,} steps in {turns.peer_s:.0f} s; "
        f"seed {arguments.seed}."
    )
    result = result.about(about)
    print(result.text())
    if arguments.out:
        arguments.out.write_text(result.to_json())


def mae() -> MAE:
    options = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    return MAE(
        patch_size=PATCH,
        channels=1,
        encoder=ViTEncoder("vit_tiny_patch16_224", SIDE, PATCH, 1, positions="sincos", options=options),
        predictor=TransformerPredictor(WIDTH, PATCH**2, DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS),
        target=ValueTarget(normalize=False),
        optim=Optimization(base_lr=RATE, scale_lr=False, warmup_steps=WARMUP, weight_decay=DECAY),
    )


def peer() -> ViTMAEForPreTraining:
    """The same sizes; its position tables, which a config leaves at zero, filled as in the paper."""
    config = ViTMAEConfig(
        image_size=SIDE, patch_size=PATCH, num_channels=1, hidden_size=WIDTH, num_hidden_layers=DEPTH,
        num_attention_heads=HEADS, intermediate_size=4 * WIDTH, layer_norm_eps=1e-6, mask_ratio=RATIO,
        decoder_hidden_size=DECODER_WIDTH, decoder_num_hidden_layers=DECODER_DEPTH,
        decoder_num_attention_heads=DECODER_HEADS, decoder_intermediate_size=4 * DECODER_WIDTH, norm_pix_loss=False,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config)
    rows = SIDE // PATCH
    for table in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        with torch.no_grad():
            table[0, 1:] = sincos(Grid((rows, rows)), rows * rows, table.shape[-1])
        assert bool((table[0, 1:].abs().sum(-1) > 0).all()), "the peer would learn nothing without positions"
    return model


class Peer:
    """transformers' model in a plain loop: AdamW, warm-up and cosine over the share of time used."""

    def __init__(self, model: ViTMAEForPreTraining, images: torch.Tensor, seed: int) -> None:
        self.model, self.images, self.steps = model, images, 0
        decays = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decays, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
        self.batches = self._batches(torch.Generator().manual_seed(seed))

    def step(self, share: float) -> None:
        """One step at ``share`` in [0, 1] of its time."""
        optim = Optimization(base_lr=RATE, scale_lr=False)
        rate = min(RATE * self.steps / WARMUP, RATE * optim.factor(round(share * 1000), 0, 1000))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.model(pixel_values(next(self.batches))).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1

    def _batches(self, generator: torch.Generator):
        while True:
            for index in torch.randperm(len(self.images), generator=generator).split(BATCH):
                yield self.images[index]


class Turns(L.Callback):
    """Lets the peer train for as long as ours has just done, every few seconds."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.own_s, self.peer_s = peer, 0.0, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        now = time.perf_counter()
        if now - self._began < TURN_S and trainer.global_step < trainer.max_steps:
            return
        self.own_s += now - self._began
        with seeds.seeded("peer", self.peer.steps):
            while self.peer_s < self.own_s:
                began = time.perf_counter()
                self.peer.step(trainer.global_step / trainer.max_steps)
                self.peer_s += time.perf_counter() - began
        self._began = time.perf_counter()


@torch.no_grad()
def extract(model: torch.nn.Module, data: FashionData) -> tuple[np.ndarray, np.ndarray]:
    """Mean codes of all patches, with nothing hidden: of the samples to fit on and of those to score on."""
    matrices = []
    for dataset in (data.splits.probe_train, data.splits.probe_test):
        loader = DataLoader(dataset, batch_size=500)
        if isinstance(model, MAE):
            matrices.append(vectors(model.embedder, loader).values)
            continue
        model.eval()
        config, codes = model.config, []
        model.config.mask_ratio = 0.0
        for batch in loader:
            order = torch.arange((SIDE // PATCH) ** 2).expand(len(batch["image"]), -1).float()
            codes.append(model.vit(pixel_values(batch["image"]), noise=order).last_hidden_state[:, 1:].mean(1))
        config.mask_ratio = RATIO
        matrices.append(torch.cat(codes).numpy())
    return matrices[0], matrices[1]


if __name__ == "__main__":
    main()
