"""Where samples of several modalities come from."""

from unmask_multimodal.data.captioned_digits import CaptionedDigits

__all__ = ["CaptionedDigits"]
