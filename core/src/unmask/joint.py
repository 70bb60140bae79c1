"""Joint hand-offs: a part that does not know them is called for each of their parts, by one rule for all families."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unmask.parts import Corruption, Encoder, Loss, Predictor, Target, Tokenizer, check_weight
from unmask.step import Given, JointLossValue, LossValue, Shown, Step
from unmask.structures import Latent, Mask, Prediction, Tokens
from unmask.support.stacked import stacked

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


def part_given(given: Given | None, name: str) -> Given | None:
    """Of what a target may read, one part."""
    return None if given is None else _part(given, name)


def _answer(predictor: Predictor, name: str, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
    if predictor.joint:
        return predictor(latent, places, mask).part(name)
    return predictor(latent.part(name), places.part(name), mask.part(name))


def _part(given: Given, name: str) -> Given:
    shown = Shown(given.shown.tokens.part(name), given.shown.mask.part(name), given.shown.made)
    return given._replace(
        batch=batch_of(given.batch, name), shown=shown, latent=given.latent and given.latent.part(name)
    )


def batch_of(batch: Any, name: str) -> Any:
    """A part's own batch where there is one under its name (`unmask.data.DataByPart`), else all of it."""
    own = batch.get(name) if isinstance(batch, Mapping) else None
    return own if isinstance(own, Mapping) else batch


class TokenizerByPart(Tokenizer):
    """Joint tokens: each part of a batch by a tokenizer of its own.

    A part that has a batch of its own under its name, as `unmask.data.DataByPart` makes them, is read from there. Of
    samples that such a batch says are not ``present`` ``[B]``, all tokens are padding.

    Args:
        tokenizers: by the names of parts; the others read the same batch.
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

    @property
    def part_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the parts, in order."""
        return tuple(self.tokenizers)

    def forward(self, batch: Any) -> Tokens:
        return Tokens.join({name: self.tokens_of(name, batch) for name in self.tokenizers})

    def tokens_of(self, name: str, batch: Any) -> Tokens:
        """Tokens of one part."""
        own = self._read(name, batch)
        return _present(self.tokenizers[name](own), own.get("present") if isinstance(own, Mapping) else None)

    def one(self, name: str) -> Tokenizer:
        """What cuts that part alone, of the same batches: for what is used of a part once training is done."""
        return _OnePart(self, name)

    def only(self, names: Sequence[str]) -> TokenizerByPart:
        """The same for some parts alone."""
        inputs = {name: self.inputs[name] for name in names if name in self.inputs}
        return TokenizerByPart({name: self.tokenizers[name] for name in names}, inputs)

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Pictures of the parts that have one, one below the other, under their names.

        Raises:
            NotImplementedError: no part has.
        """
        drawn: dict[str, list[np.ndarray]] = {}
        refusals = []
        for name, own in split_by_part(tokens, hidden).items():
            try:
                drawn[name] = self.tokenizers[name].render(tokens.part(name), own)
            except NotImplementedError as refusal:
                refusals.append(str(refusal))
        if not drawn:
            raise NotImplementedError(" ".join(refusals))
        return stacked(drawn)

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """Those of the parts, by the part's name and the suffix: ``-text.html``."""
        made: dict[str, list[bytes]] = {}
        for name, own in split_by_part(tokens, hidden).items():
            answers = None if prediction is None else (prediction.parts or {}).get(name)
            files = self.tokenizers[name].files(tokens.part(name), own, answers)
            made |= {f"-{name}{suffix}": contents for suffix, contents in files.items()}
        return made

    def raw(self, tokens: Tokens) -> Tensor | None:
        """Raw input of the parts side by side: a part's own, or else its values flattened, or their mean where it has
        padding.

        Raises:
            ValueError: a part of ids, which have no values, without a `raw` of its own.
        """
        return torch.cat([self._raw(name, tokens.part(name)) for name in tokens.parts or ()], dim=1)

    def _raw(self, name: str, tokens: Tokens) -> Tensor:
        tokenizer, values = self.tokenizers[name], tokens.values
        own: Tensor | None = tokenizer.raw(tokens)
        if own is not None:
            return own.float()
        if not values.is_floating_point():
            raise ValueError(
                f"{type(tokenizer).__name__} of `{name}` makes ids, which have no values: it must have a `raw` of its "
                "own."
            )
        if tokens.offsets is not None or tokens.valid is not None:
            return Latent(values.flatten(1 if tokens.offsets is not None else 2).float()).pool("mean", tokens.places)
        return values.flatten(1).float()

    def read(self, name: str, batch: Any) -> Any:
        """What the tokenizer of a part reads of a batch."""
        return self._read(name, batch)

    def _read(self, name: str, batch: Any) -> Any:
        batch = batch_of(batch, name)
        keys = self.inputs.get(name)
        if not keys:
            return batch
        for key in keys.values():
            if key not in batch:
                raise ValueError(f"A batch must have `{key}` for the part `{name}`, but has {', '.join(batch)}.")
        return {**batch, **{own: batch[key] for own, key in keys.items()}}


class _OnePart(Tokenizer):
    """One part of a `TokenizerByPart`, with the same weights."""

    def __init__(self, whole: TokenizerByPart, name: str) -> None:
        super().__init__()
        self.whole, self.name = whole, name

    def forward(self, batch: Any) -> Tokens:
        return self.whole.tokens_of(self.name, batch)

    @property
    def _own(self) -> Tokenizer:
        own: Tokenizer = self.whole.tokenizers[self.name]
        return own

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        return self._own.render(tokens, hidden)

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        return self._own.files(tokens, hidden, prediction)

    def raw(self, tokens: Tokens) -> Tensor | None:
        return self._own.raw(tokens)


def split_by_part(tokens: Tokens, places: Tensor | None) -> dict[str, Tensor | None]:
    """Of some places of joint tokens, as `Mask.join` has them, those of each part: ``[B, N]``, packed ``[T]``."""
    parts = tokens.parts or {}
    if places is None:
        return dict.fromkeys(parts)
    shapes = [part.values.shape[: 1 if part.offsets is not None else 2] for part in parts.values()]
    dense = all(part.offsets is None for part in parts.values())
    sizes = [shape[1] if dense else math.prod(shape) for shape in shapes]
    pieces = places.split(sizes, dim=1 if dense else 0)
    return {name: one.reshape(shape) for name, one, shape in zip(parts, pieces, shapes, strict=True)}


def _present(tokens: Tokens, present: Tensor | None) -> Tokens:
    """The tokens, those of samples that are not there as padding.

    Raises:
        ValueError: packed tokens, which have no padding.
    """
    if present is None:
        return tokens
    if tokens.offsets is not None:
        raise ValueError("Samples that lack a part need dense batches of it; set `pack` of its data to false.")
    valid = torch.ones(len(present), tokens.num_tokens, dtype=torch.bool, device=present.device)
    return replace(tokens, valid=(valid if tokens.valid is None else tokens.valid) & present[:, None])


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
        """D of a sample's vector: those of the parts side by side, for their codes are of spaces of their own."""
        return sum(int(one.width) for one in self.encoders.values())

    @property
    def num_layers(self) -> int:  # type: ignore[override]
        """The fewest of any part's encoder."""
        return min(one.num_layers for one in self.encoders.values())

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Codes of each part; of those only that the tokens have."""
        parts = _known("encoders", self.encoders, names_of(tokens, mask))
        return Latent.join(
            {name: encoded(one, tokens.part(name), mask and mask.part(name), layer) for name, one in parts.items()},
            apart=True,
        )

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        """Codes of several layers of each part's encoder, in one pass where it can."""
        parts = _known("encoders", self.encoders, names_of(tokens, mask))
        codes = {name: one.codes_of(tokens.part(name), mask and mask.part(name), layers) for name, one in parts.items()}
        return [Latent.join({name: codes[name][place] for name in parts}, apart=True) for place in range(len(layers))]

    def one(self, name: str) -> Encoder | None:
        """That part's encoder."""
        own: Encoder = self.encoders[name]
        return own

    def only(self, names: Sequence[str]) -> Encoder:
        """Those of these parts."""
        return EncoderByPart({name: self.encoders[name] for name in names})


class PredictorByPart(Predictor):
    """A predictor of its own for each part, which is given that part's codes.

    One that knows joint hand-offs, such as ``cross-attention``, is given all parts' codes instead.

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
            {name: weighted(_answer(one, name, latent, places, mask), mask.part(name)) for name, one in parts.items()}
        )

    @property
    def reads(self) -> list[int]:  # type: ignore[override]
        """The layers that any of them reads."""
        return sorted({layer for one in self.predictors.values() for layer in one.reads})


class TargetByPart(Target):
    """A target of its own for each part.

    Args:
        targets: by the names of parts; answers are asked of these.

    Raises:
        ValueError: no target, or some that are learned and others that are not; when called, parts of other names.
    """

    joint = True

    def __init__(self, targets: dict[str, Target]) -> None:
        super().__init__()
        if not targets:
            raise ValueError("`targets` must name at least one part, but is empty.")
        if len({one.learned for one in targets.values()}) > 1:
            raise ValueError("`targets` must all be learned with the encoder or none, but some are.")
        self.targets: Any = nn.ModuleDict(targets)

    @property
    def learned(self) -> bool:  # type: ignore[override]
        """Whether they are trained with the encoder."""
        return bool(next(iter(self.targets.values())).learned)

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Any:
        """The right answers of each part that is asked."""
        names = [name for name in names_of(tokens, mask) if _asks(mask, name)]
        parts = _known("targets", self.targets, names)
        return {
            name: one(tokens.part(name), mask.part(name), given and _part(given, name)) for name, one in parts.items()
        }

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor | None:
        """Not called: pictures are of one part, see `part`."""
        raise NotImplementedError

    def part(self, name: str) -> Target:
        """The target of this part."""
        target: Target = self.targets[name]
        return target


class LossByPart(Loss):
    """``sum over parts of weight * loss``, each part by a loss of its own.

    Args:
        losses: by the names of parts; answers are asked of these.
        weights: of parts, at least 0; those not named count 1.
        reduce: what the loss of a part is the mean over: its asked places of the whole ``batch``, or first those of
            each ``sample``, where a sample that is asked nothing does not count (MultiMAE).

    Raises:
        ValueError: no loss, a weight of another part or below 0, or an unknown word; when called, parts of other names.
    """

    joint = True

    def __init__(self, losses: dict[str, Loss], weights: dict[str, float] | None = None, reduce: str = "batch") -> None:
        super().__init__()
        if not losses:
            raise ValueError("`losses` must name at least one part, but is empty.")
        for name, weight in (weights or {}).items():
            if name not in losses:
                raise ValueError(f"`weights` must be of parts {', '.join(losses)}, but one is {name!r}.")
            check_weight(weight)
        if reduce not in ("batch", "sample"):
            raise ValueError(f"`reduce` must be 'batch' or 'sample', but is {reduce!r}.")
        self.losses: Any = nn.ModuleDict(losses)
        self.weights, self.reduce = dict(weights or {}), reduce

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Not called: the losses of the parts compare."""
        raise NotImplementedError

    def forward(self, prediction: Prediction, target: Any, given: Given | None = None) -> LossValue:
        """The sum over parts, and what each came to."""
        answers = prediction.parts or {}
        known = _known("losses", self.losses, list(answers))
        values = {name: one(answers[name], target[name], given and _part(given, name)) for name, one in known.items()}
        if self.reduce == "sample":
            values = {name: self._by_sample(known[name], answers[name], target[name]) for name in values}
        parts = {name: value.total for name, value in values.items()}
        total = torch.stack([self.weights.get(name, 1.0) * value for name, value in parts.items()]).sum()
        per_token = torch.cat([value.per_token.flatten(1) for value in values.values()], dim=1)
        return JointLossValue.of(total, per_token, parts)

    @staticmethod
    def _by_sample(loss: Loss, prediction: Prediction, target: Tensor) -> LossValue:
        valid = prediction.asked.valid
        per_token = loss.per_token(prediction.values, target, valid)  # [B, M]
        real = torch.ones_like(per_token) if valid is None else valid.to(per_token.dtype)
        per_token = per_token.masked_fill(real == 0, 0)
        counts = real.flatten(1).sum(1)  # [B]
        means = per_token.flatten(1).sum(1) / counts.clamp(min=1)
        total = means.sum() / (counts > 0).sum().clamp(min=1)
        return LossValue(total, per_token.detach())


class CorruptionByPart(Corruption):
    """Hidden places of each part are shown in a way of its own: patches dropped, words by a token.

    Args:
        corruptions: by the names of parts.

    Raises:
        ValueError: no corruption; when called, parts of other names.
    """

    def __init__(self, corruptions: dict[str, Corruption]) -> None:
        super().__init__(drop=1)
        if not corruptions:
            raise ValueError("`corruptions` must name at least one part, but is empty.")
        self.corruptions: Any = nn.ModuleDict(corruptions)

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        """What the encoder is given of each part."""
        parts = _known("corruptions", self.corruptions, names_of(tokens, mask))
        shown = {name: one(tokens.part(name), mask.part(name)) for name, one in parts.items()}
        made = {key: value for one in shown.values() for key, value in one.made.items()}
        whole = Mask.join({name: one.mask for name, one in shown.items()})
        whole = replace(whole, num_hidden=mask.num_hidden, draws=mask.draws)
        return Shown(Tokens.join({name: one.tokens for name, one in shown.items()}), whole, made)


def _known(what: str, parts: Mapping[str, Made], names: list[str]) -> dict[str, Made]:
    """Those of these names.

    Raises:
        ValueError: a name that is not there.
    """
    for name in names:
        if name not in parts:
            raise ValueError(f"`{what}` must name each part, {', '.join(names)}, but names {', '.join(parts)}.")
    return {name: parts[name] for name in names}
