"""I-JEPA: context without targets, a teacher without gradient on its exact schedule, a loss by hand."""

import copy

import lightning as L
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from unmask import Optimization
from unmask.targets import EMATeacher
from unmask_vision.methods import IJEPA


def model(**arguments) -> IJEPA:
    torch.manual_seed(0)
    return IJEPA(size="tiny", image_size=64, patch_size=8, **arguments)


def test_context_never_contains_a_target():
    step = model().step({"image": torch.rand(64, 3, 64, 64)}, 0)
    visible = ~step.mask.hidden  # [B, N]
    assert step.mask.predict.shape[1] == 4
    assert not (visible[:, None] & step.mask.predict).any()
    # The encoder saw exactly those places.
    seen = torch.zeros_like(visible).scatter(1, step.latent.seen.index, True)
    assert torch.equal(seen, visible)


def test_loss_by_hand():
    ijepa = model().eval()
    # Let teacher and student differ, so that a mix-up shows.
    with torch.no_grad():
        for parameter in ijepa.target.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    image = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        step = ijepa.step({"image": image}, 0)
        normal = (image - ijepa.tokenizer.mean) / ijepa.tokenizer.std
        codes = ijepa.target.teacher.vit.forward_features(normal)  # [B, N, D], nothing hidden
        total, count = 0.0, 0
        for sample in range(3):
            for group in range(4):
                places = step.mask.predict[sample, group].nonzero().squeeze(1)
                truth = codes[sample, places]
                truth = (truth - truth.mean(-1, keepdim=True)) / (
                    truth.var(-1, unbiased=False, keepdim=True) + 1e-5
                ).sqrt()
                answer = step.prediction.values[sample, group]
                difference = (answer - truth).abs()
                total += torch.where(difference < 1, 0.5 * difference**2, difference - 0.5).sum()
                count += truth.numel()
    torch.testing.assert_close(step.loss.total, total / count, rtol=1e-5, atol=0)


def test_each_group_is_answered_by_itself():
    """Answers of one group, computed alone by hand from context and that group's positions."""
    ijepa = model().eval()
    with torch.no_grad():
        step = ijepa.step({"image": torch.rand(2, 3, 64, 64)}, 0)
        predictor = ijepa.predictor
        from unmask import Grid
        from unmask.nn import sincos

        table = sincos(Grid((8, 8)), 64, 384)
        sample, group = 1, 2
        context = (~step.mask.hidden[sample]).nonzero().squeeze(1)
        places = step.mask.predict[sample, group].nonzero().squeeze(1)
        codes = predictor.embed(step.latent.values[sample]) + table[context]
        queries = predictor.mask_token[0] + table[places]
        x = predictor.trunk(torch.cat([codes, queries])[None])[0, len(codes) :]
        torch.testing.assert_close(step.prediction.values[sample, group], predictor.head(x), rtol=1e-4, atol=1e-5)


def test_teacher_follows_the_schedule_and_gets_no_gradient():
    ijepa = model(optim=Optimization(base_lr=1e-3, scale_lr=False))
    momenta = [0.996 + (1.0 - 0.996) * step / 6 for step in range(6)]  # the first update has the start
    expected = copy.deepcopy(ijepa.target.teacher)

    class Follow(L.Callback):
        done = 0

        def on_train_batch_end(self, trainer, module, *_):
            momentum = momenta[self.done]
            self.done += 1
            for old, new in zip(expected.parameters(), module.encoder.parameters(), strict=True):
                old.data = momentum * old.data + (1 - momentum) * new.data
            for ours, theirs in zip(module.target.teacher.parameters(), expected.parameters(), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
                assert ours.grad is None
                assert not ours.requires_grad

    follow = Follow()
    trainer = L.Trainer(
        max_steps=6, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[follow],
    )  # fmt: skip
    trainer.fit(ijepa, DataLoader(torch.rand(12, 3, 64, 64), batch_size=2))
    assert follow.done == 6
    assert not ijepa.target.teacher.training
    assert ijepa.embedder.encoder is ijepa.target.teacher


def test_two_models_do_not_share_a_teacher():
    one, two = model(), model()
    assert isinstance(one.target, EMATeacher)
    assert one.target.teacher is not two.target.teacher
    assert F.mse_loss(one.target.teacher.vit.pos_embed, one.encoder.vit.pos_embed) == 0
