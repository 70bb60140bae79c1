"""What frames are clustered by: cepstra, or a layer of an earlier encoder (HuBERT, Hsu et al. 2021, section III.C)."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from unmask import Tokens
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.frontends import MFCC
from unmask_audio.speech.stem import joined
from unmask_audio.speech.tokenizer import WaveTokenizer


class Cepstra(nn.Module):
    """39 numbers per frame: 13 cepstral coefficients of the frame's own window, with first and second slopes.

    Slopes are taken over frames half a hop apart: at 16 kHz every 10 ms, as in the paper, of which every other one
    is a token's.

    Args:
        tokenizer: of the tokens to come.

    Raises:
        ValueError: an odd hop.
    """

    def __init__(self, tokenizer: WaveTokenizer) -> None:
        super().__init__()
        rate, self.hop = tokenizer.sample_rate, tokenizer.hop
        if self.hop % 2:
            raise ValueError(f"`hop` must be even for cepstra of frames half a hop apart, but is {self.hop}.")
        window_ms, hop_ms = (1000 * (samples + 0.5) / rate for samples in (tokenizer.window, self.hop // 2))
        self.mfcc = MFCC(rate, deltas=True, window_ms=window_ms, hop_ms=hop_ms)  # which rounds them down
        self.width = self.mfcc.width

    def forward(self, tokens: Tokens) -> Tensor:
        """``[B, N, F]``."""
        windows = tokens.values
        length = None if tokens.valid is None else (tokens.valid.sum(1) - 1) * self.hop + windows.shape[-1]  # [B]
        return self.mfcc(joined(windows, self.hop), length).values[:, ::2]

    def fingerprint(self) -> str:
        """The same for the same features only."""
        return f"cepstra {self.mfcc.sample_rate} Hz, hop {self.hop}, window {len(self.mfcc.window())}"


class LayerCodes(nn.Module):
    """Codes of one layer of a frozen encoder that sees everything, always in evaluation mode and in float32.

    Args:
        encoder: kept, not copied.
        layer: in [1, its number of layers].

    Raises:
        ValueError: a layer out of range.
    """

    def __init__(self, encoder: SpeechEncoder, layer: int) -> None:
        super().__init__()
        encoder.depth(layer)  # refuses one out of range
        self.encoder = encoder.requires_grad_(False).eval()
        self.layer = layer
        self.width = encoder.width

    def train(self, mode: bool = True) -> LayerCodes:
        return super().train(False)

    def forward(self, tokens: Tokens) -> Tensor:
        """``[B, N, F]``."""
        with torch.autocast(tokens.values.device.type, enabled=False):
            return self.encoder(tokens, layer=self.layer).values

    def fingerprint(self) -> str:
        """The same for the same features only."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in self.encoder.state_dict().items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return f"layer {self.layer} of {digest.hexdigest()}"
