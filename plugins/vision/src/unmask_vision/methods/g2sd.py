"""G2SD: a small masked autoencoder learns what a large one's decoder makes of all patches (Huang et
al. 2023, arXiv:2303.04424)."""

from __future__ import annotations

from unmask import MADE, Encoder, Loss, Optimization, Target, left_to
from unmask.api import load_run
from unmask.losses import SmoothL1Loss
from unmask.predictors import TransformerPredictor, WholePredictor
from unmask.targets import DecoderTeacher
from unmask_vision.methods.mae import MAE


class G2SD(MAE):
    """MAE, whose decoder predicts states of a teacher's decoder at visible and at hidden patches, both under one mask.

    ``loss = mean over all patches of smooth-L1(decoder(codes), layer-norm(state after the teacher's block))``

    Arguments are those of `MAE`, but:

    Args:
        size: None: ``small`` (section 4.1: decoders of 4 blocks, 256 wide).
        teacher_run: folder of a run of `MAE`, or of a method with its decoder, on the same patches.
        teacher: in place of a run: encoder with weights of its own; it is frozen, and left out of checkpoints.
        teacher_predictor: the decoder that belongs to ``teacher``.
        teacher_block: of its decoder, in [1, its depth] (section 3.2: the fourth of eight); None: the middle one.
        predictor: None: the decoder of that size.
        target: None: states of the teacher's decoder.
        loss: smooth L1, beta 2.
        optim: as MAE's with 10 warm-up epochs.

    The second stage is a fine-tuning by labels and by the answers of a fine-tuned teacher:
    ``unmask finetune RUN --teacher TEACHER_RUN/finetune/pretrained-seed0.ckpt``.

    Raises:
        ValueError: as `MAE`; no teacher or two, a block that is not there, a run without such a decoder.
    """

    ask = "all"

    teacher_run: str | None = None
    teacher: Encoder | None = None
    teacher_predictor: TransformerPredictor | None = None
    teacher_block: int | None = None
    target: Target = MADE
    loss: Loss = SmoothL1Loss(beta=2.0)
    optim: Optimization = Optimization(warmup_epochs=10)

    def complete(self) -> None:
        if self.size is None and self.encoder is None:
            self.size = "small"
        if self.target is None:
            encoder, decoder = self._taught()
            block = self.teacher_block or max(len(decoder.trunk.blocks) // 2, 1)
            self.target = DecoderTeacher(encoder, decoder, block)
            width = decoder.width
        else:
            left_to("target", teacher_run=self.teacher_run, teacher=self.teacher)
            width = self.encoder.width if self.encoder is not None else 0
        self.encoder = self.encoder or self.made_vit()
        self.predictor = self.predictor or WholePredictor.of(self.made_decoder(width or self.encoder.width))
        super().complete()
        self.teacher = self.teacher_predictor = None  # the target has them

    def _taught(self) -> tuple[Encoder, TransformerPredictor]:
        """Encoder and decoder of the teacher."""
        given = self.teacher is not None, self.teacher_predictor is not None, self.teacher_run is not None
        if given not in ((True, True, False), (False, False, True)):
            raise ValueError(
                "`teacher_run` must be the folder of a masked autoencoder's run, or `teacher` and `teacher_predictor` "
                f"be given in its place, but they are {self.teacher_run!r}, {_kind(self.teacher)} and "
                f"{_kind(self.teacher_predictor)}."
            )
        if self.teacher_run is None:
            return self.teacher, self.teacher_predictor  # type: ignore[return-value]
        model = load_run(self.teacher_run).model
        if not isinstance(model.predictor, TransformerPredictor):
            raise ValueError(
                f"`teacher_run` must be a run with a transformer as its decoder, but {self.teacher_run} has "
                f"{_kind(model.predictor)}."
            )
        return model.encoder, model.predictor


def _kind(part: object) -> str:
    return "none" if part is None else f"a {type(part).__name__}"
