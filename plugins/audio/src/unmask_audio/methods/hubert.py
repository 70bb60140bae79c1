"""HuBERT: name hidden frames by the clusters that they belong to (Hsu et al. 2021, arXiv:2106.07447)."""

from __future__ import annotations

import copy
from dataclasses import field
from typing import Any

from unmask import MADE, Corruption, Encoder, Loss, MaskSampler, Method, Objective, Optimization
from unmask.api import FirstStage, at_least
from unmask.losses import CrossEntropyLoss
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.masks.time_span import TimeSpanMask
from unmask_audio.methods.speech_sizes import SpeechSize, Style, check_frames, speech_encoder, wave_tokenizer
from unmask_audio.speech.cluster_head import ClusterHead
from unmask_audio.speech.clusters import ClusterTarget
from unmask_audio.speech.sources import Cepstra, LayerCodes
from unmask_audio.speech.terms import FeaturePenalty
from unmask_audio.speech.tokenizer import WaveTokenizer

_FRAMES = ("window", "hop", "sample_rate", "normalize")
"""Settings of the tokenizer, which both iterations share."""


class HuBERT(Method):
    """Hidden frames are replaced behind the stem; their codes must name the clusters that the frames are of.

    ``loss = CE(hidden frames) + visible_weight * CE(visible frames) + feature_penalty * mean(stem features^2)``

    Clusters are found when training begins (streaming k-means over ``num_frames`` frames of the training data): first
    of cepstra (MFCC), in a second iteration of the codes of a layer of the first one's encoder, and so on.

    Args:
        style: kind of transformers' model: ``hubert``, ``wav2vec2`` or ``wavlm``; None: ``hubert``.
        size: ``tiny`` or ``base``; None: ``base``.
        num_clusters: of a codebook, or of each of several, over which the loss is averaged. Paper (section IV.B): 100
            of cepstra, 500 of layer 6.
        teacher_layer: cluster the codes of this layer of a teacher; None: cluster cepstra. Paper: 6 of 12, then 9.
        teacher_run: folder of the finished run whose encoder is the teacher. Needed to begin training with one.
        teacher_recipe: recipe or file that trains that run when it is not finished, on the data of this run.
        teacher: encoder that the run's weights fit, or one with weights of its own (``path``) and no run; None: the
            same kind as ``encoder``.
        codebook: file of clusters, read where it is there and written where it is not; None: they are found anew, and
            kept in checkpoints alone.
        num_frames: how many frames clusters are found from. Paper: 10% of the data.
        visible_weight: at least 0 (section III.B: 0 is best where clusters are poor).
        feature_penalty: at least 0. Release: 10.
        mask: starts at 8% of the frames, runs of 10 (section IV.C).
        encoder: None: of that style and size.
        predictor: None: cosines with an embedding of each cluster.
        loss: cross-entropy.
        corruption: hidden frames are shown as a learned vector (section III.B).
        tokenizer: None: windows of the encoder's stem, at the rate of its weights, or 16 kHz.
        optim: AdamW of section IV.C, base size: rate 5e-4 at 47 minutes (some 230 clips) a batch, 32,000 warm-up steps
            of 400,000, decay 0.01.

    Differs from the released code in that ids are computed as training goes, not before; in clusters of frames every
    20 ms; in the mean over codebooks, where there is a sum; in the weight of visible frames, as each kind of frame is
    averaged by itself; and in the decay of the rate, which is linear there and a cosine here.

    Raises:
        ValueError: a number outside its range, an unknown size, a teacher's option without ``teacher_layer``, a
            tokenizer or teacher of other frames; when training begins, a ``teacher_run`` that is not there and cannot
            be made, or one of another tokenizer or, where ``teacher_recipe`` is given, of other data.
        UserError: when training begins, a ``codebook`` of other clusters.
    """

    style: Style | None = None
    size: SpeechSize | None = None
    num_clusters: int | list[int] = 100
    teacher_layer: int | None = None
    teacher_run: str | None = None
    teacher_recipe: str | None = None
    teacher: Encoder | None = None
    codebook: str | None = None
    num_frames: int = 1_000_000
    visible_weight: float = 0.0
    feature_penalty: float = 10.0
    tokenizer: WaveTokenizer = MADE
    mask: MaskSampler = TimeSpanMask(start_ratio=0.08)
    encoder: SpeechEncoder = MADE
    target: ClusterTarget = field(init=False)
    loss: Loss = CrossEntropyLoss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=5e-4, weight_decay=0.01, betas=(0.9, 0.98), warmup_steps=32_000)

    encoder_options = ("style", "size")

    def complete(self) -> None:
        at_least(0, visible_weight=self.visible_weight, feature_penalty=self.feature_penalty)
        for name in ("teacher_run", "teacher_recipe", "teacher"):
            if self.teacher_layer is None and getattr(self, name) is not None:
                raise ValueError(
                    f"`teacher_layer` must say which layer to cluster when `{name}` is given, but is None."
                )
        counts = [self.num_clusters] if isinstance(self.num_clusters, int) else list(self.num_clusters)
        if self.teacher_layer is not None and (self.teacher is None or self.teacher_run is not None):
            shared = self._of_both_iterations()
            self.first_stage = FirstStage("teacher", "audio.hubert", self.teacher_run, self.teacher_recipe, shared)
        self.encoder = speech_encoder(self.encoder, self.style, self.size, "hubert")
        self.tokenizer = wave_tokenizer(self.tokenizer, self.encoder)
        source: Cepstra | LayerCodes = Cepstra(self.tokenizer)
        if self.teacher_layer is not None:
            older = speech_encoder(self.teacher or copy.deepcopy(self.encoder), None, None, "hubert")
            check_frames("teacher", older, self.encoder)
            wave_tokenizer(self.tokenizer, older)  # refuses one that makes other waves than the teacher knows
            source = LayerCodes(older, self.teacher_layer)
        self.predictor = self.predictor or ClusterHead(self.encoder.width, counts)
        self.target = ClusterTarget(source, counts, self.codebook, self.num_frames)
        if self.visible_weight:
            self.objectives = {"visible": Objective("visible", weight=self.visible_weight), **self.objectives}
        if self.feature_penalty:
            self.terms = {"feature_penalty": FeaturePenalty(self.feature_penalty), **self.terms}
        self.teacher = None  # the target has it

    def _of_both_iterations(self) -> dict[str, Any]:
        """Options that the first iteration is trained with as well."""
        settings: dict[str, Any] = {}
        if self.teacher is None and self.encoder is None:
            kinds = {"style": self.style, "size": self.size}
            settings = {name: value for name, value in kinds.items() if value is not None}
        if self.tokenizer is not None:
            settings["tokenizer"] = {
                "class_path": "unmask_audio.speech.tokenizer.WaveTokenizer",
                "init_args": {name: getattr(self.tokenizer, name) for name in _FRAMES},
            }
        return settings
