"""Adam whose weight decay is part of the gradient, as GraphMAE's code has it (Kingma & Ba 2014, arXiv:1412.6980)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn, optim

from unmask import Optimization, fused, parameter_groups


@dataclass(frozen=True)
class Adam(Optimization):
    """Core's optimisation with Adam in place of AdamW: ``weight_decay * parameter`` is added to each gradient.

    Decay acts on all parameters, biases and learned tokens too, as in the released code of GraphMAE and MaskGAE.
    """

    def optimizer(self, model: nn.Module, lr: float, weight_decay: float) -> optim.Adam:  # type: ignore[override]
        """Adam over the trainable parameters of ``model``; fused where torch can."""
        groups = parameter_groups(model, lr, weight_decay, self.layer_decay)
        for group in groups:
            group.update(weight_decay=weight_decay, decays=True)
        return fused(optim.Adam, groups, lr=lr, betas=self.betas)
