"""Masked modelling of text: BERT, SpanBERT, ELECTRA, MAE-LM and masked diffusion on transformers' encoders."""

__version__ = "0.1.0"
