"""MultiMAE: aligned maps of a scene share one budget of visible patches (Bachmann et al. 2022, arXiv:2204.01678)."""

from __future__ import annotations

from unmask import (
    MADE,
    Encoder,
    Loss,
    LossByPart,
    MaskSampler,
    Method,
    Optimization,
    PredictorByPart,
    Target,
    TargetByPart,
    TokenizerByPart,
)
from unmask.losses import MSELoss
from unmask.targets import ValueTarget
from unmask_multimodal.masks import BudgetMask
from unmask_multimodal.predictors import CrossDecoder


class MultiMAE(Method):
    """One encoder sees few patches of all maps together; a decoder of each map's own reads its codes.

    ``loss = sum over maps of the mean over samples of the mean over its hidden patches of loss(answer, values)``

    A sample of which a map is shown whole does not count in that map's loss.

    Args:
        tokenizer: a part for each map.
        encoder: a stem for each map and one trunk, ``multimodal.joint`` (section 3.1). Paper: ViT-B with one global
            token.
        answers: width of an answer of each map: of pixels those of a patch, of classes pixels times classes.
        decoder_width: of each map's decoder. Paper (section 3.4): 256.
        decoder_depth: its self-attention blocks. Paper: 2.
        decoder_heads: its attention heads. Paper: 8.
        mask: 98 visible patches of all maps, shares from an even Dirichlet distribution (section 3.2).
        target: by map; those not named are their values as they are. For classes ``multimodal.label-map``.
        loss: by map; those not named have squared errors. Paper: absolute ones of depth, cross-entropy of classes.
        predictor: None: a cross-attention decoder for each map.
        optim: AdamW: rate 1e-4 per 256 samples, betas (0.9, 0.95), decay 0.05, 40 warm-up epochs (appendix).

    Raises:
        ValueError: no answers, or answers, targets or losses of maps that the tokenizer does not know.
    """

    tokenizer: TokenizerByPart = MADE
    encoder: Encoder = MADE
    answers: dict[str, int] = MADE
    decoder_width: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    mask: MaskSampler = BudgetMask(98)
    target: Target | dict[str, Target] = ValueTarget()  # type: ignore[assignment]
    loss: Loss | dict[str, Loss] = MSELoss()  # type: ignore[assignment]
    optim: Optimization = Optimization(base_lr=1e-4, warmup_epochs=40)

    encoder_options = ()

    def complete(self) -> None:
        for name, part in (("tokenizer", self.tokenizer), ("encoder", self.encoder), ("answers", self.answers)):
            if part is None:
                raise ValueError(f"`{name}` must be given, with a part for each map, but is None.")
        names = list(self.tokenizer.tokenizers)
        for name, given in (("answers", self.answers), ("target", self.target), ("loss", self.loss)):
            for one in given if isinstance(given, dict) else ():
                if one not in names:
                    raise ValueError(f"`{name}` must be of maps {', '.join(names)}, but one is {one!r}.")
        if missing := [name for name in names if name not in self.answers]:
            raise ValueError(f"`answers` must name each map, but lacks {', '.join(missing)}.")
        if self.predictor is None:
            sizes = self.decoder_width, self.decoder_depth, self.decoder_heads
            self.predictor = PredictorByPart(
                {name: CrossDecoder(name, names, self.encoder.width, self.answers[name], *sizes) for name in names}
            )
        if not isinstance(self.target, Target) or not self.target.joint:
            targets = self.target if isinstance(self.target, dict) else dict.fromkeys(names, self.target)
            self.target = TargetByPart({name: targets.get(name, ValueTarget()) for name in names})
        if not isinstance(self.loss, Loss) or not self.loss.joint:
            losses = self.loss if isinstance(self.loss, dict) else dict.fromkeys(names, self.loss)
            self.loss = LossByPart({name: losses.get(name, MSELoss()) for name in names}, reduce="sample")
