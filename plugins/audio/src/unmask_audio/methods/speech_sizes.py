"""Sizes of speech encoders, which HuBERT and wav2vec 2.0 share."""

from __future__ import annotations

from typing import Any, Literal

from unmask import Encoder, chosen
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.speech.tokenizer import WaveTokenizer

Style = Literal["hubert", "wav2vec2", "wavlm"]
SpeechSize = Literal["tiny", "base"]

SAMPLE_RATE = 16_000
"""In Hz, of all released models."""

SIZES: dict[str, dict[str, Any]] = {
    # Ours, for a processor without accelerator. Its stem has fewer and longer steps, but sees and skips as many samples
    # as the papers': 400 and 320. Nothing is dropped.
    "tiny": {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "conv_dim": (64, 64, 128),
        "conv_kernel": (50, 12, 4),
        "conv_stride": (10, 8, 4),
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 8,
    }
    | dict.fromkeys(
        ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop"), 0.0
    ),
    # The papers' base models as released; widths are transformers' defaults.
    "base": {"activation_dropout": 0.0, "feat_proj_dropout": 0.1, "layerdrop": 0.05, "feat_quantizer_dropout": 0.1},
}


def speech_encoder(encoder: Encoder | None, style: str | None, size: str | None, default: str) -> SpeechEncoder:
    """The encoder of a method: as given, or fresh.

    Args:
        encoder: None: one of ``style`` and ``size``.
        style: kind of transformers' model; None: ``default``.
        size: None: ``base``.
        default: the method's own kind.

    Raises:
        ValueError: an unknown style or size, or an encoder of another class.
    """
    if encoder is None:
        return SpeechEncoder({"model_type": style or default, **chosen("size", size or "base", SIZES)})
    if not isinstance(encoder, SpeechEncoder):
        raise ValueError(f"`encoder` must be an `audio.speech`, but is a {type(encoder).__name__}.")
    return encoder


def wave_tokenizer(tokenizer: WaveTokenizer | None, encoder: SpeechEncoder) -> WaveTokenizer:
    """The tokenizer of a method: as given, or one that makes waves as the encoder knows them.

    Raises:
        ValueError: the one given has other frames, or makes other waves than the encoder's weights were trained on.
    """
    if tokenizer is None:
        normalize = encoder.normalize is not False
        return WaveTokenizer(encoder.window, encoder.hop, encoder.sample_rate or SAMPLE_RATE, normalize)
    check_frames("tokenizer", tokenizer, encoder)
    if encoder.normalize not in (None, tokenizer.normalize):
        raise ValueError(
            f"`normalize` of `tokenizer` must be {encoder.normalize}, as the encoder was trained, but is "
            f"{tokenizer.normalize}."
        )
    return tokenizer


def check_frames(what: str, found: WaveTokenizer | SpeechEncoder, encoder: SpeechEncoder) -> None:
    """Refuses a tokenizer or teacher whose frames are not those of the encoder.

    Raises:
        ValueError: they have another window or hop, or are of another rate than that of the encoder's weights.
    """
    if (found.window, found.hop) != (encoder.window, encoder.hop):
        raise ValueError(
            f"Frames of `{what}` must see {encoder.window} samples, {encoder.hop} apart, as the encoder's stem does, "
            f"but see {found.window}, {found.hop} apart."
        )
    if None not in (found.sample_rate, encoder.sample_rate) and found.sample_rate != encoder.sample_rate:
        raise ValueError(
            f"`sample_rate` of `{what}` must be {encoder.sample_rate}, at which the encoder was trained, but is "
            f"{found.sample_rate}."
        )
