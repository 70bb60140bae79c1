"""Masks that know words, and what the words are."""

from unmask_text.masks.function_words import FunctionWordMask
from unmask_text.masks.informask import InforMask
from unmask_text.masks.pmi import PMIMask
from unmask_text.masks.salient import SalientMask
from unmask_text.masks.span import WordSpanMask
from unmask_text.masks.whole_word import WholeWordMask

__all__ = ["FunctionWordMask", "InforMask", "PMIMask", "SalientMask", "WholeWordMask", "WordSpanMask"]
