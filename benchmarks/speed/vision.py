"""One MAE training step of ours against transformers' `ViTMAEForPreTraining`, same sizes and batch.

Both run forward, backward and AdamW in the same process, turn by turn; the figure is the ratio of the
medians, so a slow minute of the machine slows both.

    python benchmarks/speed/vision.py [--size tiny] [--batch 16] [--rounds 15] [--device cpu]
"""

from __future__ import annotations

import argparse

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from turns import adamw, medians, stepper

from unmask_vision.exchange import to_transformers
from unmask_vision.methods import MAE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="tiny", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    ours = MAE(size=arguments.size).to(arguments.device)
    theirs = peer(ours).to(arguments.device)
    image = torch.rand(arguments.batch, 3, 224, 224, device=arguments.device)

    losses = {
        "unmask": (ours, lambda: ours.step({"image": image}).loss.total),
        "transformers": (theirs, lambda: theirs(image).loss),
    }
    steps = {
        name: stepper(model, loss, adamw(model), arguments.device, arguments.bf16)
        for name, (model, loss) in losses.items()
    }
    found = medians(steps, arguments.rounds, arguments.device)
    for name, median in found.items():
        print(f"{name:14s} {median * 1e3:8.1f} ms a step, {arguments.batch / median:8.1f} images/s")
    print(f"ratio          {found['transformers'] / found['unmask']:8.2f} x transformers' speed")


def peer(ours: MAE) -> ViTMAEForPreTraining:
    """The same model, weights included."""
    vit, decoder = ours.encoder.vit, ours.predictor
    config = ViTMAEConfig(
        hidden_size=vit.embed_dim,
        num_hidden_layers=len(vit.blocks),
        num_attention_heads=vit.blocks[0].attn.num_heads,
        intermediate_size=4 * vit.embed_dim,
        layer_norm_eps=1e-6,
        decoder_hidden_size=decoder.width,
        decoder_num_hidden_layers=len(decoder.trunk.blocks),
        decoder_num_attention_heads=decoder.trunk.blocks[0].attn.num_heads,
        decoder_intermediate_size=4 * decoder.width,
        mask_ratio=0.75,
        norm_pix_loss=True,
    )
    theirs = ViTMAEForPreTraining(config)
    theirs.load_state_dict(to_transformers(ours), strict=True)
    return theirs


if __name__ == "__main__":
    main()
