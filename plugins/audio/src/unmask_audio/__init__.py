"""Masked modelling of sound: spectrograms and waves, on any device."""

__version__ = "0.1.0"
