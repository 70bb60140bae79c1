"""The contract of commands: each of them works on a tiny run of a method, whatever the modality."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from unmask.cli import main
from unmask.model import MaskedModel
from unmask.runs.trained import load_run
from unmask.testing.contract import Contract
from unmask.tools.exchange.exporting import fitting
from unmask.tools.exchange.format import find_format
from unmask.tools.features.labels import real_tokens
from unmask.tools.features.samples import batches, some, split_of
from unmask.tools.features.vectors import evaluating
from unmask.tools.finetune import load as load_finetuned

FEW_STEPS = (
    "--trainer.max_steps", "4", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "1",
    "--trainer.check_val_every_n_epoch", "1", "--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu",
)  # fmt: skip


class RunContract(Contract):
    """Tests of one method with data, as commands. Subclass it under a name that starts with ``Test``::

        class TestMyMethod(RunContract):
            arguments = ["--config", "mine/my-recipe"]

    Attributes:
        arguments: of ``unmask fit``; four steps are trained.
    """

    arguments: ClassVar[Sequence[str]]

    @pytest.fixture(scope="class")
    @classmethod
    def _trained(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("contract") / "run"
        assert main(["fit", *cls.arguments, *FEW_STEPS, "--out", str(folder)]) == 0
        return folder

    @pytest.fixture
    def run_folder(self, _trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A copy of the trained run, in a working folder of its own."""
        monkeypatch.chdir(tmp_path)
        return Path(shutil.copytree(_trained, tmp_path / "run"))

    # What follows are the tests, one or more per command.

    def test_fit_notes_what_it_ran_on(self, run_folder: Path) -> None:
        (entry,) = json.loads((run_folder / "environment.json").read_text())
        assert entry["command"][:2] == ["unmask", "fit"]
        assert (entry["first_step"], entry["last_step"], entry["ended"]) == (0, 4, "finished")
        found = json.loads((run_folder / "data.json").read_text(encoding="utf-8"))
        trained = load_run(run_folder)
        assert found["found"]
        assert found["classes"] == list(trained.datamodule.classes)
        kept = torch.load(trained.checkpoint, weights_only=True)[type(trained.datamodule).__qualname__]
        assert kept.get("classes", []) == found["classes"]

    def test_report_is_one_file_that_needs_no_other(self, run_folder: Path) -> None:
        assert main(["report", str(run_folder), "--out", "page.html"]) == 0
        page = Path("page.html").read_text(encoding="utf-8")
        assert all(source.startswith("data:") for source in re.findall(r'\bsrc="(.*?)"', page))
        assert all(link.startswith("#") for link in re.findall(r'\bhref="(.*?)"', page))
        assert "train/lr" in page
        other = shutil.copytree(run_folder, "other")
        assert main(["report", str(run_folder), str(other)]) == 0
        assert "train/loss" in Path("report.html").read_text(encoding="utf-8")

    def test_fit_watches_the_health_of_codes(self, run_folder: Path) -> None:
        """Before training and at its end: finite numbers, and no warning after four steps."""
        with (run_folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = [{k[7:]: float(v) for k, v in row.items() if k.startswith("health/") and v} for row in rows]
        before, after = (row for row in found if row)
        assert before.keys() == after.keys()
        assert {"effective_rank", "feature_std", "token_rank", "loss_hidden"} <= before.keys()
        assert all(math.isfinite(value) for row in (before, after) for value in row.values())
        assert not (run_folder / "health.txt").exists()

    def test_embed_hides_nothing_and_writes_the_bare_codes(
        self, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trained = load_run(run_folder)
        model = trained.model
        expected, num_tokens = [], 0
        for batch in trained.datamodule.val_dataloader():
            with evaluating(model), torch.no_grad():
                expected.append(model.embed(batch).pool("mean"))
                num_tokens += int(real_tokens(model.embedder.tokenizer(batch)).sum())

        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("a mask was drawn")

        monkeypatch.setattr(type(model.mask), "forward", refuse)
        val = ["embed", str(run_folder), "--split", "val"]
        assert main(val) == 0
        features = np.load(run_folder / "features.npy")
        assert features.dtype == np.float32
        assert np.array_equal(features, torch.cat(expected).numpy())  # bit for bit
        with (run_folder / "features.npy.ids.csv").open(newline="") as file:
            assert [row["index"] for row in csv.DictReader(file)] == [str(i) for i in range(len(features))]
        capsys.readouterr()
        assert main(val) == 0
        assert "was finished already" in capsys.readouterr().out
        if main([*val, "--per_token", "--out", "tokens.npy"]) == 0:
            assert len(np.load("tokens.npy")) == num_tokens
        else:
            assert "which has no code of each token" in capsys.readouterr().err

    def test_preview_of_a_recipe_and_of_its_run_are_the_same(
        self, run_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        few = ("--num_samples", "2", "--seeds", "0,5")
        assert main(["preview", *self.arguments, *few, "--out", "first/preview.png"]) == 0
        said = capsys.readouterr().out
        assert "tokens per sample" in said
        assert "seed 5" in said
        assert main(["preview", str(run_folder), *few, "--out", "second/preview.png"]) == 0
        assert self._contents(Path("first")) == self._contents(Path("second")) != {}

    def test_reconstruct_shows_what_was_predicted(self, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("first", "second"):
            command = ["reconstruct", str(run_folder), "--num_samples", "2", "--out", f"{name}/reconstruct.png"]
            assert main(command) == 0
        (loss, _) = re.findall(r"Loss on 2 samples \(mask seed 0\): (\S+)", capsys.readouterr().out)
        assert math.isfinite(float(loss))
        assert self._contents(Path("first")) == self._contents(Path("second")) != {}

    @staticmethod
    def _contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def test_finetune_shows_from_scratch_beside(self, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        few = ("--max_steps", "3", "--batch_size", "8", "--val_ratio", "0.2")
        code = main(["finetune", str(run_folder), *few])
        if code:  # data without labels is refused in a line, and nothing is left behind
            assert "label" in capsys.readouterr().err
            assert not (run_folder / "finetune.json").exists()
            return
        found = json.loads((run_folder / "finetune.json").read_text())
        for row in found["rows"]:
            assert set(row["mean"]) == {"from scratch", "pretrained"}
            assert all(math.isfinite(number) for number in row["mean"].values())
        assert {trial["num_steps"] for trial in found["trials"]} == {3}

        # What is kept can be loaded, and says what was written down.
        loaded = load_finetuned(run_folder / "finetune" / "pretrained-seed0.ckpt")
        datamodule = load_run(run_folder).datamodule
        answers = loaded.predict_step(next(iter(batches(datamodule, split_of(datamodule, "probe_test"), 4))))
        told = loaded.objective.answer(answers.outputs)
        with (run_folder / "finetune" / "predictions.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["encoder"] == "pretrained"][: len(told)]
        written = [[float(row[name]) for name in row if name.startswith("prediction")] for row in rows]
        assert torch.allclose(told.double().reshape(len(told), -1), torch.tensor(written).double(), rtol=1e-3)

    def test_probe_tells_what_labels_it_finds(self, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        small = ("--labels_per_class", "", "--max_labels", "100", "--max_stored", "500")
        code = main(["probe", str(run_folder), *small])
        trained = load_run(run_folder)
        train = trained.datamodule.splits.probe_train
        if train is None or "label" not in train[0]:  # refused in a line, and nothing is left behind
            assert code == 2
            assert "`label`" in capsys.readouterr().err.splitlines()[-1]
            assert not (run_folder / "probe.json").exists()
            return
        assert code == 0
        found = json.loads((run_folder / "probe.json").read_text())
        assert [found["columns"][0], found["columns"][-1]] == ["raw input", "pretrained encoder"]
        assert "untrained encoder" in found["columns"]
        assert len({row["name"] for row in found["rows"]}) == len(found["rows"]) > 0
        for row in found["rows"]:
            assert set(row["mean"]) == set(row["scores"]) == set(found["columns"])
            assert all(math.isfinite(mean) for mean in row["mean"].values())

    def test_score_has_numbers_or_says_why_not(self, run_folder: Path) -> None:
        assert main(["score", str(run_folder)]) == 0
        found = json.loads((run_folder / "score.json").read_text())
        assert found["own_loss"] or found["unexplained"]
        for numbers in (found["own_loss"], found["unexplained"]):
            assert all(math.isfinite(mean) for mean, _ in numbers.values())
        if found["unexplained"]:
            assert set(found["unexplained"]) == {"raw input", "untrained encoder", "pretrained encoder"}
            assert all(mean > 0 for mean, _ in found["unexplained"].values())
        else:
            assert "ids" in found["note"]
        if not found["own_loss"]:
            assert "No own loss" in found["note"]

    def test_export_and_import_give_back_the_same_encoder(self, run_folder: Path) -> None:
        """In every installed format that has a place for it and can be read back."""
        trained = load_run(run_folder)
        own = trained.model.embedder.encoder.state_dict()
        batch, _ = some(trained.datamodule, "val", 8, "cpu")
        expected = _pooled(trained.model, batch)
        names = [name for name in fitting(trained.model) if find_format(name).reads]
        assert "safetensors" in names
        for name in names:
            made = find_format(name)
            out = Path(f"{name}-export{made.suffix}")
            assert main(["export", str(run_folder), "--format", name, "--out", str(out)]) == 0, name
            config = [] if name == "safetensors" else ["--config", str(run_folder / "config.yaml")]
            assert main(["import", str(out), *config, "--format", name, "--out", f"{name}-run"]) == 0, name
            back = load_run(f"{name}-run")
            for key, tensor in back.model.embedder.encoder.state_dict().items():
                assert key in made.unheld(back.model) or torch.equal(tensor, own[key]), f"{name}: {key}"
            assert torch.allclose(_pooled(back.model, batch), expected, rtol=0, atol=1e-5), name
        assert torch.equal(_pooled(load_run("safetensors-run").model, batch), expected)

    def test_programs_are_written_for_dense_tokens(self, run_folder: Path) -> None:
        """They are checked as they are written. Packed tokens have one where the encoder has, else are refused."""
        trained = load_run(run_folder)
        embedder = trained.model.embedder.eval()
        tokens = embedder.tokenizer(some(trained.datamodule, "val", 8, "cpu")[0])
        for name in fitting(trained.model):
            made = find_format(name)
            if made.reads:
                continue
            out = Path(f"{name}-export{made.suffix}")
            fits = tokens.offsets is None or embedder.encoder.program(tokens, "mean") is not None
            assert main(["export", str(run_folder), "--format", name, "--out", str(out)]) == (0 if fits else 2), name
            assert out.exists() == fits, name

    def test_training_goes_on_from_imported_weights(self, run_folder: Path) -> None:
        assert main(["export", str(run_folder), "--format", "safetensors", "--out", "it.safetensors"]) == 0
        assert main(["import", "it.safetensors", "--out", "imported"]) == 0
        assert main(["fit", "--config", "imported/config.yaml", "--ckpt_path", "last"]) == 0
        assert load_run("imported").step == 4


@torch.no_grad()
def _pooled(model: MaskedModel, batch: Any) -> Tensor:
    with evaluating(model):
        return model.embed(batch).pool("mean")
