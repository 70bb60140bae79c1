"""HiCMAE: two masked autoencoders that meet, with skips and contrast between layers (Sun et al. 2024,
arXiv:2401.05698)."""

from __future__ import annotations

from unmask import (
    MADE,
    Loss,
    LossByPart,
    MaskSampler,
    Method,
    Optimization,
    Predictor,
    PredictorByPart,
    Target,
    TokenizerByPart,
)
from unmask.losses import MSELoss
from unmask.masks import MaskByPart, RandomMask, TubeMask
from unmask.targets import ValueTarget
from unmask.terms import Contrast
from unmask_multimodal.encoders import JointEncoder
from unmask_multimodal.predictors import SkipDecoder


class HiCMAE(Method):
    """Each part has an encoder of its own; codes meet in layers of cross-attention, and each part is rebuilt.

    ``loss = MSE of the first + MSE of the second + weight * sum over layers of contrast``

    Decoders read the encoders' inner layers, and codes of these layers, averaged over visible places, are compared
    between the parts.

    Args:
        tokenizer: of two parts, such as video and sound.
        encoder: `JointEncoder` of both, with a `CrossTrunk` of 2 layers (section 3.2; 10 layers each, 512 wide).
        token_widths: numbers of a token of each part, by its name; None: where ``predictor`` is given.
        layers: of the parts' encoders, ascending, that decoders read and that are compared. Release: 4, 7 and 10.
        decoder_width: of the decoders (release, base size: 384).
        decoder_heads: attention heads of the decoders (release: 6).
        contrast_weight: release: 0.0025; 0: parts are not compared.
        temperature: of the contrast, fixed (0.07).
        mask: None: 90% of the first part's tubes, 80% of the second's patches, at random (section 4.2).
        predictor: None: a `SkipDecoder` for each part.
        target: values, normalised per token.
        loss: None: squared error of each part, summed.
        optim: AdamW: rate 3e-4 per 256 samples, betas (0.9, 0.95), 5 warm-up epochs.

    Raises:
        ValueError: other than two parts, no tokenizer or encoder, no widths of tokens, a layer that is not of the
            parts' own encoders, or a number outside its range.

    Differs from the paper in that tokens are normalised over all their numbers instead of per channel, and that no
    differences of frames are predicted.
    """

    tokenizer: TokenizerByPart = MADE
    encoder: JointEncoder = MADE
    token_widths: dict[str, int] | None = None
    layers: tuple[int, ...] = (4, 7, 10)
    decoder_width: int = 384
    decoder_heads: int = 6
    contrast_weight: float = 0.0025
    temperature: float = 0.07
    mask: MaskSampler = MADE
    predictor: Predictor = MADE
    target: Target = ValueTarget(normalize=True)
    loss: Loss = MADE
    optim: Optimization = Optimization(base_lr=3e-4, betas=(0.9, 0.95), warmup_epochs=5)

    encoder_options = ()

    def complete(self) -> None:
        for name, part in (("tokenizer", self.tokenizer), ("encoder", self.encoder)):
            if part is None:
                raise ValueError(f"`{name}` must be given, with two parts, but is None.")
        names = list(self.tokenizer.tokenizers)
        if len(names) != 2 or set(names) != set(self.encoder.encoders):
            raise ValueError(
                f"`tokenizer` and `encoder` must have the same two parts, but have {', '.join(names)} and "
                f"{', '.join(self.encoder.encoders)}."
            )
        layers = list(self.layers)
        if layers and not 1 <= min(layers) <= max(layers) <= self.encoder.own_layers:
            raise ValueError(
                f"`layers` must be in [1, {self.encoder.own_layers}], the layers of the parts' own encoders, but are "
                f"{layers}."
            )
        first, second = names
        self.mask = self.mask or MaskByPart({first: TubeMask(0.9), second: RandomMask(0.8)})
        self.loss = self.loss or LossByPart({name: MSELoss() for name in names})
        self.predictor = self.predictor or PredictorByPart({name: self._decoder(name) for name in names})
        if self.contrast_weight and layers:
            contrast = Contrast(
                first, second, None, temperature=self.temperature, weight=self.contrast_weight, layers=layers,
                learned=False,
            )  # fmt: skip
            self.terms = {"contrast": contrast, **self.terms}

    def _decoder(self, name: str) -> SkipDecoder:
        if self.token_widths is None or name not in self.token_widths:
            raise ValueError(f"`token_widths` must say how many numbers a token of `{name}` has, but does not.")
        return SkipDecoder(
            self.encoder.width, self.token_widths[name], self.decoder_width, self.decoder_heads, list(self.layers)
        )
