"""Configs and recipes, by the command line."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from fuzzing import mutations
from fuzzing.case import Case, Read

BOMBS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)),
    "model: &m {class_path: vision.mae, init_args: *m}\n",
    "[" * 3000,
    "{" * 100_000,
    "- " * 5000,
    "a: !!python/object/apply:os.system [x]\n",
    "model: !!python/name:os.system\n",
    "trainer: {max_steps: !!int x}\n",
    "a: 2001-99-99\n",
    "? [a]\n: b\n",
    "a: 1\na: 2\n",
    "!!binary x",
    "model: 1:" + "30:" * 2000 + "00\n",
    "\x00",
    "\ufeff",
    "a: " + "9" * 5000,
    "%TAG ! x\n" * 3000,
    "<<: *x",
    "a: &x\n  <<: *x\n",
    "---\na\n---\nb\n",
)
PATHS = (
    "this.X",
    "antigravity",
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.object",
    "torch.nn.Module",
    "torch.load",
    "canary_of_fuzz.Thing",
    "unmask.cli.main",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.LightningModule",
    "..",
    ".",
    "a.",
    ".a",
    "x" * 3000,
    "unmask_vision",
    "__main__.x",
    "",
    "os.path.join",
    "vision.mae",
    "MAE",
    "random",
    "codecs.open",
    "pickle.Unpickler",
    "unmask_vision.methods.mae.MAE",
    "unmask_vision.data.digits.DigitsData",
)
BIG = 200
"""Numbers above it are made small again: a config may ask for a model of any size, which is no fault of its text."""


@cache
def recipes() -> dict[str, str]:
    from unmask.plugins import registry

    return {one.name: one.path().read_text("utf-8") for one in registry.components() if one.group == registry.RECIPES}


def spoilt_tree(case: Case, tree: Any) -> Any:
    """A config with other values, and now and then another class."""
    tree = mutations.tree_of(case.rng, tree, case.values)
    places = [(holder, key) for holder, key in mutations._places(tree) if key == "class_path"]
    if places and case.chance(0.3):
        holder, key = case.rng.choice(places)
        holder[key] = case.rng.choice(PATHS)
    return tree


def _text(case: Case, good: str) -> str | bytes:
    choice = case.rng.randrange(10)
    if choice == 0:
        return case.rng.choice(BOMBS)
    if choice < 4:
        return case.spoilt(good.encode(), is_text=True)
    return yaml.safe_dump(spoilt_tree(case, yaml.safe_load(good)), sort_keys=False, allow_unicode=case.chance(0.5))


def config(case: Case) -> Read:
    from unmask.cli import main

    (case.data / "canary_of_fuzz.py").write_text("import sys\nsys.fuzz_canary_imported = True\nclass Thing: pass\n")
    path = case.write("c.yaml", _text(case, recipes()[case.rng.choice(sorted(recipes()))]))
    words = ["fit", "--config", str(path)]
    if case.chance(0.1):
        other = case.write("d.yaml", _text(case, recipes()["vision/mae-digits"]))
        words += ["--config", str(other)]
    if case.chance(0.1):
        words += [
            case.rng.choice(
                ("--model.mask", "--data", "--trainer.max_steps", "--model.optim.base_lr", "--trainer.callbacks")
            ),
            case.rng.choice((*PATHS, *mutations.NUMBERS, *mutations.WORDS)).replace("\0", ""),
        ]
    return lambda: main([*words, "--print_config"])


def built(case: Case) -> Read:
    """Configs whose parts are made, and whose data is read, as `preview` does it."""
    from unmask.cli import main

    names = (
        "vision/mae-digits",
        "vision/simmim-digits",
        "vision/ijepa-digits",
        "pointcloud/point-mae-solids",
        "audio/tera-synth",
        "audio/audio-mae-synth",
    )
    tree = _small(spoilt_tree(case, yaml.safe_load(recipes()[case.rng.choice(names)])))
    path = case.write("c.yaml", yaml.safe_dump(tree))
    return lambda: main(["preview", "--config", str(path), "--num_samples", "1", "--out", str(case.work / "p.png")])


def _small(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _small(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_small(value) for value in tree]
    if isinstance(tree, int | float) and not isinstance(tree, bool) and abs(tree) > BIG and tree == tree:
        return type(tree)(BIG) if abs(tree) < 1e300 else tree
    return tree


KINDS = {"configs": config, "built configs": built}
