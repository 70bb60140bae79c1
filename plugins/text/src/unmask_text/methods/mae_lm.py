"""MAE-LM: the encoder never sees a [MASK]; a shallow decoder does (Meng et al. 2023, arXiv:2302.02060)."""

from __future__ import annotations

from unmask import Encoder, Loss, MaskedModel, MaskSampler, Optimization, Predictor, Target, Tokenizer
from unmask.masks import RandomMask
from unmask_text.corruption import VocabularyCorruption
from unmask_text.heads.masked_decoder import MaskedDecoder
from unmask_text.losses import VocabularyLoss
from unmask_text.methods.sizes import Size, Style, encoder_for
from unmask_text.targets import TokenTarget
from unmask_text.tokenizer import TextTokenizer


class MAELM(MaskedModel):
    """Hidden tokens are left out; the others keep their positions. [MASK] enters in a decoder that is thrown away.

    ``loss = mean over hidden tokens of -log p(token | decoder)``

    So no dimension of the codes is spent on a token that downstream texts do not have (section 2).

    Args:
        style: kind of transformers' model, as in `MLM`, but not ``deberta-v2``; None: ``bert``.
        size: as in `MLM`; None: ``base``.
        vocab_size: of the tokenizer; None: 30,522.
        max_length: tokens of the longest document with its two special tokens; None: 512.
        dropout: in [0, 1); None: 0.1.
        pretrained: a folder of transformers' (or a name of its hub) whose encoder to go on from.
        decoder_layers: of the decoder, at least 1. Ours; shallow as in section 3.
        mask: 15% of the tokens at random (section 4.1).
        encoder: None: of that style and size.
        predictor: None: the decoder, as wide as the encoder, with a vocabulary head tied to the embeddings.
        target: the hidden tokens.
        loss: cross-entropy over the vocabulary.
        corruption: hidden tokens are dropped (section 3).
        tokenizer: None: takes token ids as the data has them.
        optim: AdamW: rate 1e-4 at batch 256, 10,000 warm-up steps, decay 0.01, as in `MLM`.

    Raises:
        ValueError: an unknown style or size, one beside an encoder, or a model that cannot read packed documents.
    """

    def __init__(
        self,
        style: Style | None = None,
        size: Size | None = None,
        vocab_size: int | None = None,
        max_length: int | None = None,
        dropout: float | None = None,
        pretrained: str | None = None,
        decoder_layers: int = 2,
        mask: MaskSampler = RandomMask(ratio=0.15),
        encoder: Encoder | None = None,
        predictor: Predictor | None = None,
        target: Target = TokenTarget(),
        loss: Loss = VocabularyLoss(),
        corruption: VocabularyCorruption = VocabularyCorruption(drop=1),
        tokenizer: Tokenizer | None = None,
        optim: Optimization = Optimization(base_lr=1e-4, weight_decay=0.01, betas=(0.9, 0.999), warmup_steps=10_000),
    ) -> None:
        encoder = encoder_for(encoder, style, size, vocab_size, max_length, dropout, pretrained)
        predictor = predictor or MaskedDecoder.matching(encoder, decoder_layers)
        if isinstance(predictor, MaskedDecoder):
            predictor.tie(encoder.embedding)
        super().__init__(
            tokenizer=tokenizer or TextTokenizer(),
            mask=mask,
            encoder=encoder,
            predictor=predictor,
            target=target,
            loss=loss,
            corruption=corruption.of(len(encoder.embedding)),
            optim=optim,
        )
