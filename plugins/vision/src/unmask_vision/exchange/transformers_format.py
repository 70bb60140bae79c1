"""Encoders, with or without their predictors, in the folders that transformers' ``from_pretrained`` reads."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from unmask import MaskedModel
from unmask.api import Export, Format, Map, State, backwards
from unmask_vision.encoders import SwinV2Encoder
from unmask_vision.exchange.names import (
    DECODER_POSITIONS,
    as_in_models,
    check_decoder_positions,
    decoder_positions,
    encoder_map,
    pretraining_map,
)
from unmask_vision.exchange.peers import Peer, encoder_peer, pretraining_peer
from unmask_vision.exchange.pixels import caution, codes, normalized, preprocessing, random_images

TOLERANCE = 1e-4
"""Largest difference from our codes, over the largest of them; seen are some 1e-6 in float32."""


class _Folder(Format):
    needs = ("transformers",)
    install = "unmask-vision[transformers]"
    nearest = "`vision.timm` or `safetensors`"
    parts: tuple[str, ...] = ("encoder.",)
    """Of our model, that it has a place for."""

    @abstractmethod
    def peer(self, model: MaskedModel) -> Peer | str:
        """The model of transformers, or why there is none."""

    @abstractmethod
    def map(self, model: MaskedModel) -> Map:
        """From our names to its."""

    def refusal(self, model: MaskedModel) -> str | None:
        peer = self.peer(model)
        if not isinstance(peer, str):
            return None
        return f"{peer}." if "nearest" in peer else f"{peer}; nearest: {self.nearest}."

    def save(self, export: Export, out: Path) -> str:
        model, peer = export.model, self.peer(export.model)
        assert isinstance(peer, Peer)
        import transformers

        made, options = getattr(transformers, peer.name), self._options(peer)
        theirs = made(getattr(transformers, peer.config)(**peer.sizes), **options)
        theirs.to(next(model.embedder.encoder.parameters()).dtype)
        theirs.load_state_dict(self.weights(model), strict=True)
        mean, std = preprocessing(model)
        height, width = random_images(model).shape[2:]
        processor = transformers.ViTImageProcessor(
            size={"height": height, "width": width}, resample=3, image_mean=mean, image_std=std
        )
        with _quiet(transformers):
            theirs.save_pretrained(out)
            processor.save_pretrained(out)
            read = made.from_pretrained(out, **options)
        difference = _difference(model, read)
        if not difference <= TOLERANCE:
            raise ValueError(f"{peer.name} must compute the encoder's codes, but differs by {difference:.2g} of them.")
        return f"{peer.name}.from_pretrained: codes within {difference:.2g} of the encoder's largest."

    def usage(self, export: Export, out: Path) -> str:
        peer = self.peer(export.model)
        assert isinstance(peer, Peer)
        more = "".join(f", {name}={value}" for name, value in self._options(peer).items())
        return (
            f"from transformers import {peer.name}, ViTImageProcessor\n\n"
            f"model = {peer.name}.from_pretrained({str(out)!r}{more})\n"
            f"processor = ViTImageProcessor.from_pretrained({str(out)!r})"
        )

    def weights(self, model: MaskedModel) -> State:
        """All tensors, under transformers' names."""
        forward, left = self.map(model), self.unheld(model)
        out: State = {}
        for name, tensor in self._own(model).items():
            beit_bias = name.endswith("qkv.bias")  # in part held
            if name.removeprefix("encoder.") not in left or beit_bias:
                out |= {new: part.detach().cpu().contiguous() for new, part in forward(name, tensor).items()}
        return out

    def load(self, weights: State, model: MaskedModel) -> State:
        if not isinstance(model.encoder, SwinV2Encoder):
            weights = as_in_models(weights)
        check_decoder_positions(model, weights)
        own = {name: t for name, t in model.state_dict().items() if name.startswith(self.parts)}
        found = backwards(own, self.map(model), weights)
        found.pop(DECODER_POSITIONS, None)  # fixed, and the same
        return found

    def check(self, source: Path, model: MaskedModel) -> list[str]:
        peer = self.peer(model)
        config = _json(source / "config.json")
        if isinstance(peer, str) or not config:
            return []
        for key in ("num_attention_heads", "num_heads", "hidden_act"):  # what no tensor's size tells
            if key in config and key in peer.sizes and config[key] != peer.sizes[key]:
                raise ValueError(
                    f"`{key}` must be {peer.sizes[key]!r}, as the config's encoder has it, but in "
                    f"`{source / 'config.json'}` it is {config[key]!r}."
                )
        seen = _json(source / "preprocessor_config.json")
        return caution(model, seen.get("image_mean"), seen.get("image_std"))

    def _own(self, model: MaskedModel) -> State:
        return {f"encoder.{name}": tensor for name, tensor in model.embedder.encoder.state_dict().items()}

    def _options(self, peer: Peer) -> dict[str, Any]:
        return {"add_pooling_layer": False}


class Transformers(_Folder):
    """A folder for ``ViTModel``, ``IJepaModel``, ``BeitModel`` or ``Swinv2Model``: the encoder and its processor."""

    def peer(self, model: MaskedModel) -> Peer | str:
        return encoder_peer(model)

    def map(self, model: MaskedModel) -> Map:
        peer = self.peer(model)
        return encoder_map(model, beit=isinstance(peer, Peer) and peer.name == "BeitModel")

    def unheld(self, model: MaskedModel) -> set[str]:
        peer = self.peer(model)
        if isinstance(peer, Peer) and peer.name == "BeitModel":  # the same bias of all keys: softmax takes it away
            return {name for name in model.encoder.state_dict() if name.endswith("attn.qkv.bias")}
        return {"mask_token"}


class TransformersPretraining(_Folder):
    """A folder for ``ViTMAEForPreTraining``, ``ViTForMaskedImageModeling`` or ``Swinv2ForMaskedImageModeling``: the
    encoder with its predictor."""

    parts = ("encoder.", "predictor.")

    def peer(self, model: MaskedModel) -> Peer | str:
        return pretraining_peer(model)

    def map(self, model: MaskedModel) -> Map:
        return pretraining_map(model)

    def unheld(self, model: MaskedModel) -> set[str]:
        peer = self.peer(model)
        return {"mask_token"} if isinstance(peer, Peer) and peer.name == "ViTMAEForPreTraining" else set()

    def weights(self, model: MaskedModel) -> State:
        out = super().weights(model)
        if self.unheld(model):
            out[DECODER_POSITIONS] = decoder_positions(model)
        return out

    def _own(self, model: MaskedModel) -> State:
        return super()._own(model) | {f"predictor.{name}": t for name, t in model.predictor.state_dict().items()}

    def _options(self, peer: Peer) -> dict[str, Any]:
        return {}


@torch.no_grad()
def _difference(model: MaskedModel, theirs: Any) -> float:
    """Largest between codes, over the largest code; nothing is hidden."""
    images = random_images(model)
    expected = codes(model, images)
    base, more = theirs.base_model.eval(), {}
    if theirs.config.model_type == "vit_mae":  # which hides and shuffles patches by noise
        base.config.mask_ratio = 0.0
        num_places = expected.shape[1] - 1
        more["noise"] = torch.arange(num_places).float().expand(len(images), -1)
    got = base(normalized(model, images), **more).last_hidden_state
    return ((expected - got).abs().max() / expected.abs().max()).item() if got.shape == expected.shape else float("inf")


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without progress bars and reports of what a model leaves out on purpose."""
    logging = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
