"""LoRA: a frozen encoder whose linear layers learn a change of low rank (Hu et al. 2021, arXiv:2106.09685), by peft."""

from __future__ import annotations

from torch import nn

from unmask import seeds
from unmask.training.blocks import rows_of


def adapt(encoder: nn.Module, rank: int, alpha: float, seed: int = 0) -> None:
    """Gives each linear layer of the encoder's blocks ``y = W x + alpha / rank * B A x``, in place; only A and B learn.

    B begins at zero, so that nothing changes before training (section 4.1).

    Args:
        encoder: with repeated layers.
        rank: r, rows of A ``[r, in]`` and columns of B ``[out, r]``, at least 1.
        alpha: of the change, above 0.
        seed: of A, which uses no other random number.

    Raises:
        ValueError: no peft, or an encoder without linear layers in repeated blocks.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("`lora_rank` needs peft: pip install 'unmask[lora]'.") from error
    names = [
        f"{row}.{number}.{name}"
        for row, blocks in rows_of(encoder).items()
        for number, block in enumerate(blocks)
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    if not names:
        raise ValueError(
            f"`lora_rank` must be 0 for {type(encoder).__name__}, which has no linear layers in repeated blocks, but "
            f"is {rank}."
        )
    with seeds.seeded(seed, "lora"):
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), encoder)  # type: ignore[arg-type]
