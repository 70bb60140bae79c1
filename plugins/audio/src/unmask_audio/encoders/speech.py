"""HuBERT's, wav2vec 2.0's, WavLM's and data2vec's encoders, of transformers, on frames of a wave."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unmask import RANDOM, TOKEN, Encoder, Latent, Mask, Tokens
from unmask_audio.speech.loading import fresh, front_end_of, loaded
from unmask_audio.speech.stem import geometry, joined, run_stem, stem_norm


class SpeechEncoder(Encoder):
    """One code per frame: a convolutional stem, then a transformer with positions by convolution.

    Hidden frames are replaced behind the stem, by one learned vector or by another frame's features (HuBERT, Hsu et
    al. 2021, section II.B). Padded clips have the codes that they have alone.

    Args:
        config: settings of transformers, such as ``{"model_type": "hubert", "hidden_size": 256}``, for a model with
            fresh weights; exactly one of it and ``path`` is given.
        path: a folder of transformers' (or a name of its hub), with weights. Its ``preprocessor_config.json`` tells
            which waves they were trained on: `sample_rate` in Hz, and whether clips are to be normalised (`normalize`).
        stem_gradient: what gradients of the stem are multiplied by, above 0. Paper, base size: 0.1 (wav2vec 2.0,
            section 4.2); large: 1.
        options: settings that replace those at ``path``, such as ``{"layerdrop": 0}``.

    Differs from transformers' models in the first norm of the stem, which there counts padding, too (see `run_stem`),
    and in data2vec's positions, of several convolutions, each of which there sees what the one before made of padding.
    As in the papers, the stem sees the whole wave: a visible frame next to a hidden one sees the samples that their
    windows share (80 of 400), and the stem's norm over time (``feat_extract_norm`` "group") sees all of them.

    Raises:
        ValueError: settings that are incomplete, another kind of model, a factor not above 0; in `forward`, tokens of
            another window than the stem's, a layer out of range, or hidden frames that are dropped.
    """

    model: Any  # a `PreTrainedModel`, of whose parts nothing is declared

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        path: str | None = None,
        stem_gradient: float = 0.1,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (config is None) == (path is None):
            raise ValueError(f"Exactly one of `config` and `path` must be given, but they are {config} and {path!r}.")
        if stem_gradient <= 0:
            raise ValueError(f"`stem_gradient` must be above 0, but is {stem_gradient}.")
        self.model = loaded(path, dict(options or {})) if path else fresh({**(config or {}), **(options or {})})
        settings: Any = self.model.config
        front = front_end_of(path) if path else {}
        self.sample_rate: int | None = front.get("sampling_rate")
        # A stem whose first norm is over time does not depend on the level of a wave.
        self.normalize: bool | None = front.get("do_normalize") if stem_norm(settings) == "layer" else None
        self.stem_gradient = stem_gradient
        self.width: int = settings.hidden_size
        self.stem_width: int = settings.conv_dim[-1]
        self.num_layers: int = settings.num_hidden_layers
        self.window, self.hop = geometry(settings.conv_kernel, settings.conv_stride)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        return self.contextual(self.features(tokens), tokens.valid, mask, layer)

    def features(self, tokens: Tokens) -> Tensor:
        """What the stem makes of all frames, hidden ones included: ``[B, N, C]``."""
        windows = tokens.values  # [B, N, W]
        if windows.shape[-1] != self.window:
            raise ValueError(
                f"`window` of the tokenizer must be {self.window}, what a frame of the encoder's stem sees, "
                f"but is {windows.shape[-1]}."
            )
        real = None if tokens.valid is None else (tokens.valid.sum(1) - 1) * self.hop + self.window  # [B] samples
        wave = joined(windows, self.hop).to(self.model.masked_spec_embed.dtype)
        features = run_stem(self.model.feature_extractor.conv_layers, wave, real)
        if features.requires_grad and self.stem_gradient != 1:
            features.register_hook(lambda gradient: gradient * self.stem_gradient)
        return features

    def contextual(
        self, features: Tensor, valid: Tensor | None = None, mask: Mask | None = None, layer: int | None = None
    ) -> Latent:
        """Codes of frames, from what the stem made of them.

        Args:
            features: ``[B, N, C]``, of which those of hidden frames go no further.
            valid: ``[B, N]`` bool, False at padding; None: all are real.
            mask: what is hidden; None: nothing.
            layer: as in `forward`.
        """
        self.depth(layer)  # refuses one out of range
        x = self.model.feature_projection(features)  # [B, N, D]
        x = x if isinstance(x, Tensor) else x[0]  # wav2vec 2.0 and WavLM give normed features, too
        if mask is not None:
            x = self._shown(x, mask)
        elif valid is not None:
            x = x.clone()  # the model writes zeros at padding
        if layer is None:
            return Latent(self._transformed(x, valid), features=features)
        # Layers above need not run: the one that is asked for ends the forward pass.
        hook = self.model.encoder.layers[layer - 1].register_forward_hook(_stop)
        try:
            self._transformed(x, valid)
        except _Reached as reached:
            return Latent(reached.codes, features=features)
        finally:
            hook.remove()
        raise ValueError(f"Codes of layer {layer} need evaluation mode: in training, `layerdrop` has left it out.")

    def normed(self, features: Tensor) -> Tensor:
        """Features ``[B, N, C]`` as the projection normalises them, which wav2vec 2.0 quantises.

        Raises:
            ValueError: the model's projection does not (``feat_proj_layer_norm`` false).
        """
        norm = getattr(self.model.feature_projection, "layer_norm", None)
        if norm is None:
            raise ValueError("`feat_proj_layer_norm` of the encoder must be true to quantise features, but is false.")
        return norm(features)

    def _shown(self, x: Tensor, mask: Mask) -> Tensor:
        """Projected features ``[B, N, D]`` with a stand-in for each hidden frame."""
        if mask.show is None:
            raise ValueError(
                "`drop` of the corruption must be 0 for `audio.speech`, whose positions come from neighbouring frames, "
                "but is 1; nearest: `token` 1."
            )
        shown, token = x, self.model.masked_spec_embed.to(x.dtype)
        if mask.donor is not None:
            donors = x.gather(1, mask.donor[..., None].expand_as(x))
            shown = torch.where((mask.hidden & (mask.show == RANDOM))[..., None], donors, shown)
        return torch.where((mask.hidden & (mask.show == TOKEN))[..., None], token, shown)

    def _transformed(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Codes of the last layer, normed, of stand-ins and projected features; both ``[B, N, D]``."""
        # Of data2vec's positions by several convolutions, padding is 0 before each, as it is before the first.
        several = getattr(self.model.encoder.pos_conv_embed, "layers", ())
        padding = None if valid is None else ~valid[:, None]  # [B, 1, N]
        hooks = [
            one.register_forward_pre_hook(lambda _, given: (given[0].masked_fill(padding, 0),))
            for one in (several if padding is not None else ())
        ]
        try:
            with warnings.catch_warnings():  # WavLM hands bool and float masks to one function of torch
                warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
                return self.model.encoder(x, attention_mask=valid).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()


class _Reached(Exception):  # noqa: N818
    """Carries a layer's codes out of a forward pass."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes


def _stop(module: nn.Module, arguments: Any, output: Any) -> None:
    raise _Reached(output[0] if isinstance(output, tuple) else output)
