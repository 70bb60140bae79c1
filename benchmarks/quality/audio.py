"""What methods learn on real spoken digits in 15 CPU minutes, beside log-mel spectra, an untrained encoder and a peer.

Each speaker is left out once: a model is trained on the clips of the others alone, codes are probed or fine-tuned
with their labels, and the one left out is scored. The budget is the CPU time of this process on one thread, of all
speakers' models together, for each method and seed; HuBERT's holds both of its iterations.

Every clip's log-mel values are brought to mean 0 and one spread: speakers recorded at other levels. Codes are read out
twice, as their mean over the clip, and as the means of ``--stretches`` even stretches of it, which keeps the order of
time; logistic regression classifies them with all labels and with 10 and 50 per class, and raw input likewise. Its
strength is chosen by leaving out speakers of the training clips.
Fine-tuning is of the same encoder, pretrained and from scratch, with 10 and 50 labels per class. The peer is
transformers' `ViTMAEForPreTraining` of the same size on the same spectrograms, its position tables filled in.

    python benchmarks/quality/audio.py FOLDER [--methods audio-mae a-jepa hubert vit-mae] [--seeds 0 1 2]
        [--budget_s 900] [--set lr=2e-3] [--finetune_steps 300] [--out FILE]
    python benchmarks/quality/audio.py FOLDER --search [--budget_s 120]

FOLDER holds sounds named ``DIGIT_SPEAKER_NUMBER.wav`` (Free Spoken Digit Dataset, Jackson 2016). ``--search`` changes
one setting of Audio-MAE at a time and compares probes on speakers left out of the training speakers; the speaker left
out of them all is not looked at. Each seed's figures are appended to ``--out``, and a seed that is there is not run
again.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from audio_digits import RATE, Digits, Filled, Scaled, speakers_of
from audio_peer import Peer, fit_peer
from audio_readouts import accuracy, drawn_from, extracted
from budget import PRECISION, fit
from settings import Changeable, lines, prepare
from torch import Tensor, nn

from unmask import MaskedModel, Optimization
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.schedules import Linear
from unmask.structures import Grid
from unmask.targets import EMATeacher
from unmask.tools.finetune import Settings, finetune
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.frontends import Fbank
from unmask_audio.methods.a_jepa import AJEPA
from unmask_audio.methods.audio_mae import AudioMAE
from unmask_audio.methods.hubert import HuBERT
from unmask_audio.methods.speech_sizes import SIZES
from unmask_audio.speech.tokenizer import WaveTokenizer
from unmask_audio.tokenizer import SpectrogramTokenizer

METHODS = ("audio-mae", "a-jepa", "hubert", "vit-mae")
RAW, UNTRAINED, PRETRAINED = COLUMNS = ("raw log-mel", "untrained", "pretrained")
BINS, FRAMES = 64, 96
"""Mel bins; frames of a window."""
MEAN, STD = -7.0, 3.7
"""Of the log-mel values of these clips, rounded: each clip is brought to mean 0 and one spread anyway."""
SPEECH = {
    "model_type": "hubert",
    **SIZES["tiny"],
    "num_hidden_layers": 3,
    "conv_dim": (32, 64, 128),
    "conv_kernel": (50, 8, 4),
    "conv_stride": (10, 4, 4),
    "attn_implementation": "eager",
}
"""HuBERT's encoder: frames of 30 ms every 20 ms. On a CPU, plain attention is quicker on clips this short."""
LABELS, DRAWS = (10, 50), 5
"""Labels of each digit, and how often they are drawn."""
CLIP = 5.0
"""Greatest norm of a gradient. Training is in bfloat16, codes are read out in float32."""
FIRST_SHARE = 0.4
"""Of HuBERT's budget, for its first iteration."""


@dataclass(frozen=True)
class Setting(Changeable):
    """What is trained; `SEARCH` has what else was tried.

    HuBERT is asked about ``visible`` frames, too: it learns far more of so few steps so, though its paper (table V)
    finds that they do harm where clusters are poor.
    """

    frames: int = 4
    bins: int = 64
    width: int = 128
    depth: int = 4
    decoder_width: int = 64
    decoder_depth: int = 2
    ratio: float = 0.5
    batch: int = 64
    lr: float = 1e-3
    clusters: int = 50
    visible: float = 1.0
    momentum: float = 0.996
    scale: float = 1.0


SETTINGS = {
    "audio-mae": Setting(),
    "a-jepa": Setting(bins=32, batch=32, scale=4),
    "hubert": Setting(batch=32),
    "vit-mae": Setting(),
}
SEARCH = ("lr=1e-3", "lr=5e-4", "lr=2e-3", "batch=32", "ratio=0.6", "ratio=0.7", "frames=2", "frames=8", "bins=16",
          "bins=32", "depth=3", "depth=6", "decoder_depth=1", "decoder_width=128")  # fmt: skip
"""The first is what stands."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget_s", type=float, default=900, help="CPU seconds for each method and seed")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--stretches", type=int, default=8, help="parts of a clip whose codes are averaged")
    parser.add_argument("--finetune_steps", type=int, default=300, help="0: no fine-tuning")
    parser.add_argument("--search", action="store_true", help="one setting at a time, with Audio-MAE")
    parser.add_argument("--out", type=Path, default=Path("audio-quality.jsonl"), help="a line per method and seed")
    arguments = parser.parse_args()
    prepare()
    speakers = speakers_of(arguments.folder)

    if arguments.search:
        for word in SEARCH:
            changed = SETTINGS["audio-mae"].changed([*arguments.set, word])
            scores: list[dict[str, float]] = []
            for speaker in speakers[1:]:
                data = Digits(arguments.folder, [one for one in speakers[1:] if one != speaker], speaker, changed.batch)
                budget_s = arguments.budget_s / len(speakers[1:])
                model, told = trained("audio-mae", data, changed, budget_s, 0)
                rows = probed(model, None, data, arguments.stretches, 0, ())
                scores.append({name: row[PRETRAINED] for name, row in rows.items()})
            means = ", ".join(f"{name} {np.mean([one[name] for one in scores]):.3f}" for name in scores[0])
            print(f"{word:18s} {means}  ({told})", flush=True)
        return

    for method in arguments.methods:
        setting = SETTINGS[method].changed(arguments.set)
        key = {"method": method, "budget_s": arguments.budget_s, "stretches": arguments.stretches}
        key |= {"finetune_steps": arguments.finetune_steps} | asdict(setting)
        print("\n" + ", ".join(f"{name} {value}" for name, value in key.items()), flush=True)
        for seed in arguments.seeds:
            if any(one["seed"] == seed for one in lines(arguments.out, key)):
                continue
            found, about = [], []
            for speaker in speakers:
                data = Digits(arguments.folder, [one for one in speakers if one != speaker], speaker, setting.batch)
                untrained = model_of(method, setting, seed)
                model, told = trained(method, data, setting, arguments.budget_s / len(speakers), seed)
                about.append(told)
                print(f"  seed {seed}, without {speaker}: {told}", flush=True)
                scores = probed(model, untrained, data, arguments.stretches, seed)
                if arguments.finetune_steps and isinstance(model, MaskedModel):
                    scores |= finetuned(model, method, setting, data, arguments.finetune_steps, seed)
                found.append(scores)
            with arguments.out.open("a") as file:
                file.write(
                    json.dumps(key | {"seed": seed, "about": about, "speakers": speakers, "scores": found}) + "\n"
                )
        show([one for one in lines(arguments.out, key) if one["seed"] in arguments.seeds])


def model_of(method: str, setting: Setting, seed: int, teacher: MaskedModel | None = None) -> Any:
    """A fresh one, the same for the same seed."""
    L.seed_everything(seed, verbose=False)
    patch, width, heads = (setting.frames, setting.bins), setting.width, setting.width // 32
    of_clips: Any = (Fbank(RATE, BINS, high_hz=RATE / 2), FRAMES, patch, MEAN, STD, True)
    tokenizer = Filled(*of_clips) if method == "vit-mae" else Scaled(*of_clips, scale=setting.scale)
    optim = optim_of(setting)
    ends = (setting.decoder_width, setting.decoder_depth, setting.decoder_width // 16)
    if method == "vit-mae":
        return Peer(tokenizer, (width, setting.depth, heads), ends, setting.ratio)
    if method == "hubert":
        speech = SpeechEncoder(SPEECH)
        frames = WaveTokenizer(speech.window, speech.hop, RATE)
        of_teacher = {} if teacher is None else {"teacher": copy.deepcopy(teacher.encoder), "teacher_layer": 2}
        common = {"encoder": speech, "tokenizer": frames, "optim": optim}
        return HuBERT(
            **common, num_clusters=setting.clusters, num_frames=50_000, visible_weight=setting.visible, **of_teacher
        )
    encoder = SpectrogramViT(width, setting.depth, heads, math.prod(patch), class_token=method == "audio-mae")
    common = {"patch": patch, "tokenizer": tokenizer, "encoder": encoder, "optim": optim}
    if method == "a-jepa":
        teacher_of_codes = EMATeacher(Linear(start=setting.momentum, end=1.0))
        return AJEPA(**common, target=teacher_of_codes, predictor=TransformerPredictor(width, width, *ends))
    return AudioMAE(
        **common, mask=RandomMask(setting.ratio), predictor=TransformerPredictor(width, math.prod(patch), *ends)
    )


def optim_of(setting: Setting) -> Optimization:
    return Optimization(base_lr=setting.lr, scale_lr=False, warmup_steps=60)


def trained(method: str, data: Digits, setting: Setting, budget_s: float, seed: int) -> tuple[Any, str]:
    """The model, and how long that took."""
    model = model_of(method, setting, seed)
    if method == "vit-mae":
        return model, fit_peer(model, data, optim_of(setting), budget_s, seed)
    if method != "hubert":
        return model, fit(model, data, budget_s, seed, CLIP)
    first = fit(model, data, FIRST_SHARE * budget_s, seed, CLIP)
    second = model_of(method, setting, seed, teacher=model)
    return second, f"first iteration {first}; " + fit(second, data, (1 - FIRST_SHARE) * budget_s, seed, CLIP)


def codes_of(model: Any) -> tuple[Callable[[Any], Tensor], nn.Module]:
    """How to get codes ``[B, T, D]`` of a batch, those of all its frequencies one after the other; and the module."""
    if isinstance(model, Peer):
        return lambda batch: model.codes(batch).flatten(2), model

    def codes(batch: Any) -> Tensor:
        latent = model.embed(batch)
        values, layout = latent.values, latent.places.layout
        times = layout.shape[0] if isinstance(layout, Grid) else values.shape[1]
        return values.unflatten(1, (times, -1)).flatten(2)

    return codes, model


def probed(
    model: Any, untrained: Any, data: Digits, stretches: int, seed: int, few: tuple[int, ...] = LABELS
) -> dict[str, dict[str, float]]:
    """By row and column, an accuracy on the speaker left out; of few labels, the mean over draws of them."""
    tokenizer = SpectrogramTokenizer(Fbank(RATE, BINS, high_hz=RATE / 2), FRAMES, (1, BINS), MEAN, STD, per_clip=True)
    makers: dict[str, Any] = {RAW: (lambda batch: tokenizer(batch).values, tokenizer), PRETRAINED: codes_of(model)}
    if untrained is not None:
        makers |= {UNTRAINED: codes_of(untrained)}
    rows: dict[str, dict[str, float]] = {}
    for name in (name for name in COLUMNS if name in makers):
        for number, (train, test) in zip((1, stretches), extracted(*makers[name], data, (1, stretches)), strict=True):
            what = "mean code" if number == 1 else f"{number} stretches"
            rows.setdefault(f"{what}, all labels", {})[name] = accuracy(train, test)
            for each in few:
                drawn = [drawn_from(train, each, np.random.default_rng((seed, draw))) for draw in range(DRAWS)]
                mean = float(np.mean([accuracy(part, test) for part in drawn]))
                rows.setdefault(f"{what}, {each} per class", {})[name] = mean
    return rows


def finetuned(
    model: MaskedModel, method: str, setting: Setting, data: Digits, steps: int, seed: int
) -> dict[str, dict[str, float]]:
    """The encoder with a head on the mean code, from scratch and pretrained."""
    settings = Settings(batch_size=32, max_steps=steps, patience=0, lr=8e-3, augment=False, precision=PRECISION)
    result = finetune(
        data, pretrained=model, scratch=lambda one: model_of(method, setting, one), seeds=(seed,),
        labels_per_class=LABELS, settings=settings,
    )  # fmt: skip
    rows: dict[str, dict[str, float]] = {}
    for trial in result.details["trials"]:
        name = PRETRAINED if trial.encoder == "pretrained" else UNTRAINED
        rows.setdefault(f"fine-tuned, {trial.labels_per_class} per class", {})[name] = trial.scores["accuracy"]
    return rows


def show(runs: list[dict[str, Any]]) -> None:
    """Means over speakers and seeds; how far pretraining leads the untrained in standard errors over seeds."""
    print(f"\n  {'':30s}" + "".join(f"{name:>14s}" for name in COLUMNS) + f"   lead over untrained, {len(runs)} seeds")
    for row in runs[0]["scores"][0]:
        means = [
            {name: np.mean([one[row][name] for one in run["scores"]]) for name in run["scores"][0][row]} for run in runs
        ]
        told = "".join(f"{np.mean([one[n] for one in means]):14.3f}" if n in means[0] else f"{'':14s}" for n in COLUMNS)
        lead = np.array([one[PRETRAINED] - one[UNTRAINED] for one in means])
        error = lead.std(ddof=1) / math.sqrt(len(lead)) if len(lead) > 1 else math.nan
        told += f"   {lead.mean():+.3f} ± {error:.3f}" + (f" ({lead.mean() / error:+.1f} s.e.)" if error > 0 else "")
        print(f"  {row:30s}{told}")
    for number, speaker in enumerate(runs[0]["speakers"]):
        each = [run["scores"][number]["mean code, all labels"] for run in runs]
        print(
            f"  all labels, without {speaker:10s}"
            + "".join(f"{np.mean([one[n] for one in each]):14.3f}" for n in COLUMNS)
        )


if __name__ == "__main__":
    main()
