"""The collapse monitor on real digits: healthy MAE and I-JEPA are left alone, I-JEPA without stop-gradient never is."""

import logging
import warnings

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from unmask import Optimization, Target
from unmask.callbacks import CollapseMonitor
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import EMATeacher, ValueTarget
from unmask_vision.data.digits import DigitsData
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import IJEPA, MAE

WITHOUT_CLASS_TOKEN = {"class_token": False, "global_pool": "avg", "fc_norm": False}


class OnlineCodes(Target):
    """I-JEPA without its teacher: the target is the encoder that is trained, and gradient flows through it."""

    def start(self, model):
        self.__dict__["encoder"] = model.encoder  # not a part of its own

    def forward(self, tokens, mask, given=None):
        with torch.enable_grad():  # `MaskedModel.step` switches it off around targets
            codes = self.__dict__["encoder"](tokens).values
            return mask.asked.gather(F.layer_norm(codes, codes.shape[-1:]))


def encoder(**options):
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, **options}
    return ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, positions="sincos", options=options)


def mae(lr=2e-3):
    return MAE(
        patch_size=2, channels=1, mask=RandomMask(0.5), encoder=encoder(), target=ValueTarget(),
        predictor=TransformerPredictor(32, 4, width=32, depth=1, num_heads=2),
        optim=Optimization(base_lr=lr, scale_lr=False),
    )  # fmt: skip


def ijepa(lr=2e-3, target=None):
    return IJEPA(
        patch_size=2, channels=1, encoder=encoder(**WITHOUT_CLASS_TOKEN), target=target or EMATeacher(),
        predictor=TransformerPredictor(32, 32, width=32, depth=1, num_heads=2),
        optim=Optimization(base_lr=lr, scale_lr=False),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "disabled", True)


@pytest.fixture(scope="module")
def digits():
    return DigitsData(batch_size=16)


def watched(model, data, folder, seed, max_steps=60):
    """Epochs of 20 steps; the monitor, and what it said."""
    monitor = CollapseMonitor()
    trainer = L.Trainer(
        max_steps=max_steps, limit_train_batches=20, limit_val_batches=0, num_sanity_val_steps=0, accelerator="cpu",
        default_root_dir=folder, callbacks=[monitor], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data.seed = seed
    torch.manual_seed(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(model, datamodule=data)
    return monitor, [str(one.message) for one in caught if "ollapse" in str(one.message) or "tuck" in str(one.message)]


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 20), marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", [mae, ijepa])
def test_healthy_runs_are_never_told_to_collapse(tmp_path, digits, method, seeds):
    for seed in seeds:
        torch.manual_seed(seed)
        monitor, said = watched(method(), digits, tmp_path, seed)
        assert said == [], seed
        assert monitor.state_dict()["last_step"] == 60, "it has looked to the end"
        assert monitor.state_dict()["since"] is None, f"seed {seed} came near"
    assert not (tmp_path / "health.txt").exists()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_a_collapsing_run_is_told_in_words_within_eight_epochs(tmp_path, digits, seed):
    """160 steps; most are told at step 80."""
    torch.manual_seed(seed)
    _, said = watched(ijepa(target=OnlineCodes()), digits, tmp_path, seed, max_steps=160)
    (told,) = said
    assert "the codes of different samples have become nearly the same" in told
    assert "no gradient through the target" in told
    assert (tmp_path / "health.txt").read_text().count("\n") == 1
