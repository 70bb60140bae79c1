"""MaskAlign: no reconstruction; layers of visible patches are aligned with a teacher's (Xue et al. 2022,
arXiv:2211.08887)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from unmask import MADE, Encoder, Loss, MaskSampler, Optimization, Target, left_to
from unmask.api import at_least, taught_by, teacher_of
from unmask.losses import SmoothL1Loss
from unmask.masks import AttentionScorer, ScoredMask
from unmask.predictors import MixturePredictor
from unmask_vision.methods.mae import MAE


class MaskAlign(MAE):
    """A ViT that sees the visible patches alone tells, from mixtures of its layers, what each layer of a teacher makes
    of them in the whole image.

    ``loss = 2 * mean over the last layers i and visible patches of smooth-L1(W_i sum_j m_ij code_j, norm(feature_i))``

    Arguments are those of `MAE`, but:

    Args:
        teacher: encoder with weights of its own, on the same patches, such as CLIP's; it sees whole images, is frozen
            and left out of checkpoints. None: that of ``teacher_run``.
        teacher_run: folder of a run whose encoder is the teacher. None of both: a slowly following copy of the encoder,
            momentum 0.996 to 1.
        num_aligned: layers of the teacher that are told, the last ones, or all where it has fewer. The released command
            for ViT-B: 5.
        mask: 70% of the patches, the released command's share. Those that stay are drawn without replacement with
            chances that are the attention of the teacher's class token in its last layer, the mean over heads
            (section 3.2). A teacher that does not tell its attention needs another, such as `random`.
        predictor: None: a mixture of all layers and one linear head for each layer that is told.
        target: None: codes of those layers of the teacher, each normalised, before its final norm.
        loss: smooth L1, which counts twice, as in the released code.
        optim: AdamW: base rate 1.5e-4, 20 warm-up epochs, as in the released command.

    Differs from the released code in that class tokens are not aligned.

    Raises:
        ValueError: as `MAE`; two teachers, or one beside a target; fewer than one layer.
    """

    ask = "visible"
    resting = ("vit.norm.",)
    loss_weight = 2.0

    teacher: Encoder | None = None
    teacher_run: str | None = None
    num_aligned: int = 5
    mask: MaskSampler = ScoredMask(AttentionScorer(), 0.7, order="low", sampling="multinomial")
    target: Target = MADE
    loss: Loss = SmoothL1Loss()
    optim: Optimization = Optimization(warmup_epochs=20)

    def complete(self) -> None:
        self.encoder = self.encoder or self.made_vit()
        if self.target is not None:
            left_to("target", teacher_run=self.teacher_run, teacher=self.teacher)
        teacher = teacher_of(self.teacher, self.teacher_run)
        taught = teacher or self.encoder
        at_least(1, num_aligned=self.num_aligned)
        depth, depths = self.encoder.num_layers, list(range(1, taught.num_layers + 1))[-self.num_aligned :]
        self.target = self.target or taught_by(teacher, None, self.encoder, layer=depths)[0]
        begin: Literal["identity", "mean"] = "identity" if depth == taught.num_layers else "mean"
        self.predictor = self.predictor or MixturePredictor(self.encoder.width, taught.width, depth, len(depths), begin)
        super().complete()
        last = getattr(getattr(self.encoder, "vit", None), "norm", None)
        if isinstance(last, nn.Module) and isinstance(self.predictor, MixturePredictor):
            last.requires_grad_(False)  # layers are read before it; see `resting`
        self.teacher = None  # the target has it
