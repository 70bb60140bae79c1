"""4M: ids of any part from ids of any others, few of them at a time (Mizrahi et al. 2023, arXiv:2312.06647)."""

from __future__ import annotations

from unmask import (
    MADE,
    Encoder,
    Loss,
    LossByPart,
    MaskSampler,
    Method,
    Optimization,
    Target,
    TokenizerByPart,
)
from unmask.losses import CrossEntropyLoss
from unmask_multimodal.maps import IdTarget
from unmask_multimodal.masks import BudgetMask
from unmask_multimodal.predictors import SharedDecoder


class FourM(Method):
    """Every part is ids of trained codes; one encoder reads some of them all, one decoder names some of the others.

    ``loss = mean over all parts of the mean over its asked places of -log softmax(score)[id]``

    A part of which a batch is asked nothing counts as 0.

    Args:
        tokenizer: a part for each map, such as ``multimodal.codes``.
        encoder: ``multimodal.id-stem`` for each part, and one trunk. Paper, base size: 12 blocks of width 768.
        num_codes: of each part, by name; None: as its tokenizer says.
        decoder_width: of the shared decoder. Paper, base size: 768.
        decoder_depth: its blocks. Paper, base size: 12.
        decoder_heads: its attention heads. Paper, base size: 12.
        mask: 128 visible ids of all parts and 128 asked ones, shares from Dirichlet distributions rounded down
            (section 3.2). Released recipe, all to all: alphas 0.5.
        loss: of each part: cross-entropy.
        optim: AdamW: rate 1e-4 per 256 samples, betas (0.9, 0.95), decay 0.05.

    Differs from the paper in what is not built: sequences with spans and sentinels, pixels as given only, a mixture of
    several alphas, SwiGLU, trunks and decoder blocks without biases.

    Raises:
        ValueError: no tokenizer or encoder, or a part whose number of codes is not known.
    """

    tokenizer: TokenizerByPart = MADE
    encoder: Encoder = MADE
    num_codes: dict[str, int] | None = None
    decoder_width: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    mask: MaskSampler = BudgetMask(128, 0.5, num_asked=128, asked_alpha=0.5, rounding="floor")
    target: Target = IdTarget()
    loss: Loss = CrossEntropyLoss()
    optim: Optimization = Optimization(base_lr=1e-4, warmup_epochs=1)

    encoder_options = ()

    def complete(self) -> None:
        for name, part in (("tokenizer", self.tokenizer), ("encoder", self.encoder)):
            if part is None:
                raise ValueError(f"`{name}` must be given, with a part for each map, but is None.")
        sizes = {}
        for name, tokenizer in self.tokenizer.tokenizers.items():
            known = (self.num_codes or {}).get(name, getattr(tokenizer, "num_codes", None))
            if known is None:
                raise ValueError(f"`num_codes` must name the part `{name}`, whose tokenizer does not say how many.")
            sizes[name] = int(known)
        if self.predictor is None:
            decoder = self.decoder_width, self.decoder_depth, self.decoder_heads
            self.predictor = SharedDecoder(sizes, self.encoder.width, *decoder)
        if not self.loss.joint:
            self.loss = LossByPart(dict.fromkeys(sizes, self.loss), dict.fromkeys(sizes, 1 / len(sizes)))
