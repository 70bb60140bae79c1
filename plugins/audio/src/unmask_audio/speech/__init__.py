"""Speech encoders on the raw wave: cutting it into frames, the convolutional stem, loading transformers' models."""

from unmask_audio.speech.tokenizer import WaveTokenizer

__all__ = ["WaveTokenizer"]
