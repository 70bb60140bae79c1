"""Added token: a learned vector on hidden cells of a map inside a network (A2MIM, Li et al. 2022, arXiv:2205.13943)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AddedToken(nn.Module):
    """Adds ``share_of_hidden * token`` to a map ``[B, C, rows, columns]``, by a hook on the module that makes it.

    Patches lie on a grid of their own; a cell of the map that covers several has as much as the share of them that is
    hidden.

    Args:
        width: C of the map.
    """

    hidden: Tensor | None = None
    """Which patches are hidden ``[B, r, c]`` bool; None: nothing is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.token, std=0.02)

    @classmethod
    def to_map(cls, net: Any, stride: int) -> AddedToken:
        """One that is added to the map of this stride of a timm model.

        Raises:
            ValueError: the model has no such map.
        """
        modules = dict(net.named_modules())
        maps = {info["reduction"]: info for info in net.feature_info if info["module"] in modules}
        if stride not in maps or getattr(net, "output_fmt", "NCHW") != "NCHW":
            known = sorted(maps) if getattr(net, "output_fmt", "NCHW") == "NCHW" else []
            raise ValueError(
                f"`added_token` must be a stride of the model's maps of channels first, {known}, but is {stride}."
            )
        made = cls(maps[stride]["num_chs"])
        modules[maps[stride]["module"]].register_forward_hook(made.add)
        return made

    def add(self, module: nn.Module, given: Any, out: Tensor) -> Tensor:
        """The map with the token, as a forward hook has it."""
        if self.hidden is None:
            return out
        share = F.interpolate(self.hidden[:, None].to(out.dtype), out.shape[2:], mode="area")  # [B, 1, rows, columns]
        return out + share * self.token.to(out.dtype)[:, None, None]

    def forward(self, *args: Any) -> Any:
        """Not called: the hook is."""
        raise NotImplementedError
