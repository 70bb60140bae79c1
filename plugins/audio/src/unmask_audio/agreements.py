"""What a model of sounds and its data must agree on: the rate of the waves, and the length of a window."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import lightning as L
import torch

from unmask.agreements import Agreement
from unmask_audio.data.module import AudioData
from unmask_audio.frontends import Fbank
from unmask_audio.frontends.frontend import SAMPLE_RATE

MOST_LOST = 0.1
"""Greatest share of a window that is cut off, and of a grid that remains empty. Of Audio-MAE's, 2.5% do."""
ROUNDED = 0.025
"""Share of a window that is cut off without a word. A second has 98 frames, of which whole patches hold 96."""

Otherwise = Literal["refused", "made to agree", "told"]


class SampleRate(Agreement):
    """`data.sample_rate` must be the `sample_rate` of the tokenizer or of its front end; another one is refused.

    The data module resamples all sounds to its own. A front end takes the waves that it is given for waves of its own.
    In a config, a front end of a tokenizer that names no rate gets that of the data.
    """

    between: ClassVar[tuple[str, str]] = ("data.sample_rate", "model.tokenizer.frontend.sample_rate")
    otherwise: ClassVar[Otherwise] = "refused"

    @classmethod
    def fill(cls, model: Any, data: Any) -> str | None:
        rate = data.init_args.get("sample_rate")
        tokenizer = model.init_args.get("tokenizer")
        options = getattr(tokenizer, "init_args", None)
        if options is None or "frontend" not in options or rate in (None, SAMPLE_RATE):
            return None
        frontend, kind = options.frontend, type(options)
        if frontend is None:
            path = f"{Fbank.__module__}.{Fbank.__qualname__}"
            options.frontend = kind(class_path=path, init_args=kind(sample_rate=rate))
        elif "init_args" in frontend and frontend.init_args.get("sample_rate", rate) is None:
            frontend.init_args.sample_rate = rate
        else:
            return None
        return f"`model.tokenizer.frontend.sample_rate` is {rate}, that of `data.sample_rate`."

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        tokenizer = getattr(model, "tokenizer", None)
        frontend = getattr(tokenizer, "frontend", None)
        option = "model.tokenizer" + (".frontend" if frontend is not None else "")
        wanted = getattr(tokenizer if frontend is None else frontend, "sample_rate", None)
        given = getattr(data, "sample_rate", None)
        if None not in (wanted, given) and wanted != given:
            raise ValueError(
                f"`data.sample_rate` must be {wanted}, the `{option}.sample_rate`, but is {given}; sounds of any rate "
                "are resampled to it, or give the front end that rate."
            )
        return None


class WindowLength(Agreement):
    """`data.seconds` must give as many frames as `model.tokenizer.num_frames` has, to a tenth; else it is refused.
    Within that tenth, more than a fortieth that is cut off is told.

    Less than a patch is never odd, and a tenth of the grid may remain empty.
    """

    between: ClassVar[tuple[str, str]] = ("data.seconds", "model.tokenizer.num_frames")
    otherwise: ClassVar[Otherwise] = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        tokenizer: Any = getattr(model, "tokenizer", None)
        frontend, num_frames = getattr(tokenizer, "frontend", None), getattr(tokenizer, "num_frames", None)
        if frontend is None or num_frames is None or not isinstance(data, AudioData):
            return None
        found, patch = int(frontend.count(torch.tensor(data.num_samples))), tokenizer.patch[0]
        lost = abs(found - num_frames) / max(found, num_frames) if abs(found - num_frames) >= patch else 0.0
        seconds = f"{data.num_samples / data.sample_rate:g}"
        what, how = f"the last {lost:.0%} of every window", "cut off"
        if found < num_frames:
            what, how = f"{lost:.0%} of the tokens", "empty"
        if lost > MOST_LOST:
            raise ValueError(
                f"`data.seconds` must be about {num_frames * frontend.hop / frontend.sample_rate:.4g}, for "
                f"`model.tokenizer.num_frames` is {num_frames}, but is {seconds}: {what} would be {how}. "
                f"Or set `num_frames` to {max(found // patch, 1) * patch}."
            )
        if lost > ROUNDED and found > num_frames:
            return (
                f"`data.seconds` is {seconds}, {found:,} frames, of which `model.tokenizer.num_frames` keeps "
                f"{num_frames:,}: {what} is {how}."
            )
        return None
