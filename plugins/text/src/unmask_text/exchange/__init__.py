"""Encoders to and from transformers and sentence-transformers."""

from unmask_text.exchange.names import from_transformers, generator_to_transformers, to_transformers

__all__ = ["from_transformers", "generator_to_transformers", "to_transformers"]
