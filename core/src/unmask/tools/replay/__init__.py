"""A step that was not finite, taken again: the same batch, weights, masks, dropout and precision, with every module
watched."""

from unmask.tools.replay.again import Replayed, replay

__all__ = ["Replayed", "replay"]
