"""Bag-of-words prediction: all tokens of a document from one code, beside MLM (Ma et al. 2024, arXiv:2401.11248)."""

from __future__ import annotations

from unmask import MaskSampler
from unmask.masks import RandomMask
from unmask_text.methods.mlm import MLM
from unmask_text.terms.bag_of_words import BagOfWordsTerm, Pool


class BagOfWords(MLM):
    """Masked language modelling whose documents' codes must also say which tokens the document is made of.

    ``loss = mean over hidden tokens of -log p(token | its code) + weight * bag-of-words loss``

    A masked language model alone need not keep in a code which words it has read, and one trained for a short time
    keeps less of them than an untrained encoder does. What the second term asks for is what searching and telling
    documents apart by one vector live on (section 2). See `BagOfWordsTerm` for the term.

    Args:
        pretrained: a folder of transformers' (or a name of its hub) whose encoder and head to go on from; the paper
            goes on from BERT.
        weight: of the bag-of-words loss, above 0. Paper: 1.
        pool: what the one code is: ``cls`` (paper), or ``mean`` where means are what will be used.
        mask: 30% of the tokens at random. Released code: 30% in whole words (``text.whole-word``).
        predictor: None: the vocabulary head of that kind of model, tied to the embeddings.
        loss: cross-entropy over the vocabulary.
        corruption: of the hidden tokens, 80% are shown as [MASK], 10% as random ones and 10% as they are.
        optim: AdamW, as in `MLM`.

    A distinct token counts once, with a share of one over their number, as in the released code (ma787639046/bowdpr).
    That code differs in five ways. It hides whole words. It leaves stop words out of the bag. Its weight falls from 1
    to 0.1 by a cosine over the run. Its head is the vocabulary head, see `BagOfWordsTerm`. Its rate is 3e-4, with
    4,000 warm-up steps and a cosine to 10% of it.

    Raises:
        ValueError: a number outside its range, or as `MLM`.
    """

    weight: float = 1.0
    pool: Pool = "cls"
    mask: MaskSampler = RandomMask(ratio=0.3)

    def complete(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"`weight` must be above 0, but is {self.weight:g}.")
        super().complete()
        self.terms = {"bag_of_words": BagOfWordsTerm(self.weight, self.pool)} | dict(self.terms)
