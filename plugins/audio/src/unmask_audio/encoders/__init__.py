"""Encoders of spectrograms and of waves; import them from their modules, for those of waves bring transformers."""
