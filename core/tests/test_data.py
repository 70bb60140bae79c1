"""Order, augmentation and resuming of training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from unmask.data import MaskedDataModule, Splits
from unmask.testing.killed import KillAfter, KilledError


class Vectors(MaskedDataModule):
    def __init__(self, num_samples: int = 14, labels: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.num_samples, self.labels = num_samples, labels

    def load(self) -> Splits:
        values = torch.randn(self.num_samples + 3, 2, generator=torch.Generator().manual_seed(0))
        samples = [{"x": x} | ({"label": i % 2} if self.labels else {}) for i, x in enumerate(values)]
        return Splits(samples[:-3], samples[-3:])  # type: ignore[arg-type]


def add_noise(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "x": sample["x"] + torch.randn(2)}


class Model(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen: list[list[int]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.seen.append(batch["index"].tolist())
        torch.manual_seed(batch_idx)  # as MaskedModel does
        return (self.layer(batch["x"]) - 1).square().mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        assert "index" in batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self.trainer.estimated_stepping_batches > 0  # makes the iterator before the restore
        return torch.optim.AdamW(self.parameters(), 0.05)


def fit(
    folder: Path,
    save: dict[str, Any],
    trainer: dict[str, Any],
    kill: int | None = None,
    resume: bool = False,
    **data: Any,
) -> Model:
    L.seed_everything(5 if not resume else 6, verbose=False)  # a resumed run has the seed of its beginning
    model, module = Model(), Vectors(batch_size=3, augment=add_noise, **data)
    callbacks: list[Callback] = [ModelCheckpoint(folder, save_last=True, **save)]
    callbacks += [KillAfter(kill)] if kill is not None else []
    runner = L.Trainer(
        callbacks=callbacks, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", num_sanity_val_steps=0, **trainer,
    )  # fmt: skip
    if kill is None:
        runner.fit(model, module, ckpt_path=folder / "last.ckpt" if resume else None)
    else:
        with pytest.raises(KilledError):
            runner.fit(model, module)
    return model


EVERY_STEP, EVERY_EPOCH = {"every_n_train_steps": 1}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("save", "trainer"),
    [
        (EVERY_STEP, {"max_epochs": 3}),
        (EVERY_STEP, {"max_steps": 10}),
        (EVERY_STEP, {"max_epochs": 3, "accumulate_grad_batches": 2}),
        (EVERY_STEP, {"max_epochs": 3, "val_check_interval": 2}),
        (EVERY_EPOCH, {"max_epochs": 3}),
        (EVERY_EPOCH, {"max_steps": 10}),
        (EVERY_EPOCH, {"max_steps": 10, "limit_val_batches": 0}),
    ],
)
def test_a_run_killed_at_any_step_ends_like_an_uninterrupted_one(
    tmp_path: Path, save: dict[str, Any], trainer: dict[str, Any]
) -> None:
    whole = fit(tmp_path / "whole", save, trainer)
    num_resumed = 0
    for kill in range(1, len(whole.seen)):
        folder = tmp_path / str(kill)
        killed = fit(folder, save, trainer, kill=kill)
        assert killed.seen == whole.seen[:kill]
        if not (folder / "last.ckpt").exists():
            continue
        resumed = fit(folder, save, trainer, resume=True)
        assert 0 < len(resumed.seen) < len(whole.seen)
        assert resumed.seen == whole.seen[-len(resumed.seen) :]
        assert torch.equal(resumed.layer.weight, whole.layer.weight)
        num_resumed += 1
    assert num_resumed >= 6


@pytest.mark.filterwarnings("ignore")
def test_resuming_with_workers(tmp_path: Path) -> None:
    trainer = {"max_epochs": 2}
    whole = fit(tmp_path / "whole", EVERY_STEP, trainer)
    for kill in (1, 4, 6):
        fit(tmp_path / str(kill), EVERY_STEP, trainer, kill=kill, num_workers=2)
        resumed = fit(tmp_path / str(kill), EVERY_STEP, trainer, resume=True, num_workers=2)
        assert resumed.seen == whole.seen[kill:]
        assert torch.equal(resumed.layer.weight, whole.layer.weight)


def test_lightning_takes_the_loader_for_resumable(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    fit(tmp_path, EVERY_STEP, {"max_epochs": 2}, kill=2)
    fit(tmp_path, EVERY_STEP, {"max_epochs": 2}, resume=True)
    assert not [w for w in recwarn if "not resumable" in str(w.message)]


def test_overfitting_on_one_batch(tmp_path: Path) -> None:
    model = fit(tmp_path, EVERY_EPOCH, {"max_epochs": 2, "overfit_batches": 1})
    assert model.seen == [[0, 1, 2], [0, 1, 2]]


def test_without_a_trainer_epochs_count_up() -> None:
    torch.manual_seed(1)
    loader = Vectors(batch_size=3, augment=add_noise).train_dataloader()
    first, second = list(loader), list(loader)
    orders = [torch.cat([batch["index"] for batch in epoch]).tolist() for epoch in (first, second)]
    assert orders[0] != orders[1]
    assert all(len(set(order)) == 12 for order in orders)  # drop_last leaves two of 14 out

    torch.manual_seed(1)
    again = list(Vectors(batch_size=3, augment=add_noise, num_workers=2).train_dataloader())
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(first, again, strict=True))
    torch.manual_seed(2)
    other = list(Vectors(batch_size=3, augment=add_noise).train_dataloader())
    assert [b["index"].tolist() for b in other] != [b["index"].tolist() for b in first]


def test_augmentation_differs_between_epochs_and_leaves_torch_alone() -> None:
    torch.manual_seed(1)
    module = Vectors(num_samples=4, batch_size=4, augment=add_noise)
    loader = module.train_dataloader()
    values = [{int(i): x for b in loader for i, x in zip(b["index"], b["x"], strict=True)} for _ in range(2)]
    assert all(not torch.equal(values[0][i], values[1][i]) for i in range(4))
    plain = {int(i): x for b in module.val_dataloader() for i, x in zip(b["index"], b["x"], strict=True)}
    assert torch.equal(plain[0], module.splits.val[0]["x"])  # validation is not augmented
    state = torch.get_rng_state()
    loader.dataset[7, 0, 1]
    assert torch.equal(torch.get_rng_state(), state)


class _World:
    """What the data module asks of a trainer that has two devices."""

    world_size, training = 2, False

    def __init__(self, rank: int) -> None:
        self.global_rank = rank
        self.strategy = self

    def broadcast(self, seed: int) -> int:
        return 7


def test_devices_share_an_epoch_without_overlap() -> None:
    seen = []
    for rank in range(2):
        torch.manual_seed(rank)  # unseeded processes differ; the first one's seed counts
        module = Vectors(num_samples=13, batch_size=3)
        module.trainer = _World(rank)  # type: ignore[assignment]
        seen.append([i for batch in module.train_dataloader() for i in batch["index"].tolist()])
    assert len(seen[0]) == len(seen[1]) == 6
    assert len({*seen[0], *seen[1]}) == 12


def test_the_seed_is_taken_once_and_kept() -> None:
    torch.manual_seed(11)
    module = Vectors(batch_size=2)
    module.setup("fit")
    torch.manual_seed(12)
    module.setup("fit")
    assert module.state_dict() == {"seed": 11}
    other = Vectors(batch_size=2)
    other.load_state_dict({"seed": 11})
    orders = [[b["index"].tolist() for b in m.train_dataloader()] for m in (module, other)]
    assert orders[0] == orders[1]


def test_probe_sets_are_the_labelled_splits() -> None:
    splits = Vectors(labels=True).splits
    assert splits.probe_train is splits.train
    assert splits.probe_test is splits.val
    assert Vectors().splits.probe_train is None


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"`batch_size` must be at least 1, but is 0."):
        Vectors(batch_size=0)
    with pytest.raises(ValueError, match=r"`num_workers` must be at least 0, but is -1."):
        Vectors(num_workers=-1)
    with pytest.raises(ValueError, match=r"`batch_size` must be at most 14, .* but is 256"):
        Vectors().setup("fit")
    Vectors().setup("validate")
    assert len(Vectors(drop_last=False).train_dataloader()) == 1
