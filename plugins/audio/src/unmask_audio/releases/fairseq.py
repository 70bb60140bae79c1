"""Speech encoders as fairseq names them: wav2vec 2.0, HuBERT, data2vec, and WavLM of microsoft/unilm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unmask import MaskedModel
from unmask.api import Map, Release, State
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.speech.cluster_head import ClusterHead
from unmask_audio.speech.quantized_target import QuantizedTarget
from unmask_audio.speech.stem import stem_norm

ENCODER = [  # transformers' names, fairseq's
    (r"^feature_projection\.layer_norm\.", "layer_norm."),
    (r"^feature_projection\.projection\.", "post_extract_proj."),
    (r"^masked_spec_embed$", "mask_emb"),
    (r"^(feature_extractor\.conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"pos_conv_embed\.layers\.(\d+)\.conv\.", r"pos_conv.\1.0."),  # data2vec: several
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0$", "pos_conv.0.weight_g"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1$", "pos_conv.0.weight_v"),
    (r"pos_conv_embed\.conv\.", "pos_conv.0."),
    (r"(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"\.attention\.gru_rel_pos_linear\.", ".self_attn.grep_linear."),
    (r"\.attention\.gru_rel_pos_const$", ".self_attn.grep_a"),
    (r"\.attention\.rel_attn_embed\.", ".self_attn.relative_attention_bias."),
    (r"\.attention\.", ".self_attn."),
    (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
    (r"\.feed_forward\.output_dense\.", ".fc2."),
]
PARAMETRIZED = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""How newer torch names a weight norm's tensors, and how fairseq's files do."""
WAV2VEC2 = {
    "predictor.head.": "final_proj.",
    "target.proj.": "project_q.",
    "target.quantizer.score.": "quantizer.weight_proj.",
}
SETTINGS = {  # of the checkpoint: that of transformers, and what its values are called there
    "encoder_attention_heads": ("num_attention_heads", {}),
    "layer_norm_first": ("do_stable_layer_norm", {}),
    "extractor_mode": ("feat_extract_norm", {"default": "group", "layer_norm": "layer"}),
    "activation_fn": ("hidden_act", {}),
}
"""That change codes and no tensor's size."""
DATA2VEC = "data2vec-audio"
FIXED = {"do_stable_layer_norm": False, "feat_extract_norm": "layer"}
"""What transformers' data2vec is, without settings for it."""


class FairseqRelease(Release):
    """Checkpoints of fairseq: wav2vec 2.0 with its quantiser and projections, HuBERT with its cluster head, data2vec's
    encoder of sounds, WavLM.
    """

    repository = "facebookresearch/fairseq"
    ignored = r"_ema\..*"  # data2vec's teacher

    def refusal(self, model: MaskedModel) -> str | None:
        if isinstance(model.encoder, SpeechEncoder):
            return None
        return (
            f"The names of {self.repository} are for encoders of waves (`audio.speech`), but the encoder is a "
            f"{type(model.encoder).__name__}; nearest: `safetensors`."
        )

    def map(self, model: MaskedModel) -> Map:
        stable = stem_norm(_config(model)) == "layer"
        quantized = isinstance(model.target, QuantizedTarget)
        named = isinstance(model.predictor, ClusterHead) and _config(model).model_type != DATA2VEC

        def forward(name: str, tensor: Tensor) -> State:
            if name.startswith("encoder.model."):
                return {_fairseqs(name.removeprefix("encoder.model."), stable): tensor}
            if quantized and name == "target.quantizer.entries":
                return {"quantizer.vars": tensor.flatten(0, 1)[None]}
            if named and name.startswith("predictor.proj."):
                return {name.replace("predictor.proj.", "final_proj."): tensor}
            if named and name == "predictor.embeddings":
                return {"label_embs_concat": tensor.flatten(0, 1)}
            pairs = WAV2VEC2.items() if quantized else ()
            return {theirs + name.removeprefix(ours): tensor for ours, theirs in pairs if name.startswith(ours)}

        return forward

    def plain(self, weights: State) -> State:
        found: State = {}
        for name, tensor in weights.items():
            for new, old in PARAMETRIZED.items():
                name = name.replace(new, old)
            found[name] = tensor
        return found

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        config, told = _config(model), []
        for name, value in settings.items():
            key = name.rpartition(".")[2]
            ours, words = SETTINGS.get(key, ("", {}))
            fixed = FIXED.get(ours) if config.model_type == DATA2VEC else None
            own, theirs = getattr(config, ours, fixed), words.get(value, value) if isinstance(value, str) else value
            if ours and own is not None and own != theirs:
                raise ValueError(
                    f"`{ours}` of the config's encoder must be {theirs!r}, as `{name}` of the checkpoint says, but is "
                    f"{own!r}."
                )
            own = getattr(model.tokenizer, "normalize", None)
            if key == "normalize" and own not in (None, value):
                told.append(
                    f"`normalize` of the tokenizer is {own}, but the weights were trained with {value} (`{name}`)."
                )
        return told


def _config(model: MaskedModel) -> Any:
    encoder = model.encoder
    assert isinstance(encoder, SpeechEncoder)  # `refusal` has seen to it
    return encoder.model.config


def _fairseqs(name: str, stable: bool) -> str:
    """A tensor's name there; a stem whose layers are all normed has the norm between two transpositions."""
    name = re.sub(r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", r"\1.2.1." if stable else r"\1.2.", name)
    for ours, theirs in ENCODER:
        name = re.sub(ours, theirs, name)
    return name
