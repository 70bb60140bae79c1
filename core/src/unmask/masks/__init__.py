"""Masks by geometry: each works on any modality whose tokens lie that way."""

from unmask.masks.apart import ApartMask
from unmask.masks.block import BlockMask
from unmask.masks.by_part import MaskByPart
from unmask.masks.color_noise import ColorNoiseMask
from unmask.masks.diffusion import DiffusionMask
from unmask.masks.grid import GridMask
from unmask.masks.hard import HardMask
from unmask.masks.multi_block import MultiBlockMask, between, cells
from unmask.masks.nothing import NoMask
from unmask.masks.random import RandomMask, lowest
from unmask.masks.span import SpanMask
from unmask.masks.tube import TubeMask

__all__ = [
    "BlockMask",
    "ColorNoiseMask",
    "DiffusionMask",
    "ApartMask",
    "GridMask",
    "HardMask",
    "MaskByPart",
    "MultiBlockMask",
    "NoMask",
    "RandomMask",
    "SpanMask",
    "TubeMask",
    "between",
    "cells",
    "lowest",
]
