"""Masked modelling of images: MAE, SimMIM and I-JEPA on timm's encoders."""

__version__ = "0.1.0"
