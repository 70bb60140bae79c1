"""Callbacks watch and never touch: same weights with and without them; pictures of what is known."""

from __future__ import annotations

import io
import sys
import types
import warnings

import lightning as L
import numpy as np
import pytest
import rich
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from unmask import Grid, Latent, MaskedModel, Optimization, Tokens
from unmask.callbacks import Pictures, ProgressBar
from unmask.callbacks.pictures import MOST, epochs_apart
from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.parts import Encoder, Predictor, Target, Tokenizer
from unmask.structures import Mask, Prediction
from unmask.targets import ValueTarget
from unmask.tools.pictures.drawing import draw
from unmask.tools.pictures.picture_grid import FONT_SIZE


@pytest.fixture(autouse=True)
def _own_console():
    """Lightning's bar reconfigures rich's global console, which other tests print to."""
    yield
    rich.reconfigure()


class Cells(Tokenizer):
    """A 2 x 2 grid of single values in [0, 1]; hidden ones are drawn at 128."""

    def forward(self, batch):
        return Tokens(batch["x"], Grid((2, 2)))

    def render(self, tokens, hidden=None):
        shown = (tokens.values * 255).round().clamp(0, 255)
        if hidden is not None:
            shown = shown.masked_fill(hidden[..., None], 128)
        return list(shown.reshape(-1, 2, 2, 1).expand(-1, -1, -1, 3).byte().numpy())


class Invisible(Cells):
    def render(self, tokens, hidden=None):
        raise NotImplementedError("Invisible draws no pictures.")


class Broken(Cells):
    def render(self, tokens, hidden=None):
        raise RuntimeError("out of ink")


class Affine(Encoder):
    width = 3

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 3)
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens, mask=None, layer=None):
        places = mask.seen if mask is not None else None
        values = tokens.values if places is None else places.gather(tokens.values)
        return Latent(self.dropout(self.linear(values)), places)


class Mean(Predictor):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, latent, places, mask):
        answer = self.linear(latent.values.mean(1))[:, None]  # [B, 1, 1]
        return Prediction(answer.expand(-1, mask.asked.index.shape[1], -1), mask.asked)


class Unseeable(Target):
    """Answers that are no values."""

    def forward(self, tokens, mask, given=None):
        return mask.asked.gather(tokens.values)


def model(tokenizer=None, target=None):
    torch.manual_seed(0)
    return MaskedModel(
        tokenizer=tokenizer or Cells(), mask=RandomMask(0.5), encoder=Affine(), predictor=Mean(),
        target=target or ValueTarget(), loss=MSELoss(), optim=Optimization(base_lr=0.01, scale_lr=False),
    )  # fmt: skip


def loader():
    x = torch.rand(12, 4, 1, generator=torch.Generator().manual_seed(0))
    return DataLoader([{"x": one} for one in x], batch_size=4)


def fit(folder, callbacks, tokenizer=None, target=None, val=True, logger=False, epochs=2, val_every=1, **options):
    made = model(tokenizer, target)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", default_root_dir=folder, callbacks=callbacks, logger=logger,
        enable_checkpointing=False, enable_model_summary=False, log_every_n_steps=1,
        check_val_every_n_epoch=val_every, **options,
        enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),
    )  # fmt: skip
    torch.manual_seed(1)
    trainer.fit(made, loader(), loader() if val else None)
    return made


@pytest.mark.parametrize("val", [True, False])
def test_pictures_and_bar_leave_training_bit_equal(tmp_path, val):
    without = fit(tmp_path, [], val=val)
    watched = fit(tmp_path, [Pictures(num_samples=3), ProgressBar()], val=val)
    for name, value in without.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    written = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert written == ["epoch-0000.png", "epoch-0001.png", "latest.png"]


def test_each_epoch_has_a_picture_though_few_are_validated(tmp_path):
    fit(tmp_path, [Pictures()], epochs=4, val_every=3)
    written = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert written == [*(f"epoch-000{epoch}.png" for epoch in range(4)), "latest.png"]


def test_pictures_of_a_long_run_are_thinned_by_their_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.callbacks.pictures.MOST", 6)
    fit(tmp_path, [Pictures(num_samples=1)], epochs=19)
    assert written_epochs(tmp_path) == [0, 4, 8, 12, 16, 18]
    assert (tmp_path / "pictures" / "latest.png").read_bytes() == (
        tmp_path / "pictures" / "epoch-0018.png"
    ).read_bytes()


@pytest.mark.parametrize("every", [1, 3])
def test_the_folder_of_pictures_never_holds_more_than_most(every):
    kept: set[int] = set()
    for epoch in range(0, 9000, every):
        apart = epochs_apart(epoch, every)
        kept = {one for one in kept if one % apart == 0} | {epoch}
        assert len(kept) <= MOST
    assert 0 in kept and len(kept) > MOST // 2


def written_epochs(folder):
    return sorted(int(path.stem[6:]) for path in (folder / "pictures").glob("epoch-*.png"))


def test_every_n_epochs_has_the_first_and_the_last(tmp_path):
    fit(tmp_path, [Pictures(every_n_epochs=2)], epochs=4)
    written = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert written == ["epoch-0000.png", "epoch-0002.png", "epoch-0003.png", "latest.png"]
    with pytest.raises(ValueError, match="`every_n_epochs` must be at least 1, but is 0"):
        Pictures(every_n_epochs=0)


def cells(picture, rows, columns):
    """The 2 x 2 values of each cell of a sheet, read off its pixels by its layout."""
    from PIL import ImageFont

    titles = {3: ("input", "seen by encoder", "reconstruction")}[columns]
    font, left, found = ImageFont.load_default(FONT_SIZE), 8, []
    for title in titles:
        column = [picture[26 + 136 * row + 32 :: 64][:2, left + 32 :: 64][:, :2, 0] for row in range(rows)]
        found.append(np.stack(column).reshape(rows, 4))
        left += max(128, int(np.ceil(font.getlength(title)))) + 8
    return found


def test_columns_show_input_what_is_seen_and_answers_at_asked_places():
    drawn = model()
    values = torch.tensor([[0.0, 0.2, 0.4, 0.6]])[..., None]
    step = drawn.step({"x": values}, 0)
    hidden = step.mask.hidden[0].numpy()
    answers = torch.tensor([[[0.8], [1.0]]])
    step = step._replace(prediction=Prediction(answers, step.mask.asked))
    given, seen, rebuilt = cells(draw(drawn, step), 1, 3)
    truth = np.array([0, 51, 102, 153])
    assert given[0].tolist() == truth.tolist()
    assert seen[0].tolist() == np.where(hidden, 128, truth).tolist()
    assert rebuilt[0][hidden].tolist() == [204, 255]
    assert rebuilt[0][~hidden].tolist() == truth[~hidden].tolist()


def test_groups_are_averaged_where_they_overlap_and_unasked_places_stay_grey():
    drawn = model()
    values = torch.full((1, 4, 1), 0.2)
    mask = Mask(
        torch.tensor([[False, True, True, True]]),
        predict=torch.tensor([[[False, True, False, False], [False, True, True, False]]]),
    )
    assert mask.asked.valid is not None  # the shorter group is filled up, and the filling is not drawn
    answers = torch.tensor([[[[0.2], [0.9]], [[0.4], [0.6]]]])
    step = drawn.step({"x": values})._replace(
        tokens=Tokens(values, Grid((2, 2))), mask=mask, prediction=Prediction(answers, mask.asked)
    )
    _, _, rebuilt = cells(draw(drawn, step), 1, 3)
    assert rebuilt[0].tolist() == [51, 76, 153, 128]


def test_answers_that_are_no_values_are_shown_as_a_map_of_the_loss():
    drawn = model(target=Unseeable())
    values = torch.tensor([[0.0, 0.2, 0.4, 0.6]])[..., None]
    step = drawn.step({"x": values}, 0)
    low, high = step.mask.asked.index[0].tolist()
    step = step._replace(loss=step.loss._replace(per_token=torch.tensor([[0.1, 0.9]])))
    picture = draw(drawn, step)
    heat = picture[26 + 32 :: 64][:2, -136 + 32 :: 64][:, :2].reshape(4, 3).astype(int)
    if picture.shape[1] > 4 * 128 + 5 * 8:  # the last title is wider than its pictures
        left = picture.shape[1] - 8 - (picture.shape[1] - 3 * 136 - 2 * 8)
        heat = picture[26 + 32 :: 64][:2, left + 32 :: 64][:, :2].reshape(4, 3).astype(int)
    assert heat[low][2] > heat[low][0]  # blue
    assert heat[high][0] > heat[high][2]  # red
    for place in set(range(4)) - {low, high}:
        assert heat[place].tolist() == [int(values[0, place, 0] * 255 * 0.4 + 1e-4)] * 3


@pytest.mark.parametrize(("tokenizer", "cause"), [(Invisible(), "Invisible draws no"), (Broken(), "out of ink")])
def test_a_failing_picture_is_said_once_and_training_goes_on(tmp_path, tokenizer, cause):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, [Pictures()], tokenizer=tokenizer)
    said = [str(one.message) for one in caught if "`Pictures` is switched off" in str(one.message)]
    assert len(said) == 1
    assert cause in said[0]
    assert not (tmp_path / "pictures").exists()


def test_pictures_go_to_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(tmp_path, [Pictures(num_samples=1)], logger=TensorBoardLogger(tmp_path, name="", version=""), epochs=1)
    events = EventAccumulator(str(tmp_path)).Reload()
    shown = Image.open(io.BytesIO(events.Images("pictures")[0].encoded_image_string))
    assert np.array_equal(np.asarray(shown), np.asarray(Image.open(tmp_path / "pictures" / "latest.png")))


class Numeric(Cells):
    """Draws by NumPy, which has no bfloat16."""

    def render(self, tokens, hidden=None):
        assert tokens.values.numpy().dtype in (np.float32, np.float64)
        return super().render(tokens, hidden)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "bf16-mixed"])
def test_pictures_are_drawn_in_every_precision(tmp_path, precision):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "`Pictures`")
        fit(tmp_path, [Pictures()], tokenizer=Numeric(), epochs=1, precision=precision)
    assert (tmp_path / "pictures" / "latest.png").is_file()


class Shown(Logger):
    """A logger that keeps the images it is given."""

    name = version = ""
    run_id = "run"

    def __init__(self, experiment=None):
        super().__init__()
        self.shown, self.experiment = [], experiment

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params):
        pass


class WandbLike(Shown):
    def log_image(self, key, images, step=None, **kwargs):
        assert isinstance(images, list)
        self.shown.append((key, step, np.asarray(images[0])))


class FileLike(Shown):
    def log_file(self, path):
        self.shown.append(("pictures", None, np.asarray(Image.open(path))))


class Service:
    """Stands for a service's own object."""

    def __init__(self):
        self.shown = []


class TensorBoardLike(Service):
    def add_image(self, tag, img_tensor, global_step=None, walltime=None, dataformats="CHW"):
        assert dataformats == "HWC"
        self.shown.append((tag, global_step, img_tensor))


class MLFlowLike(Service):
    def log_image(self, run_id, image, artifact_file=None, key=None, step=None, timestamp=None, synchronous=None):
        assert run_id == "run"
        assert artifact_file is None
        self.shown.append((key, step, np.asarray(image)))


class OldMLFlowLike(Service):
    def log_image(self, run_id, image, artifact_file):
        self.shown.append((artifact_file.partition("/")[0], int(artifact_file[-11:-4]), np.asarray(image)))


class CometLike(Service):
    def log_image(self, image_data, name=None, overwrite=False, image_format="png", step=None):
        self.shown.append((name, step, np.asarray(image_data)))


class DVCLike(Service):
    def log_image(self, name, val):
        assert name == "pictures.png"
        self.shown.append(("pictures", None, np.asarray(val)))


class AimLike(Service):
    def track(self, value, name=None, step=None, epoch=None, context=None):
        self.shown.append((name, step, np.asarray(value.image)))


class NeptuneLike(Service):
    def __getitem__(self, name):
        class Series:
            append = staticmethod(lambda image, step: self.shown.append((name, step, np.asarray(image))))

        return Series()


AimLike.__module__, NeptuneLike.__module__ = "aim.sdk.run", "neptune.run"
SERVICES = [TensorBoardLike, MLFlowLike, OldMLFlowLike, CometLike, DVCLike, AimLike, NeptuneLike]


@pytest.mark.parametrize("kind", [WandbLike, FileLike, *SERVICES])
def test_pictures_go_to_every_logger_that_takes_images(tmp_path, monkeypatch, kind):
    aim = types.ModuleType("aim")
    aim.Image = lambda image: types.SimpleNamespace(image=image)
    monkeypatch.setitem(sys.modules, "aim", aim)
    if issubclass(kind, Shown):
        logger = taken = kind()
    else:
        taken = kind()
        logger = Shown(taken)
    fit(tmp_path, [Pictures(num_samples=1)], logger=[Shown(), logger], epochs=2)
    assert [name for name, _, _ in taken.shown] == ["pictures"] * 2
    assert [step for _, step, _ in taken.shown if step is not None] in ([3, 6], [])
    assert np.array_equal(taken.shown[-1][2], np.asarray(Image.open(tmp_path / "pictures" / "latest.png")))


def test_a_logger_that_fails_is_told_once_and_the_others_get_their_pictures(tmp_path):
    class Offline(WandbLike):
        def log_image(self, key, images, step=None, **kwargs):
            raise ConnectionError("no route")

    good = WandbLike()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, [Pictures()], logger=[Offline(), good])
    said = [str(one.message) for one in caught if "`Pictures`" in str(one.message)]
    assert said == ["`Pictures` are not shown in Offline, which failed with ConnectionError: no route"]
    assert len(good.shown) == 2
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_without_a_terminal_a_line_each_tenth_and_no_control_characters(tmp_path, capsys):
    fit(tmp_path, [ProgressBar(console_kwargs={"file": io.StringIO()})], epochs=20)  # 60 steps
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("[")]
    assert len(lines) == 10
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert lines[0].startswith("[ 10%] step 6/60 | epoch 2/20")
    assert lines[-1].startswith("[100%] step 60/60 | epoch 20/20")
    assert "train/loss" in lines[-1]
    assert "val/loss" in lines[-1]
    assert "samples/s" in lines[-1]
    assert "0:00:00 left" in lines[-1]


def test_on_a_terminal_one_bar_for_the_run(tmp_path):
    screen = io.StringIO()
    console = {"file": screen, "force_terminal": True, "width": 160, "_environ": {"TERM": "xterm"}}
    fit(tmp_path, [ProgressBar(console_kwargs=console)], epochs=3)
    shown = screen.getvalue()
    assert "9/9" in shown
    assert "Epoch 3/3" in shown
    assert "samples/s" in shown
    assert "train/loss" in shown


def test_speed_counts_samples_per_second_smoothed(monkeypatch):
    bar, trainer = ProgressBar(), type("Trainer", (), {"world_size": 2})()
    clock = iter([1.0, 2.0, 100.0])
    monkeypatch.setattr("unmask.training.progress_bar.time.monotonic", lambda: next(clock))
    bar._ticked, bar._samples, bar._seconds = 0.0, 0.0, 0.0
    bar._measure(trainer, {"x": torch.zeros(8, 2)})
    assert bar.samples_per_second == pytest.approx(16)
    bar._measure(trainer, {"x": torch.zeros(8, 2)})
    assert bar.samples_per_second == pytest.approx(16)
    bar._measure(trainer, {"x": torch.zeros(8, 2)})  # a stall of 98 s outweighs what was before
    assert bar.samples_per_second == pytest.approx(16 / 98, rel=0.01)
