"""UTA: visible patches alone are aligned with what CLIP makes of them (Liu et al. 2024, arXiv:2405.19009)."""

from __future__ import annotations

from unmask import MADE, Encoder, Loss, MaskSampler, Optimization, Target, Tokenizer, left_to
from unmask.api import taught_by
from unmask.losses import CosineLoss
from unmask.masks import RandomMask
from unmask.predictors import LinearPredictor
from unmask_vision.methods.mae import MAE


class UTA(MAE):
    """A ViT that sees half of the patches, without mask tokens, points each code where a frozen teacher's points.

    ``loss = mean over visible patches of 1 - cos(W code, teacher's code of the patch in the whole image)``

    No text is needed, and a student of CLIP's image encoder fits CLIP's texts by itself. Arguments are those of `MAE`,
    but:

    Args:
        teacher: encoder with weights of its own, such as CLIP's; it sees whole images, is frozen and left out of
            checkpoints. None: that of ``teacher_run``.
        teacher_run: folder of a run whose encoder is the teacher. None of both: a slowly following copy of the encoder,
            momentum 0.996 to 1.
        teacher_tokenizer: cuts images for the teacher into as many patches, where it needs another size or other
            normalised pixels, see `ResizedTokenizer`; None: it gets the student's.
        mask: half of the patches at random (from memory).
        predictor: None: one linear layer.
        target: None: codes of the teacher's last layer, normed by itself.
        loss: the cosine; the paper's is lower by 1.
        optim: AdamW at rate 1e-3 for batch 256, 1 warm-up epoch (ours: the paper's training is not released).

    Differs from the paper in the mask, which is made of reversed blocks there, so that what is seen is spread better.

    Raises:
        ValueError: as `MAE`; two teachers, or one beside a target.
    """

    ask = "visible"

    teacher: Encoder | None = None
    teacher_run: str | None = None
    teacher_tokenizer: Tokenizer | None = None
    mask: MaskSampler = RandomMask(ratio=0.5)
    target: Target = MADE
    loss: Loss = CosineLoss()
    optim: Optimization = Optimization(base_lr=1e-3, warmup_epochs=1)

    def complete(self) -> None:
        self.encoder = self.encoder or self.made_vit()
        width = self.encoder.width
        if self.target is not None:
            left_to("target", teacher_run=self.teacher_run, teacher=self.teacher)
        else:
            options = {"tokenizer": self.teacher_tokenizer, "normalize": "none"}
            self.target, width = taught_by(self.teacher, self.teacher_run, self.encoder, **options)
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, width)
        super().complete()
        self.teacher = self.teacher_tokenizer = None  # the target has them
