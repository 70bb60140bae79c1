"""Counting a corpus once, for masks that need to know what goes together: PMI-Masking and InforMask."""

from unmask_text.counting.collocations import count_collocations
from unmask_text.counting.pairs import count_pairs

__all__ = ["count_collocations", "count_pairs"]
