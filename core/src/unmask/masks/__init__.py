"""Masks by geometry: each works on any modality whose tokens lie that way."""

from unmask.masks.apart import ApartMask
from unmask.masks.block import BlockMask
from unmask.masks.boxes import BoxMask
from unmask.masks.by_part import MaskByPart
from unmask.masks.color_noise import ColorNoiseMask
from unmask.masks.diffusion import DiffusionMask
from unmask.masks.disjoint import DisjointMask
from unmask.masks.every import EveryMask
from unmask.masks.grid import GridMask
from unmask.masks.hard import HardMask
from unmask.masks.inside import InsideMask
from unmask.masks.irregular import IrregularMask
from unmask.masks.multi_block import MultiBlockMask, between, cells
from unmask.masks.nothing import NoMask
from unmask.masks.partition import PartitionMask
from unmask.masks.prefix import PrefixMask
from unmask.masks.random import RandomMask, lowest
from unmask.masks.region import RegionMask
from unmask.masks.scored import ScoredMask, by_score, shares_of
from unmask.masks.scorers import AttentionScorer, Scorer
from unmask.masks.several import SeveralMasks
from unmask.masks.span import SpanMask
from unmask.masks.tube import TubeMask

__all__ = [
    "ApartMask",
    "AttentionScorer",
    "BlockMask",
    "BoxMask",
    "ColorNoiseMask",
    "DiffusionMask",
    "DisjointMask",
    "EveryMask",
    "GridMask",
    "HardMask",
    "InsideMask",
    "IrregularMask",
    "MaskByPart",
    "MultiBlockMask",
    "NoMask",
    "PartitionMask",
    "PrefixMask",
    "RandomMask",
    "RegionMask",
    "ScoredMask",
    "Scorer",
    "SeveralMasks",
    "SpanMask",
    "TubeMask",
    "between",
    "by_score",
    "cells",
    "lowest",
    "shares_of",
]
