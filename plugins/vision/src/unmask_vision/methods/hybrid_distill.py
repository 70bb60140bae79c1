"""Hybrid Distillation: features of one teacher, and relations between patches of a masked autoencoder (Shi et al. 2023,
arXiv:2306.15876)."""

from __future__ import annotations

from unmask import Encoder
from unmask.api import taught_by, teacher_of
from unmask.terms import Relations
from unmask_vision.methods.mask_distill import MaskDistill


class HybridDistill(MaskDistill):
    """`MaskDistill`, and a middle layer that relates patches to each other as a second teacher's middle layer does.

    ``loss = MaskDistill's loss + relation_weight * mean over patches of KL(teacher's relations || the encoder's)``

    Arguments are those of `MaskDistill`, and:

    Args:
        relation_teacher: encoder with weights of its own, on the same patches, such as MAE's; it is frozen and left out
            of checkpoints. None: that of ``relation_run``.
        relation_run: folder of a run whose encoder that is. None of both: a slowly following copy of the encoder.
        relation_layer: of the encoder, in [1, its layers]; None: the middle one.
        relation_teacher_layer: of that teacher; None: the middle one.
        relation_heads: pieces of a code, each with relations of its own; must divide both widths.
        relation_weight: at least 0.

    No code was released, and this is our reading: relations are of codes (in the paper of queries with keys, and of
    values), defaults of layers and weight are ours, and no tokens are dropped on the way through the layers.

    Raises:
        ValueError: as `MaskDistill`; a weight below 0, a layer that is not there, two teachers of relations.
    """

    relation_teacher: Encoder | None = None
    relation_run: str | None = None
    relation_layer: int | None = None
    relation_teacher_layer: int | None = None
    relation_heads: int = 1
    relation_weight: float = 1.0

    def complete(self) -> None:
        super().complete()
        teacher = teacher_of(self.relation_teacher, self.relation_run)
        depths = {"encoder": self.encoder.num_layers, "teacher": (teacher or self.encoder).num_layers}
        middle = {name: max(depth // 2, 1) for name, depth in depths.items()}
        theirs = middle["teacher"] if self.relation_teacher_layer is None else self.relation_teacher_layer
        mine = middle["encoder"] if self.relation_layer is None else self.relation_layer
        target, _ = taught_by(teacher, None, self.encoder, layer=theirs, normalize="none")
        relation = Relations(target, mine, "kl", self.relation_heads, self.relation_weight)
        self.terms = {"relation": relation, **self.terms}
        self.relation_teacher = None  # the term has it
