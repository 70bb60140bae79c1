"""A-JEPA: predict a teacher's codes of a spectrogram's blocks, ever harder (Fei et al. 2023, arXiv:2311.15830)."""

from __future__ import annotations

from unmask import (
    Embedder,
    Loss,
    MaskSampler,
    Method,
    Optimization,
    Target,
    chosen,
)
from unmask.losses import MSELoss
from unmask.predictors import TransformerPredictor
from unmask.targets import EMATeacher
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.masks.curriculum import CurriculumMask
from unmask_audio.methods.sizes import SIZES, Size, patch_of
from unmask_audio.tokenizer import SpectrogramTokenizer


class AJEPA(Method):
    """A ViT encodes one context; a predictor answers for each target block by itself.

    ``loss = mean over target places of mean((predictor(codes) - layer-norm(teacher's codes))^2)``

    Args:
        size: ``tiny``, ``small``, ``base`` or ``large``; None: ``base``.
        patch: sides of a patch in frames and in mel bins; None: those of ``tokenizer``, or 16 by 16 (section 4).
        mask: random blocks at first, then ever more often blocks whose times and frequencies are all hidden
            (section 3).
        encoder: None: the ViT of that size without class token.
        predictor: None: a transformer, 512 wide and 16 blocks deep (tables 5 and 6; ``tiny``: 192 and 4).
        target: an EMA teacher, momentum 0.996 to 1, as in I-JEPA.
        loss: squared error (section 3).
        corruption: hidden patches are dropped (section 3).
        tokenizer: None: 1,024 frames of 128 mel bins, normalised by the moments of AudioSet.
        optim: AdamW: rate 2e-4 at batch 512 (appendix A); betas, decay and warm-up, which the paper does not give,
            are Audio-MAE's.

    Of a clip shorter than the window blocks are cut out of its own part of the grid; it must fill two patches of time.

    Differs from the paper in that the teacher's codes are layer-normed, as in I-JEPA's code; and in augmentation and
    regularised masking at fine-tuning, which are not done.

    Raises:
        ValueError: an unknown size, one beside an encoder, which has its own, or another patch than the tokenizer's.
    """

    size: Size | None = None
    patch: tuple[int, int] | None = None
    mask: MaskSampler = CurriculumMask()
    target: Target = EMATeacher()
    loss: Loss = MSELoss()
    optim: Optimization = Optimization(base_lr=1e-4, weight_decay=1e-4, warmup_epochs=3)

    def complete(self) -> None:
        sizes = chosen("size", self.size or "base", SIZES)
        patch = patch_of(self.patch, self.tokenizer)
        self.tokenizer = self.tokenizer or SpectrogramTokenizer(patch=patch)
        self.encoder = self.encoder or SpectrogramViT(
            sizes.width, sizes.depth, sizes.num_heads, patch[0] * patch[1], class_token=False
        )
        width = self.encoder.width
        self.predictor = self.predictor or TransformerPredictor(
            width, width, sizes.predictor_width, sizes.local_depth, sizes.predictor_heads
        )

    @property
    def embedder(self) -> Embedder:
        """The teacher, as in I-JEPA."""
        used = self.target.teacher if isinstance(self.target, EMATeacher) else self.encoder
        return Embedder(self.tokenizer, used)
