"""Noise masks: a classifier learns with noise that a policy draws for it (Yavuz & Yang 2024, arXiv:2406.14568)."""

from __future__ import annotations

from typing import ClassVar, Literal

from unmask import MADE, Corruption, Loss, MaskSampler, Method, Optimization, Target, chosen
from unmask.losses import CrossEntropyLoss
from unmask.masks import EveryMask
from unmask.predictors import PooledPredictor
from unmask.targets import LabelTarget
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import SIZES
from unmask_vision.noise_policy import NoisePolicy, PolicyGradient
from unmask_vision.tokenizer import PatchTokenizer


class NoiseMasks(Method):
    """A ViT names classes of noisy images; a small network draws the noise, rewarded by the classifier's loss.

    ``loss = cross-entropy - policy_weight * mean (reward - mean reward) log density of the noise``

    Afterwards the policy is left out: `unmask finetune` goes on with the encoder. Arguments, of which some are ours:

    Args:
        num_classes: of the labels, at least 2.
        size: ``tiny``, ``small``, ``base``, ``large`` or ``huge``; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16, or 14 for ``huge``.
        channels: colour channels of the images.
        strength: how far noise changes a value, in (0, 1].
        per: whether each ``pixel`` or each ``image`` has noise of its own.
        reward: whether noise that makes samples ``harder`` or ``easier`` is rewarded (from memory: the cross-entropy).
        policy_weight: at least 0.
        mask: every patch.
        encoder: None: timm's ViT of that size.
        predictor: None: one linear layer on the mean code.
        target: labels of the batch.
        loss: cross-entropy.
        corruption: None: the policy.
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW: base rate 1e-4, betas (0.9, 0.999), decay 0.05, 5 warm-up epochs; ours.

    Differs from the paper in the distribution, Kumaraswamy's in place of Beta, which any generator can draw; in the
    classifier, a ViT here; the paper's bounds and rates were not known.

    Raises:
        ValueError: a number or word out of range, or a size beside an encoder, which has its own.
    """

    ask: ClassVar[str] = "sample"  # type: ignore[misc]

    num_classes: int = 1000
    size: Literal["tiny", "small", "base", "large", "huge"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    strength: float = 0.5
    per: Literal["pixel", "image"] = "pixel"
    reward: Literal["harder", "easier"] = "harder"
    policy_weight: float = 1.0
    mask: MaskSampler = EveryMask()
    target: Target = LabelTarget()
    loss: Loss = CrossEntropyLoss()
    corruption: Corruption = MADE
    optim: Optimization = Optimization(base_lr=1e-4, betas=(0.9, 0.999), warmup_epochs=5)

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"`num_classes` must be at least 2, but is {self.num_classes}.")
        name, *_ = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or ViTEncoder(name, self.image_size or 224, patch_size, self.channels)
        self.predictor = self.predictor or PooledPredictor(self.encoder.width, self.num_classes)
        self.corruption = self.corruption or NoisePolicy(patch_size, self.channels, self.strength, self.per)
        if isinstance(self.corruption, NoisePolicy):
            self.terms = {"policy": PolicyGradient(self.policy_weight, self.reward), **self.terms}
