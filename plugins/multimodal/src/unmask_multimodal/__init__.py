"""Several modalities of the same samples: parts of other plugins, joined by their registered names."""

__version__ = "0.1.0"
