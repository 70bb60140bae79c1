"""Joint hand-offs: a part that does not know them is called for each of their parts, by one rule for all families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unmask.parts import Encoder, Loss, Predictor, Target, Tokenizer
from unmask.step import Given, LossValue, Shown, Step
from unmask.structures import Latent, Mask, Prediction, Tokens

Made = TypeVar("Made")


def names_of(tokens: Tokens, mask: Mask | None = None) -> list[str]:
    """Names of the parts of joint tokens, or of several masks of the same tokens; empty where nothing is joint."""
    return list(tokens.parts or (mask is not None and mask.parts) or ())


def encoded(encoder: Encoder, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
    """Codes by an encoder that may know joint hand-offs or not; parts share it then."""
    names = () if encoder.joint else names_of(tokens, mask)
    if not names:
        return encoder(tokens, mask, layer) if layer is not None else encoder(tokens, mask)
    parts = {name: encoded(encoder, tokens.part(name), mask and mask.part(name), layer) for name in names}
    return Latent.join(parts)


def encoded_with_layers(encoder: Encoder, tokens: Tokens, mask: Mask | None, layers: Sequence[int]) -> Latent:
    """As `encoded`, and the codes of further layers with it, in one pass where the encoder can."""
    if not layers:
        return encoded(encoder, tokens, mask)
    names = () if encoder.joint else names_of(tokens, mask)
    if names:
        return Latent.join(
            {name: encoded_with_layers(encoder, tokens.part(name), mask and mask.part(name), layers) for name in names}
        )
    last, *further = encoder.codes_of(tokens, mask, [None, *layers])
    return replace(last, inner=dict(zip(layers, further, strict=True)))


def wanted(target: Target, tokens: Tokens, mask: Mask, given: Given) -> Tensor | dict[str, Tensor]:
    """The right answers, by part where answers are asked of several."""
    names = () if target.joint else names_of(tokens, mask)
    if not names:
        return target(tokens, mask, given)
    return {name: target(tokens.part(name), mask.part(name), _part(given, name)) for name in names if _asks(mask, name)}


def answered(predictor: Predictor, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
    """Answers, by part where they are asked of several."""
    names = () if predictor.joint else names_of(places, mask)
    if not names:
        return weighted(predictor(latent, places, mask), mask)
    return Prediction.join(
        {
            name: weighted(predictor(latent.part(name), places.part(name), mask.part(name)), mask.part(name))
            for name in names
            if _asks(mask, name)
        }
    )


def weighted(prediction: Prediction, mask: Mask) -> Prediction:
    """The answers with the weights that the mask gives to their places, if it gives any."""
    if mask.weight is None:
        return prediction
    return replace(prediction, weights=prediction.asked.gather(mask.weight))


def compared(loss: Loss, prediction: Prediction, target: Tensor | Mapping[str, Tensor], given: Given) -> LossValue:
    """The loss, the mean over parts where there are several."""
    if loss.joint or prediction.parts is None:
        right = target if prediction.parts is not None or isinstance(target, Tensor) else next(iter(target.values()))
        return loss(prediction, right, given)
    assert not isinstance(target, Tensor)
    values = [loss(part, target[name], _part(given, name)) for name, part in prediction.parts.items()]
    per_token = [value.per_token.flatten(1) if value.per_token.ndim > 1 else value.per_token for value in values]
    total = torch.stack([value.total for value in values]).mean()
    return LossValue(total, torch.cat(per_token, dim=-1))


def step_of_one_part(step: Step) -> Step:
    """Of a joint step, the first part that answers are asked of; else the step as it is. Codes of several parts stay
    together, for a predictor may read them all; those of several masks of the same tokens do not."""
    if step.prediction is None or step.prediction.parts is None:
        return step
    name, prediction = next(iter(step.prediction.parts.items()))
    index = prediction.asked.index
    loss = step.loss.per_token  # of all parts, one after the other
    own = loss[:, : index[0].numel()] if index.ndim > 1 else loss[: len(index)]
    return step._replace(
        tokens=step.tokens.part(name),
        mask=step.mask.part(name),
        latent=step.latent.part(name) if step.tokens.parts is None else step.latent,
        target=step.target[name] if isinstance(step.target, Mapping) else step.target,
        prediction=prediction,
        loss=step.loss._replace(per_token=own.reshape(index.shape)),
    )


def _asks(mask: Mask, name: str) -> bool:
    return mask.part(name).asks


def _part(given: Given, name: str) -> Given:
    shown = Shown(given.shown.tokens.part(name), given.shown.mask.part(name), given.shown.made)
    return given._replace(shown=shown, latent=given.latent and given.latent.part(name))


class TokenizerByPart(Tokenizer):
    """Joint tokens: each part of a batch by a tokenizer of its own.

    Args:
        tokenizers: by the names of parts; all of them read the same batch.
        inputs: what of the batch a tokenizer reads under another name: ``{part: {its key: the batch's}}``. A view
            ``local`` of images is ``{"local": {"image": "local"}}``.

    Raises:
        ValueError: no tokenizer, or inputs of another part; when called, a batch without such a key.
    """

    def __init__(self, tokenizers: dict[str, Tokenizer], inputs: dict[str, dict[str, str]] | None = None) -> None:
        super().__init__()
        if not tokenizers:
            raise ValueError("`tokenizers` must name at least one part, but is empty.")
        for name in inputs or {}:
            if name not in tokenizers:
                raise ValueError(f"`inputs` must be of parts {', '.join(tokenizers)}, but one is {name!r}.")
        self.tokenizers: Any = nn.ModuleDict(tokenizers)
        self.inputs = dict(inputs or {})

    def forward(self, batch: Any) -> Tokens:
        return Tokens.join({name: one(self._read(name, batch)) for name, one in self.tokenizers.items()})

    def _read(self, name: str, batch: Any) -> Any:
        keys = self.inputs.get(name)
        if not keys:
            return batch
        for key in keys.values():
            if key not in batch:
                raise ValueError(f"A batch must have `{key}` for the part `{name}`, but has {', '.join(batch)}.")
        return {**batch, **{own: batch[key] for own, key in keys.items()}}


class EncoderByPart(Encoder):
    """An encoder of its own for each part: an image by one, its caption by another.

    Args:
        encoders: by the names of parts.

    Raises:
        ValueError: no encoder; when called, parts of other names.
    """

    joint = True

    def __init__(self, encoders: dict[str, Encoder]) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("`encoders` must name at least one part, but is empty.")
        self.encoders: Any = nn.ModuleDict(encoders)

    @property
    def width(self) -> int:  # type: ignore[override]
        """D of the first part's codes."""
        return int(next(iter(self.encoders.values())).width)

    @property
    def num_layers(self) -> int:  # type: ignore[override]
        """The fewest of any part's encoder."""
        return min(one.num_layers for one in self.encoders.values())

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Codes of each part; of those only that the tokens have."""
        parts = _known("encoders", self.encoders, names_of(tokens, mask))
        return Latent.join(
            {name: encoded(one, tokens.part(name), mask and mask.part(name), layer) for name, one in parts.items()}
        )


class PredictorByPart(Predictor):
    """A predictor of its own for each part, which is given that part's codes alone.

    Args:
        predictors: by the names of parts; answers are asked of these.

    Raises:
        ValueError: no predictor; when called, parts of other names.
    """

    joint = True

    def __init__(self, predictors: dict[str, Predictor]) -> None:
        super().__init__()
        if not predictors:
            raise ValueError("`predictors` must name at least one part, but is empty.")
        self.predictors: Any = nn.ModuleDict(predictors)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        """Answers of each part at its asked places."""
        names = [name for name in names_of(places, mask) if _asks(mask, name)]
        parts = _known("predictors", self.predictors, names)
        return Prediction.join(
            {name: one(latent.part(name), places.part(name), mask.part(name)) for name, one in parts.items()}
        )


def _known(what: str, parts: Mapping[str, Made], names: list[str]) -> dict[str, Made]:
    """Those of these names.

    Raises:
        ValueError: a name that is not there.
    """
    for name in names:
        if name not in parts:
            raise ValueError(f"`{what}` must name each part, {', '.join(names)}, but names {', '.join(parts)}.")
    return {name: parts[name] for name in names}
