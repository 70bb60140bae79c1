"""Run folders, checkpoints and weights, by the commands that read them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from fuzzing import mutations
from fuzzing.case import Case, Read
from fuzzing.configs import spoilt_tree
from fuzzing.graphs import Payload

SMALL = {"embed_dim": 12, "depth": 1, "num_heads": 1}
WORDS = ["--trainer.max_steps", "4", "--trainer.log_every_n_steps", "1", "--trainer.check_val_every_n_epoch", "1"]
WORDS += [f"--model.encoder.options={json.dumps(SMALL)}", "--model.predictor.encoder_width", "12"]
WORDS += ["--model.predictor.width", "12", "--model.predictor.depth", "1", "--model.predictor.num_heads", "1"]
WORDS += ["--trainer.limit_val_batches", "1"]
"""Of a run of a tiny model."""


def make(shared: Path) -> None:
    """A trained run of a tiny model, once for all cases."""
    from unmask.cli import main

    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["fit", "--config", "vision/mae-digits", *WORDS, "--out", str(shared / "run")])
    assert code == 0, f"the run that cases are made from ended with {code}"


def run_folder(case: Case) -> Read:
    from unmask.cli import main

    run = case.work / "run"
    shutil.copytree(case.shared / "run", run)
    files = [
        path for path in run.rglob("*") if path.is_file() and path.suffix in (".yaml", ".json", ".csv", ".ckpt", ".txt")
    ]
    for path in case.rng.sample(files, case.rng.choice((1, 1, 2))):
        _spoil(case, path)
    out = case.work / "out"
    command = case.rng.choice(
        (
            ["report", str(run)],
            ["report", str(run)],
            ["report", str(run), str(case.shared / "run"), "--out", f"{out}.html"],
            ["export", str(run), "--out", str(out)],
            ["embed", str(run), "--out", f"{out}.npz"],
            ["reconstruct", str(run), "--num_samples", "1", "--out", str(out)],
            ["score", str(run)],
            ["probe", str(run), "--max_labels", "50", "--probes", "knn"],
            ["import", str(run / "checkpoints" / "last.ckpt"), "--out", str(out)],
        )
    )
    return lambda: main(command)


def resumed(case: Case) -> Read:
    from unmask.cli import main

    run = case.work / "run"
    shutil.copytree(case.shared / "run", run)
    files = [run / "checkpoints" / "last.ckpt", run / "metrics.csv", run / "environment.json", run / "config.yaml"]
    _spoil(case, case.rng.choice((files[0], files[0], *files)))
    return lambda: main(
        [
            "fit",
            "--config",
            str(run / "config.yaml"),
            "--out",
            str(run),
            "--ckpt_path",
            "last",
            "--trainer.max_steps",
            "5",
        ]
    )


def weights(case: Case) -> Read:
    from safetensors.torch import save

    from unmask.cli import main

    state = torch.load(case.shared / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    choice = case.rng.randrange(8)
    if choice < 3:
        content = save(state)
        if choice == 0:
            length = int.from_bytes(content[:8], "little")
            header = json.dumps(
                mutations.tree_of(
                    case.rng, json.loads(content[8 : 8 + length]), (*case.values, [0, 2**60], [5, 1], "F4", [2**40])
                )
            ).encode()
            content = len(header).to_bytes(8, "little") + header + content[8 + length :]
        else:
            content = case.spoilt(content)
        path = case.write("model.safetensors", content)
    elif choice == 3:
        name = case.rng.choice(("model.safetensors.index.json", "pytorch_model.bin.index.json"))
        index = {
            "weight_map": {
                "a": case.rng.choice((name, "../../outside/x", "/etc/passwd", "a.safetensors", 3, None, "."))
            }
        }
        text = case.rng.choice(
            (json.dumps(index), "[" * 100_000, json.dumps(mutations.tree_of(case.rng, index, case.values)))
        )
        (case.data / name).write_text(text)
        path = case.data
    else:
        file = io.BytesIO()
        tree: Any = mutations.tree_of(
            case.rng, {"state_dict": state, "model": {"a": 1}}, (*case.values, torch.tensor(1), {1: torch.ones(2)})
        )
        if choice == 4:
            tree = {"state_dict": state, "hyper_parameters": Payload(case)}
        torch.save(tree, file, _use_new_zipfile_serialization=case.chance(0.7))
        path = case.write("model.pt", case.spoilt(file.getvalue()) if choice == 5 else file.getvalue())
    words = ["import", str(path), "--config", "vision/mae-digits", "--out", str(case.work / "imported")]
    return lambda: main(words)


def _spoil(case: Case, path: Path) -> None:
    content = path.read_bytes()
    if path.suffix == ".ckpt":
        choice = case.rng.randrange(4)
        if choice < 2:
            tree = torch.load(path, weights_only=True)
            if choice == 0 and case.chance(0.3):
                tree[case.rng.choice(sorted(tree))] = Payload(case)
            else:
                tree = _tree(case, tree)
            file = io.BytesIO()
            torch.save(tree, file)
            content = file.getvalue()
        else:
            content = case.spoilt(content)
    elif path.suffix == ".yaml" and case.chance(0.6):
        content = yaml.safe_dump(spoilt_tree(case, yaml.safe_load(content))).encode()
    elif path.suffix == ".json" and case.chance(0.6):
        content = json.dumps(mutations.tree_of(case.rng, json.loads(content), case.values)).encode()
    elif path.suffix == ".csv" and case.chance(0.4):
        rows = list(csv.reader(io.StringIO(content.decode())))
        place = case.rng.choice(rows)
        place[case.rng.randrange(len(place))] = case.rng.choice(
            ("x" * 200_000, "nan", "inf", "-1", "1e999", "\0", "", "step", "<script>", "1e308")
        )
        file = io.StringIO()
        csv.writer(file).writerows(rows)
        content = file.getvalue().encode()
    else:
        content = case.spoilt(content, is_text=True)
    path.write_bytes(content)


def _tree(case: Case, tree: dict[Any, Any]) -> dict[Any, Any]:
    """The content of a checkpoint, with something in it of another kind; its tensors are kept as they are."""
    for _ in range(case.rng.choice((1, 1, 2))):
        holder: Any = tree
        key = case.rng.choice(sorted(tree, key=str))
        while isinstance(holder[key], dict | list) and holder[key] and case.chance(0.8):
            holder = holder[key]
            key = (
                case.rng.choice(sorted(holder, key=str))
                if isinstance(holder, dict)
                else case.rng.randrange(len(holder))
            )
        if case.chance(0.2):
            del holder[key]
        else:
            holder[key] = case.rng.choice(
                (*case.values, torch.ones(3), torch.tensor(float("nan")), -1, {}, [], None, "x")
            )
    return tree


KINDS = {"run folders": run_folder, "resumed runs": resumed, "weights": weights}
