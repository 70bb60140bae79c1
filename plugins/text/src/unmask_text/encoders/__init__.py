"""Encoders: transformers' models on packed documents."""

from unmask_text.encoders.transformer import TransformersEncoder

__all__ = ["TransformersEncoder"]
