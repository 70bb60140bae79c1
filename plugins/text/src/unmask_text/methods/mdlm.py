"""MDLM: masked diffusion, a text model that writes in any order (Sahoo et al. 2024, arXiv:2406.07524)."""

from __future__ import annotations

from unmask import MaskSampler, Optimization
from unmask.masks import DiffusionMask
from unmask_text.corruption import VocabularyCorruption
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.methods.text_method import TextMethod


class MDLM(TextMethod):
    """Hides a share t of each document, t from (0, 1), and weighs the loss so that it bounds the text's likelihood.

    ``loss = mean over tokens of E_t [1 / t * -log p(token | what is shown at time t) * (token is hidden)]``,
    for the log-linear schedule ``alpha(t) = 1 - t``: a negative evidence lower bound per token, in nats.

    What is shown stays as it is and [MASK] is never an answer (section 3.2.3: carry-over unmasking, zero masking
    probabilities). The encoder is not told the time, as in the paper's text models (section 3.4; table 7).
    `unmask_text.generate` writes with it.

    Args:
        mask: each token with probability t. Times are spread evenly over the batch (section 3.5), so a document's mask
            depends on which others are in its batch; with ``even`` False it does not, and the loss varies more. Other
            schedules, as MD4's (Shi et al. 2024, arXiv:2406.04329), by its ``process``.
        predictor: None: a vocabulary head, tied to the embeddings, that never answers [MASK].
        loss: weighted cross-entropy over the vocabulary.
        corruption: hidden tokens are shown as [MASK].
        optim: AdamW of appendix C: rate 3e-4 at batch 512 (1.5e-4 per 256), 2,500 warm-up steps, no decay.

    Differs from the paper in the encoder (there a diffusion transformer with rotary positions) and in the decay of
    the rate (there constant, here a cosine).

    Raises:
        ValueError: an unknown style or size, or one beside an encoder.
    """

    mask: MaskSampler = DiffusionMask(even=True)
    corruption: VocabularyCorruption = VocabularyCorruption(token=1)
    optim: Optimization = Optimization(base_lr=1.5e-4, weight_decay=0.0, betas=(0.9, 0.999), warmup_steps=2_500)

    def head(self) -> VocabularyHead:
        return VocabularyHead.matching(self.encoder, excluded_id=self.encoder.mask_id)
