"""Front ends: waves to features, batched and on the device of the wave."""

from unmask_audio.frontends.fbank import Fbank
from unmask_audio.frontends.frontend import Features, FrontEnd
from unmask_audio.frontends.log_mel import LogMel
from unmask_audio.frontends.mfcc import MFCC

__all__ = ["MFCC", "Fbank", "Features", "FrontEnd", "LogMel"]
