"""SpanBERT: hide spans, predict them from inside and from their boundaries (Joshi et al. 2020, arXiv:1907.10529)."""

from __future__ import annotations

from unmask import Loss, MaskSampler, Optimization
from unmask_text.corruption import VocabularyCorruption
from unmask_text.heads.span_boundary import SpanBoundaryHead, SpanBoundaryLoss
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.masks.span import WordSpanMask
from unmask_text.methods.text_method import TextMethod


class SpanBERT(TextMethod):
    """Masked language modelling of spans of words, with a second answer from the two tokens around each span.

    ``loss = mean of -log p(token | its code) + mean of -log p(token | codes around the span, place in it)``

    Args:
        mask: 15% of the tokens in spans of whole words, their number geometric(0.2) of at most 10 (section 3.1).
        predictor: None: a vocabulary head and the span boundary head (section 3.2), tied to the embeddings.
        loss: the sum of both cross-entropies (section 3.4).
        corruption: 80% of the spans are shown as [MASK], 10% as random tokens, 10% as they are, all
            tokens of a span alike (section 3.1).
        optim: AdamW of appendix A: rate 1e-4 at batch 256, 10,000 warm-up steps, decay 0.1.

    Differs from the paper in the decay of the rate, which is linear there and a cosine here. As there, there is
    no next-sentence task and documents are single segments (section 3.3).

    Raises:
        ValueError: an unknown style or size, or one beside an encoder.
    """

    mask: MaskSampler = WordSpanMask()
    loss: Loss = SpanBoundaryLoss()
    corruption: VocabularyCorruption = VocabularyCorruption(token=0.8, random=0.1, keep=0.1, per_span=True)
    optim: Optimization = Optimization(base_lr=1e-4, weight_decay=0.1, betas=(0.9, 0.999), warmup_steps=10_000)

    def head(self) -> SpanBoundaryHead:
        return SpanBoundaryHead(VocabularyHead.matching(self.encoder), self.encoder.width)
