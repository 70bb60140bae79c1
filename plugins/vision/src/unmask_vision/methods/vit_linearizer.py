"""ViT-Linearizer: an encoder of linear cost learns features and relations from a ViT (Wei & Chellappa 2025,
arXiv:2504.00037)."""

from __future__ import annotations

from typing import Literal

from unmask import chosen
from unmask.api import at_least, taught_by, teacher_of
from unmask.terms import Relations
from unmask_vision.encoders.scan import ScanEncoder
from unmask_vision.methods.mask_distill import MaskDistill

SIZES = {
    # size: width and depth, those of Vision Mamba (tiny and small) and twice as wide again.
    "tiny": (192, 24),
    "small": (384, 24),
    "base": (768, 24),
    "large": (1024, 48),
}


class ViTLinearizer(MaskDistill):
    """`MaskDistill` into selective scans, whose patches are also related to each other as the teacher's are, at several
    depths.

    ``loss = MaskDistill's loss + relation_weight * mean over stages and pairs of (cos(x_i, x_j) - cos(t_i, t_j))^2``

    Arguments are those of `MaskDistill`, but:

    Args:
        num_stages: depths at which relations are matched, evenly over both networks, at least 1.
        relation_weight: at least 0.
        encoder: None: scans of that size, from both ends of the image.

    No code was released: which layers are matched, how maps are normalised and the weights are our reading. Class
    tokens take no part.

    Raises:
        ValueError: as `MaskDistill`; a number outside its range, more stages than the shallower network has layers.
    """

    size: Literal["tiny", "small", "base", "large"] | None = None
    num_stages: int = 2
    relation_weight: float = 1.0

    def complete(self) -> None:
        at_least(1, num_stages=self.num_stages)
        width, depth = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or 16
        self.encoder = self.encoder or ScanEncoder(width, depth, patch_size, self.channels, mask_token=True)
        teacher = teacher_of(self.teacher, self.teacher_run)
        run, tokenizer = self.teacher_run, self.teacher_tokenizer
        if self.target is None:
            self.teacher, self.teacher_run = teacher, None
        super().complete()
        self.teacher_run = run
        depths = self.encoder.num_layers, (teacher or self.encoder).num_layers
        if self.num_stages > min(depths):
            raise ValueError(
                f"`num_stages` must be in [1, {min(depths)}], the fewest layers of the two networks, but is "
                f"{self.num_stages}; nearest: {min(depths)}."
            )
        relations = {}
        for stage in range(1, self.num_stages + 1):
            mine, theirs = (stage * depth // self.num_stages for depth in depths)
            options = {"layer": theirs, "normalize": "none", "tokenizer": tokenizer}
            target, _ = taught_by(teacher, None, self.encoder, **options)
            weight = self.relation_weight / self.num_stages
            relations[f"relation_{stage}"] = Relations(target, mine, "mse", weight=weight)
        self.terms = {**relations, **self.terms}
