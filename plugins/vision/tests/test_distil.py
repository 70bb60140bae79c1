"""Data-set distillation: the closed form is scikit-learn's, its gradient that of finite differences, the command."""

import json

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from unmask.api import main
from unmask_vision.distil import Distillation, SmallNet, kernel_answers


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_closed_form_is_scikit_learns():
    features, targets, asked = rows(12, 20), rows(12, 3, seed=1), rows(7, 20, seed=2)
    found = kernel_answers(features, targets, asked, ridge=0.3)
    alpha = 0.3 * (features**2).sum(1).mean().item()
    theirs = KernelRidge(alpha=alpha, kernel="linear").fit(features.numpy(), targets.numpy()).predict(asked.numpy())
    np.testing.assert_allclose(found.numpy(), theirs, rtol=1e-9)
    # Almost without ridge, it answers as it was told about its own images.
    torch.testing.assert_close(kernel_answers(features, targets, features, 1e-12), targets, rtol=1e-6, atol=1e-6)


def learner(**options):
    images, answers = rows(20, 1, 8, 8).float(), rows(20, 3, seed=1).float()
    return Distillation(images, answers, **{"num_images": 4, "width": 4, "pool_size": 2, **options})


def test_the_outer_gradient_is_that_of_finite_differences():
    made = learner()
    torch.manual_seed(0)
    net = SmallNet(1, 3, 4).double()
    images, answers = rows(6, 1, 8, 8, seed=3), rows(6, 3, seed=4)
    made.synthetic = made.synthetic.detach().double().requires_grad_()
    made.targets = made.targets.detach().double().requires_grad_()
    made.outer_loss(net, images, answers).backward()
    generator = np.random.default_rng(0)
    for given in (made.synthetic, made.targets):
        for _ in range(5):
            place = tuple(int(generator.integers(side)) for side in given.shape)
            numbers = []
            for change in (1e-5, -1e-5):
                with torch.no_grad():
                    given[place] += change
                    numbers.append(made.outer_loss(net, images, answers).item())
                    given[place] -= change
            assert given.grad[place].item() == pytest.approx((numbers[0] - numbers[1]) / 2e-5, rel=1e-3, abs=1e-7)


def test_it_begins_with_real_images_and_learns():
    made = learner(steps=60, inner_steps=10, lr=0.01)
    assert torch.equal(made.synthetic, made.images[made.chosen])
    assert torch.equal(made.targets, made.answers[made.chosen])
    torch.manual_seed(5)
    net = SmallNet(1, 3, 4)
    before = made.outer_loss(net, made.images, made.answers).item()
    losses = list(made.run())
    assert len(losses) == 60
    assert not torch.equal(made.synthetic, made.images[made.chosen])
    assert made.outer_loss(net, made.images, made.answers).item() < before
    again = learner(steps=60, inner_steps=10, lr=0.01)
    assert list(again.run()) == losses
    assert list(learner(steps=2, seed=1).run()) != losses[:2]


def test_numbers_out_of_range_are_refused():
    for number in (1, 21):
        with pytest.raises(ValueError, match=rf"`num_images` must be in \[2, 20\], the real images, but is {number}"):
            learner(num_images=number)
    with pytest.raises(ValueError, match="`steps` must be at least 1, but is 0"):
        learner(steps=0)


@pytest.mark.slow  # a run, and networks on its images
def test_the_command_on_digits(tmp_path, capsys):
    run = tmp_path / "run"
    few = ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--config", "vision/mae-digits", "--trainer.max_steps", "30", *few, "--out", str(run)]) == 0
    small = ["--num_images", "20", "--steps", "20", "--pretrain_steps", "20", "--width", "8"]
    assert main(["vision-distil", str(run), *small]) == 0
    told = json.loads((run / "distilled" / "distilled.json").read_text())
    assert {"untrained", "real", "synthetic", "loss", "seed"} == set(told["found"][0])
    assert np.load(run / "distilled" / "images.npy").shape == (20, 1, 8, 8)
    assert np.load(run / "distilled" / "targets.npy").shape[0] == 20
    assert "Accuracy of a probe" in capsys.readouterr().out
    # The result is a data set as any other.
    data = ["--data", "vision.arrays", "--data.images", str(run / "distilled" / "images.npy"), "--data.image_size", "8"]
    more = ["--data.channels", "1", "--data.batch_size", "4", "--trainer.max_steps", "2", *few]
    assert main(["fit", "--config", "vision/mae-digits", *data, *more, "--out", str(tmp_path / "second")]) == 0
    assert main(["vision-distil", str(run), "--num_images", "1"]) == 2
    assert "`--num_images` must be in [2, 1297], the real images, but is 1" in capsys.readouterr().err
