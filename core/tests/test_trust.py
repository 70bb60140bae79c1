"""Configs that came with weights name what is installed for unmask, and nothing else, however they say it."""

from pathlib import Path

import pytest
import yaml

from unmask.support.errors import UserError
from unmask.tools.exchange.trust import check_trusted

STARTS = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
"""A class of torch that starts a program when it is made."""


def check(value):
    config = {"model": {"class_path": "toy.toy", "init_args": {"options": value}}}
    check_trusted(yaml.safe_dump(config), Path("weights.safetensors"), "its config")


@pytest.mark.parametrize(
    "value",
    [
        {"class_path": STARTS},
        "os.system",
        ["- os.system"],
        '{"class_path": "os.system"}',
        '{"class\\x5fpath": "os.syst\\x65m"}',
        "!!str os.system",
        "torch.os.system",
        "torch.load",
        "torch.hub.load",
        "lightning.pytorch.cli.LightningCLI",
        "unmask.cli.fit.Training",
        "unmask.api.main",
        "unmask.runs.trained.Path",
        "unmask.runs.first_stage.subprocess.Popen",
    ],
)
def test_what_is_not_for_configs_is_refused(value):
    with pytest.raises(UserError, match="which no installed plugin brings"):
        check(value)


@pytest.mark.parametrize("text", [f"class_path: {STARTS}", '{"class\\x5fpath": "os.system"}', "os.system"])
def test_a_file_that_a_config_names_is_looked_at_alike(text, tmp_path):
    (tmp_path / "more").write_text(text)
    with pytest.raises(UserError, match="which no installed plugin brings"):
        check(str(tmp_path / "more"))


@pytest.mark.parametrize(
    "value",
    [
        "block", "unmask.masks.block.BlockMask", "unmask.masks.BlockMask", {"class_path": "torch.nn.GELU"},
        "torch.float32",
        "lightning.pytorch.callbacks.ModelCheckpoint", "a.csv", "torch.pt", "unmask.yaml",
        "a sentence: with a colon", 1.5,
        "nobody_has.this.Class",
    ],
)  # fmt: skip
def test_what_configs_are_made_of_passes(value):
    check(value)
