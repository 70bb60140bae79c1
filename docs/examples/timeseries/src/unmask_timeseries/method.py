"""PatchTST: patches of each channel are hidden, and their values predicted (Nie et al. 2022, arXiv:2211.14730)."""

from __future__ import annotations

from unmask import Corruption, Loss, MaskSampler, Method, Optimization, Target
from unmask.losses import MSELoss
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget

from unmask_timeseries.encoder import PatchTSTEncoder
from unmask_timeseries.mask import ChannelMask
from unmask_timeseries.tokenizer import SeriesTokenizer


class PatchTST(Method):
    """One linear layer on the codes of hidden patches predicts their values.

    ``loss = mean over hidden patches of mean((W code + b - normalised values)^2)``

    Args:
        patch_size: time steps of a token (section 4.2: 12, without overlap).
        length: time steps of a series (section 4.2: 512).
        mask: 40% of each channel's patches (section 4.2).
        encoder: None: 3 layers of width 128 with 16 heads (appendix A.1.4), MLPs of 256.
        target: the values, in units of their channel.
        loss: squared error (section 3.2).
        corruption: hidden patches are shown as zeros.
        optim: optimiser and schedule.

    Differs from the paper in its encoder: see there.
    """

    patch_size: int = 12
    length: int = 512
    mask: MaskSampler = ChannelMask(ratio=0.4)
    target: Target = ValueTarget()
    loss: Loss = MSELoss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=1e-4)

    encoder_options = ()  # both lengths are the tokenizer's, too

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or SeriesTokenizer(self.patch_size)
        self.encoder = self.encoder or PatchTSTEncoder(self.patch_size, self.length // self.patch_size, mlp_ratio=2.0)
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, self.patch_size)
