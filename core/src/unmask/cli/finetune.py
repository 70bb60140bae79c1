"""``unmask finetune``: train an encoder and a head on labels, beside the same encoder from scratch."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

from unmask.plugins.registry import RECIPES, find
from unmask.support.arguments import (
    Arguments,
    checked_device,
    name_of_parts,
    number,
    parts_given,
    whole_number,
    writable,
)
from unmask.support.errors import GOOD, UserError
from unmask.tools.finetune.settings import CHOICES, EPOCHS, FREEZE_LR, LEAST_STEPS, LR, Settings

OPTIONS = {
    "task": "classification, multi-label or regression, on the numbers that classes are called by where those are "
    "numbers; default: what the labels look like; printed",
    "epochs": f"default: {EPOCHS}, or as many times {EPOCHS} as {LEAST_STEPS:,} steps take",
    "max_steps": "optimiser steps at most; default: no such end",
    "batch_size": "samples per step",
    "lr": f"learning rate at a batch of 256, scaled by batch size / 256; default: {LR:g}, with --freeze {FREEZE_LR:g}",
    "weight_decay": "AdamW's",
    "warmup_ratio": "warm-up as a share of all steps",
    "layer_decay": "of the learning rate from block to block of the pretrained encoder; MAE: 0.75",
    "drop_path": "stochastic depth of the last block; MAE on ImageNet: 0.1",
    "label_smoothing": "of classification",
    "mixup": "alpha of mixup; MAE on ImageNet: 0.8",
    "cutmix": "alpha of CutMix on a grid of tokens; MAE on ImageNet: 1",
    "pool": "mean, max, mean+max or cls",
    "head": "linear or mlp",
    "val_ratio": "share of the labels held out to choose the epoch by; 0: none, the last step counts",
    "monitor": "held-out score to choose the epoch by, such as macro_f1, or loss; default: accuracy, mAP, or "
    "the loss of regression",
    "patience": "validations without a better score after which to stop; 0: never early",
    "loss": "of regression: mse or l1",
    "class_weights": "balanced: by how rare a class is; or none",
    "sampling": "balanced: samples of each class as often; or uniform",
    "focal_gamma": "of the focal loss; the paper: 2",
    "lora_rank": "of a change that the frozen encoder's linear layers learn (LoRA, by peft); 0: none, weights learn",
    "lora_alpha": "of that change; default: twice the rank",
    "masked_branch": "a second, masked pass in training: by the whole sample's prediction (MaskSub), by labels "
    "(MaskSup, MSL), or none",
    "masked_ratio": "share of the tokens hidden in it",
    "masked_weight": "of its loss",
    "masked_agreement": "of labels: weight of the difference of both passes' answers; default: 1",
    "masked_as": "drop: hidden tokens are not shown; zero: as zeros, which labels per token need",
    "rebuild_weight": "of a loss by codes that were partly hidden and rebuilt, for labels per token (masked feature "
    "modelling); 0: none",
    "rebuild_ratio": "share of the tokens whose codes are hidden in it",
    "teacher": "a checkpoint of this command, whose answers are learnt beside the labels (G2SD's second stage)",
    "teacher_weight": "of that loss",
    "precision": "32-true, bf16-mixed or 16-mixed",
}
_DEFAULTS = {field.name: field.default for field in fields(Settings)}


def run(command: str, arguments: list[str]) -> int:
    """Train every trial, print the table, write ``finetune.json`` and ``finetune/`` into the run folder."""
    given = _parser(command).parse_args(arguments)
    settings = _settings(given)
    seeds = [whole_number("--seeds", word, least=0) for word in _words("--seeds", given.seeds)]
    numbers = _amounts(given.labels_per_class, given.label_fractions)
    if given.from_scratch and given.no_scratch:
        raise UserError("`--from_scratch` (only that) and `--no_scratch` (without) cannot both be given.")
    if (given.run is None) == (given.config is None):
        raise UserError("Give a run folder, or `--config` with `--from_scratch`, and not both.")
    if given.config is not None and not given.from_scratch:
        raise UserError("`--config` needs `--from_scratch`: without a run nothing is pretrained.")

    from unmask.configs.building import build
    from unmask.of_parts import of_parts
    from unmask.runs.trained import load_run
    from unmask.tools.finetune.run import finetune

    device = checked_device(given.device)
    if given.run is not None:
        trained = load_run(given.run, given.data)
        config, folder, datamodule = trained.folder / "config.yaml", trained.folder, trained.datamodule
        parts = parts_given(given.parts, trained.model.part_names)
        trained = trained.of(parts)
        pretrained, about = None if given.from_scratch else trained.model, trained.about
    else:
        config = _config(given.config)
        if given.data is not None and not Path(given.data).is_file():
            raise UserError(f"There is no file `{given.data}`; `--data` must be a YAML file.")
        name = config.stem if config == Path(given.config) else given.config
        folder = Path("runs", f"{name}-scratch")
        model, datamodule = build(config, seeds[0], Path(given.data) if given.data else None)
        parts = parts_given(given.parts, model.part_names)
        pretrained, about = None, f"From scratch, by {given.config}."
    if given.data is not None:  # results on other data stand apart from those on the run's own
        folder = folder / Path(given.data).stem
    if parts is not None:  # and so do those of some parts
        folder = folder / f"parts{name_of_parts(parts)}"
    folder = Path(given.out) if given.out else folder
    writable("--out", folder / "finetune.json")
    try:
        result = finetune(
            datamodule,
            pretrained=pretrained,
            scratch=None if given.no_scratch else lambda seed: of_parts(build(config, seed)[0], parts),
            settings=settings, seeds=seeds, labels_per_class=numbers, groups=given.groups, device=device,
            folder=folder, config=config.read_text(), about=about, progress=sys.stdout.isatty(),
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error
    except SystemExit as end:  # how Lightning ends after Ctrl-C
        raise KeyboardInterrupt from end

    result.show()
    print(f"Written to {folder / 'finetune.json'} and {folder / 'finetune'}")
    return GOOD


def _parser(command: str) -> Arguments:
    parser = Arguments(
        command,
        "Fine-tune an encoder with a head on labels, beside the same from scratch with the same budget, data and "
        "seeds. The schedule is MAE's; what only ImageNet needs (mixing, stochastic depth) begins switched off.",
    )
    parser.add_argument("run", nargs="?", help="a run folder, or a checkpoint in one")
    parser.add_argument("--data", help="another YAML file whose `data` to fine-tune on; default: the run's own")
    parser.add_argument("--from_scratch", action="store_true", help="only the untrained encoder")
    parser.add_argument("--no_scratch", action="store_true", help="only the pretrained encoder")
    parser.add_argument("--config", help="a recipe or YAML file in place of a run, with --from_scratch")
    parser.add_argument(
        "--parts", help="of joint samples, such as image or image,text; default: as the method uses them"
    )
    parser.add_argument("--seeds", default="0", help="such as 0,1,2; default: 0")
    parser.add_argument("--labels_per_class", help="such as 10,50,all; default: all")
    parser.add_argument("--label_fractions", help="shares of each class instead, such as 0.01,0.1,1")
    parser.add_argument("--groups", help="a key of the samples, each value of which is left out once and tested on")
    parser.add_argument("--freeze", action="store_true", help="train the head alone, by SGD (linear probing)")
    parser.add_argument("--augment", action="store_true", default=None, help="the data's own; default: if it has one")
    parser.add_argument("--no_augment", dest="augment", action="store_false", help="leave training samples as they are")
    parser.add_argument(
        "--checkpoint_activations", action="store_true", help="less memory, slower steps, the same results"
    )
    for name, text in OPTIONS.items():
        default = "" if _DEFAULTS[name] is None else f"; default: {_DEFAULTS[name]}"
        parser.add_argument(f"--{name}", help=(text + default).replace("%", "%%"))
    parser.add_argument("--out", help="where to write; default: the run folder")
    parser.add_argument("--device", default="cpu", help="one device; default: cpu")
    return parser


def _settings(given: Namespace) -> Settings:
    values: dict[str, Any] = {
        "freeze": given.freeze, "augment": given.augment, "checkpoint_activations": given.checkpoint_activations
    }  # fmt: skip
    for name in OPTIONS:
        word = getattr(given, name)
        if word is None:
            continue
        if name in CHOICES or name in ("monitor", "teacher"):
            values[name] = word
        elif isinstance(_DEFAULTS[name], int) or name in ("epochs", "max_steps"):
            values[name] = whole_number(f"--{name}", word, least=0)
        else:
            values[name] = number(f"--{name}", word)
    try:
        return Settings(**values)
    except ValueError as error:
        raise UserError(str(error).replace("`", "`--", 1)) from error


def _amounts(per_class: str | None, fractions: str | None) -> list[int | float | None]:
    """Numbers of labels of each class, or shares of them; None: all."""
    if fractions is None:
        words = _words("--labels_per_class", per_class or "all")
        return [None if word == "all" else whole_number("--labels_per_class", word) for word in words]
    if per_class is not None:
        raise UserError("`--labels_per_class` and `--label_fractions` cannot both be given.")
    shares = [float(number("--label_fractions", word)) for word in _words("--label_fractions", fractions)]
    for share in shares:
        if not 0 < share <= 1:
            raise UserError(f"`--label_fractions` must be in (0, 1], but one is {share:g}.")
    return [None if share == 1 else share for share in shares]


def _words(option: str, given: str) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in given.split(",") if word.strip()))
    if not words:
        raise UserError(f"`{option}` must be numbers with commas between, but is `{given}`.")
    return words


def _config(given: str) -> Path:
    """The file of a recipe, or the file itself."""
    path = Path(given)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"There is no file `{given}`; `--config` must be a recipe or a YAML file.")
    return find(given, RECIPES).path()
