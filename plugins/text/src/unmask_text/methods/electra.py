"""ELECTRA: a small model replaces tokens, the encoder finds out which (Clark et al. 2020, arXiv:2003.10555)."""

from __future__ import annotations

from dataclasses import field

from unmask import Encoder, Loss, MaskSampler, Optimization
from unmask.losses import CrossEntropyLoss
from unmask.masks import RandomMask
from unmask_text.corruption import VocabularyCorruption
from unmask_text.heads.discriminator import DiscriminatorHead
from unmask_text.methods.generator import Generator, GeneratorCorruption, GeneratorTerm, narrower
from unmask_text.methods.sizes import Style
from unmask_text.methods.text_method import TextMethod
from unmask_text.targets import ReplacedTarget


class ELECTRA(TextMethod):
    """The encoder reads documents in which a generator has replaced some tokens by likely ones, and judges each token.

    ``loss = mean over hidden tokens of -log p_generator(token)
    + weight * mean over all tokens of -log p(whether it was replaced)``

    Tokens that the generator guesses rightly count as original. No gradient passes through the drawn tokens. The
    generator's loss is logged as ``generator``; losses per token are the discriminator's, without the weight.

    Args:
        pretrained: a folder of transformers' (or a name of its hub) whose discriminator to go on from, without
            its head.
        generator_ratio: width of the generator as a share of the encoder's, in (0, 1]. Paper: a quarter to a half
            (section 3.2), for the base size a third (table 6).
        weight: of the encoder's loss, above 0. Paper: 50 (table 6).
        mask: 15% of the tokens at random (table 6; 25% for the large size).
        encoder: the discriminator, of transformers' kind ``electra``; None: of that size.
        generator: None: an encoder of the same kind, narrower, that shares its embeddings, token, position
            and norm (section 3.2: tied), with a vocabulary head.
        predictor: None: the discriminator's head.
        loss: of the discriminator: cross-entropy of original against replaced.
        corruption: of the hidden tokens, 85% are shown to the generator as [MASK] and 15% as they are,
            as in the released code.
        optim: AdamW of table 6, base: rate 2e-4 at batch 256, 10,000 warm-up steps, decay 0.01.

    Differs from the released code in that special tokens are not judged, as no mask can hide them, and in the decay
    of the rate, which is linear there and a cosine here.

    Raises:
        ValueError: a number outside its range, an unknown size, or an encoder of another kind.
    """

    ask = "all"

    style: Style | None = field(init=False)
    generator_ratio: float = 1 / 3
    weight: float = 50.0
    generator: Encoder | None = None
    mask: MaskSampler = RandomMask(ratio=0.15)
    target: ReplacedTarget = field(init=False, default_factory=ReplacedTarget)
    loss: Loss = CrossEntropyLoss()
    corruption: VocabularyCorruption = VocabularyCorruption(token=0.85, keep=0.15)
    optim: Optimization = Optimization(base_lr=2e-4, weight_decay=0.01, betas=(0.9, 0.999), warmup_steps=10_000)

    def head(self) -> DiscriminatorHead:
        return DiscriminatorHead(self.encoder.width, self.encoder.model.config.hidden_act)

    def complete(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"`weight` must be above 0, but is {self.weight}.")
        self.style = "electra" if self.pretrained is None else None
        super().complete()
        self.loss_weight = self.weight
        self.terms = dict(self.terms) | {"generator": GeneratorTerm()}

    def __post_init__(self) -> None:
        super().__post_init__()
        encoder = self.generator or narrower(self.encoder, self.generator_ratio)
        self.generator = Generator(encoder, self.encoder)  # type: ignore[assignment]
        self.corruption = GeneratorCorruption(self.corruption, self.generator)  # type: ignore[arg-type,assignment]
