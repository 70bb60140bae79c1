"""DTM: a teacher's features are predicted as means over groups of alike patches (Kim et al. 2023, arXiv:2401.00254)."""

from __future__ import annotations

from unmask import Loss, MaskSampler, Optimization
from unmask.losses import MorphedLoss
from unmask.masks import BlockMask
from unmask_vision.methods.mask_distill import MaskDistill


class DTM(MaskDistill):
    """`MaskDistill`, whose answers and targets are compared at all patches after both are averaged over groups that the
    teacher's features form, other ones in each step.

    ``loss = mean over two morphings and all patches of smooth-L1(group's mean answer, group's mean target)``

    Arguments are those of `MaskDistill`, but:

    Args:
        mask: blocks that hide 75 of 196 patches.
        loss: smooth L1, beta 2, of two morphings of up to 14 rounds each.
        optim: AdamW at rate 5e-4 for batch 256 (the release's rate; its batch is not verified), 10 warm-up epochs.

    Differs from the released code in that the teacher's features are normed as MaskDistill's are, and in that each
    sample draws its own numbers of merged patches and of rounds (there a batch shares them).

    Raises:
        ValueError: as `MaskDistill`.
    """

    ask = "all"

    mask: MaskSampler = BlockMask(ratio=75 / 196)
    loss: Loss = MorphedLoss()
    optim: Optimization = Optimization(base_lr=5e-4, betas=(0.9, 0.98), warmup_epochs=10)
