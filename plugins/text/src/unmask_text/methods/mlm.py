"""MLM: hide some tokens, predict them from both sides (BERT, Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

from unmask import MaskSampler
from unmask.masks import RandomMask
from unmask_text.methods.text_method import TextMethod
from unmask_text.pretrained import load_masked_lm


class MLM(TextMethod):
    """An encoder reads documents with 15% of their tokens replaced, and says what they were.

    ``loss = mean over hidden tokens of -log p(token | what is shown)``

    Masks are drawn anew for every batch, and there is no next-sentence task, as in RoBERTa (Liu et al. 2019,
    arXiv:1907.11692). With ``pretrained``, or an encoder loaded from a path, training goes on from there.

    Args:
        pretrained: a folder of transformers' (or a name of its hub) whose encoder and head to go on from, as in
            `TextMethod`; or, of the same sizes as an ``encoder`` that is given, to be loaded into it.
        mask: 15% of the tokens at random (section 3.1).
        predictor: None: the vocabulary head of that kind of model, tied to the embeddings.
        loss: cross-entropy over the vocabulary.
        corruption: of the hidden tokens, 80% are shown as [MASK], 10% as random ones and 10% as they are
            (section 3.1).
        optim: AdamW of appendix A.2: rate 1e-4 at batch 256, 10,000 warm-up steps, decay 0.01. RoBERTa-base
            (table 9): 6e-4 at batch 8,192 (1.9e-5 per 256), betas (0.9, 0.98), 24,000 warm-up steps.

    Differs from the papers in the decay of the rate, which is linear there and a cosine here.

    Raises:
        ValueError: an unknown style or size, one beside an encoder, or weights that lack a head or do not fit.
    """

    mask: MaskSampler = RandomMask(ratio=0.15)

    encoder_options = TextMethod.encoder_options[:-1]  # weights may be loaded into an encoder that is given

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrained is not None:
            load_masked_lm(self, self.pretrained)
