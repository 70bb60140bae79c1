"""MAE-LM: the encoder never sees a [MASK]; a shallow decoder does (Meng et al. 2023, arXiv:2302.02060)."""

from __future__ import annotations

from unmask import MaskSampler
from unmask.masks import RandomMask
from unmask_text.corruption import VocabularyCorruption
from unmask_text.heads.masked_decoder import MaskedDecoder
from unmask_text.methods.text_method import TextMethod


class MAELM(TextMethod):
    """Hidden tokens are left out; the others keep their positions. [MASK] enters in a decoder that is thrown away.

    ``loss = mean over hidden tokens of -log p(token | decoder)``

    So no dimension of the codes is spent on a token that downstream texts do not have (section 2).

    Args:
        style: kind of transformers' model, as in `MLM`, but not ``deberta-v2``; None: ``bert``.
        decoder_layers: of the decoder, at least 1. Ours; shallow as in section 3.
        mask: 15% of the tokens at random (section 4.1).
        predictor: None: the decoder, as wide as the encoder, with a vocabulary head tied to the embeddings.
        loss: cross-entropy over the vocabulary.
        corruption: hidden tokens are dropped (section 3).
        optim: AdamW: rate 1e-4 at batch 256, 10,000 warm-up steps, decay 0.01, as in `MLM`.

    Raises:
        ValueError: an unknown style or size, one beside an encoder, or a model that cannot read packed documents.
    """

    decoder_layers: int = 2
    mask: MaskSampler = RandomMask(ratio=0.15)
    corruption: VocabularyCorruption = VocabularyCorruption(drop=1)

    def head(self) -> MaskedDecoder:
        return MaskedDecoder.matching(self.encoder, self.decoder_layers)
