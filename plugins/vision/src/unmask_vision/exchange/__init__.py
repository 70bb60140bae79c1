"""Encoders to and from timm and transformers."""

from unmask_vision.exchange.names import from_transformers, to_transformers

__all__ = ["from_transformers", "to_transformers"]
