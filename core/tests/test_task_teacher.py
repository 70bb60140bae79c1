"""Answers of a fine-tuned teacher beside the labels: limits, numbers by hand, and a run with one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import default_collate

from unmask import Encoder, Grid, Latent, MaskedDataModule, MaskedModel, Tokenizer, Tokens
from unmask.data import Splits
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import LinearPredictor
from unmask.support.errors import UserError
from unmask.targets import ValueTarget
from unmask.tools.features.labels import CLASSIFICATION, MULTI_LABEL, REGRESSION, Task
from unmask.tools.finetune import FineTuning, Settings, finetune, load
from unmask.tools.finetune.objective import Classification, MultiLabel, Regression
from unmask.tools.finetune.task_teacher import TaskTeacher


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Grid((2, 4)))


class Each(Encoder):
    """Each token by itself."""

    num_layers = 1

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(4, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, tokens, mask=None, layer=None):
        seen = None if mask is None else mask.seen
        return Latent(self.layers(tokens.values if seen is None else seen.gather(tokens.values)), seen)


def model(width=8, seed=0):
    torch.manual_seed(seed)
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Each(width), predictor=LinearPredictor(width, 4),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def samples(num, seed):
    x = torch.randn(num, 8, 4, generator=torch.Generator().manual_seed(seed))
    return [{"x": one + 2 * torch.eye(3, 4)[i % 3], "label": i % 3} for i, one in enumerate(x)]


class Data(MaskedDataModule):
    def __init__(self):
        super().__init__(batch_size=16, num_workers=0)

    def load(self):
        both = samples(48, 0), samples(30, 1)
        return Splits(*both, *both)


def tuned(objective=None, width=8, seed=0, teacher=None, task=None, **options):
    task = task or Task(CLASSIFICATION)
    made = FineTuning(model(width, seed), objective or Classification(3), task, Settings(**options), teacher=teacher)
    with torch.no_grad():
        made.head[-1].weight.normal_(generator=torch.Generator().manual_seed(5 + seed))
    return made


def batch():
    return default_collate(samples(12, 3)) | {"index": torch.arange(12)}


def loss_of(tuning):
    """Of a training step, and its gradient."""
    tuning.log_dict = tuning.log = lambda *args, **options: None
    loss = tuning.training_step(batch(), 0)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in tuning.named_parameters() if p.requires_grad}


def test_without_weight_it_is_plain_fine_tuning_bit_for_bit():
    plain, gradients = loss_of(tuned())
    loss, own = loss_of(tuned(teacher=TaskTeacher(tuned(width=12, seed=1)), teacher_weight=0.0))
    assert torch.equal(loss, plain)
    assert own.keys() == gradients.keys()
    assert all(torch.equal(own[name], gradients[name]) for name in gradients)
    assert not torch.equal(loss_of(tuned(teacher=TaskTeacher(tuned(width=12, seed=1))))[0], plain)


def test_the_loss_of_classes_by_hand():
    teacher = tuned(width=12, seed=1)
    with torch.no_grad():
        share = teacher.eval()(batch()).softmax(-1)
        outputs = tuned()(batch())
    expected = F.cross_entropy(outputs, batch()["label"])
    expected = expected - 0.5 * (share * outputs.log_softmax(-1)).sum(-1).mean()
    loss, _ = loss_of(tuned(teacher=TaskTeacher(teacher), teacher_weight=0.5))
    torch.testing.assert_close(loss, expected)


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_of_it():
    teacher = TaskTeacher(tuned())
    outputs = tuned()(batch()).detach().requires_grad_()
    teacher.loss(Classification(3), outputs, batch(), slice(None)).backward()
    assert outputs.grad.abs().max() < 1e-6


def test_several_labels_and_numbers():
    many = tuned(MultiLabel(3), seed=1, task=Task(MULTI_LABEL))
    outputs = torch.randn(12, 3)
    right = many.eval()(batch()).sigmoid().detach()
    found = TaskTeacher(many).loss(MultiLabel(3), outputs, batch(), slice(None))
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(outputs, right))
    # Numbers are compared in the student's units, whatever the teacher's were.
    numbers = Regression(torch.tensor([5.0]), torch.tensor([2.0]))
    own = Regression(torch.tensor([1.0]), torch.tensor([4.0]))
    teacher = tuned(numbers, seed=1, task=Task(REGRESSION))
    told = (teacher.eval()(batch()).detach() * 2 + 5 - 1) / 4
    found = TaskTeacher(teacher).loss(own, outputs[:, :1], batch(), slice(None))
    torch.testing.assert_close(found, F.mse_loss(outputs[:, :1], told))


def test_a_run_learns_from_one_and_keeps_nothing_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.tools.finetune.run.load", lambda path: load(path, model(12, 1)))  # it has no config
    settings = Settings(epochs=10, batch_size=16, lr=0.3, val_ratio=0.25)
    finetune(Data(), pretrained=model(12, 1), settings=settings, folder=tmp_path / "teacher")
    (file,) = (tmp_path / "teacher" / "finetune").glob("*.ckpt")
    before = file.read_bytes()
    student = Settings(epochs=10, batch_size=16, lr=0.3, val_ratio=0.25, teacher=str(file), teacher_weight=2.0)
    result = finetune(Data(), pretrained=model(8), settings=student, folder=tmp_path / "student")
    assert result.rows[0].cells["pretrained"].mean > 0.8
    assert f"Answers of {file} are learnt beside the labels, of weight 2." in result.text()
    assert file.read_bytes() == before
    (own,) = (tmp_path / "student" / "finetune").glob("*.ckpt")
    assert not any("teacher" in name for name in torch.load(own, weights_only=True)["state_dict"])
    assert load(own, model(8)).teacher is None


def test_teachers_of_other_tasks_are_refused():
    teacher = TaskTeacher(tuned(Classification(3, classes=["a", "b", "c"])))
    teacher.check(Classification(3), Task(CLASSIFICATION))
    for objective, task, words in (
        (Classification(4), Task(CLASSIFICATION), "`teacher` must give 4 numbers, as these labels need, but gives 3"),
        (Classification(3), Task(CLASSIFICATION, True), "`teacher` must be of classification per token"),
        (Classification(3, classes=["a", "c", "b"]), Task(CLASSIFICATION), "must know the classes a, c, b, but knows"),
    ):
        with pytest.raises(ValueError, match=words):
            teacher.check(objective, task)
    with pytest.raises(ValueError, match="`mixup` and `cutmix` must be 0 with a `teacher`"):
        Settings(teacher="there.ckpt", mixup=0.8)
    with pytest.raises(UserError, match=r"There is no file `gone\.ckpt`"):
        finetune(Data(), pretrained=model(), settings=Settings(teacher="gone.ckpt"))
