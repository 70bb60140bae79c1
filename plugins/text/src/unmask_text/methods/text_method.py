"""What methods on documents share: an encoder of transformers' kinds, its sizes, and a head tied to its embeddings."""

from __future__ import annotations

from typing import ClassVar

from unmask import Loss, Method, Optimization, Predictor, Target
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.losses import VocabularyLoss
from unmask_text.methods.sizes import Size, Style, encoder_of, pretrained_encoder
from unmask_text.targets import TokenTarget
from unmask_text.tokenizer import TextTokenizer


class TextMethod(Method):
    """A method whose encoder is one of transformers'.

    Args:
        style: kind of transformers' model: ``bert``, ``roberta``, ``modernbert``, ``electra`` or ``deberta-v2``;
            None: ``bert``.
        size: ``tiny`` (2 layers of 128), ``mini`` (4 of 256), ``small`` (4 of 512), ``medium`` (8 of 512), ``base``
            or ``large``; None: ``base``.
        vocab_size: of the tokenizer; None: 30,522, BERT's.
        max_length: tokens of the longest document with its two special tokens; None: 512.
        dropout: in [0, 1); None: 0.1 (BERT, appendix A.2).
        pretrained: a folder of transformers' (or a name of its hub) whose encoder to go on from, and whose tokenizer
            the data is read with. It has its own style and sizes: others given with it, by a recipe say, are not used,
            which a run says.
        tokenizer: None: takes token ids as the data has them.
        encoder: None: of that style and size.
        predictor: None: the method's head, tied to the embeddings.
        target: the hidden tokens.
        loss: cross-entropy over the vocabulary.
        corruption: of the hidden tokens, 80% are shown as [MASK], 10% as random ones and 10% as they are (BERT, section
            3.1).
        optim: AdamW of BERT's appendix A.2: rate 1e-4 at batch 256, 10,000 warm-up steps, decay 0.01.

    Raises:
        ValueError: an unknown style or size, one beside an encoder, or an encoder of another class.
    """

    encoder_options: ClassVar[tuple[str, ...]] = ("style", "size", "vocab_size", "max_length", "dropout", "pretrained")

    style: Style | None = None
    size: Size | None = None
    vocab_size: int | None = None
    max_length: int | None = None
    dropout: float | None = None
    pretrained: str | None = None
    encoder: TransformersEncoder = None  # type: ignore[assignment]
    target: Target = TokenTarget()
    loss: Loss = VocabularyLoss()
    corruption: VocabularyCorruption = VocabularyCorruption(token=0.8, random=0.1, keep=0.1)
    optim: Optimization = Optimization(base_lr=1e-4, weight_decay=0.01, betas=(0.9, 0.999), warmup_steps=10_000)

    @property
    def settled(self) -> dict[str, None]:
        """Sizes that were given beside pretrained weights, which have their own."""
        return dict.fromkeys(self.encoder.unused)

    def head(self) -> Predictor:
        """The predictor, where none is given: a vocabulary head of that kind of model."""
        return VocabularyHead.matching(self.encoder)

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or TextTokenizer()
        self.encoder = self.encoder or self._fresh()
        if not isinstance(self.encoder, TransformersEncoder):
            raise ValueError(f"`encoder` must be a `text.transformer`, but is a {type(self.encoder).__name__}.")
        self.predictor = self.predictor or self.head()
        tie = getattr(self.predictor, "tie", None)
        if tie is not None:
            tie(self.encoder.embedding)
        self.corruption = self.corruption.of(len(self.encoder.embedding))

    def _fresh(self) -> TransformersEncoder:
        if self.pretrained is not None:
            names = ("style", "size", "vocab_size", "max_length")
            return pretrained_encoder(self.pretrained, self.dropout, {name: getattr(self, name) for name in names})
        return encoder_of(
            self.style or "bert",
            self.size or "base",
            self.vocab_size or 30_522,
            0.1 if self.dropout is None else self.dropout,
            self.max_length or 512,
        )
