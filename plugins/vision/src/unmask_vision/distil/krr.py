"""Self-supervised data-set distillation by kernel ridge regression (KRR-ST, Lee et al. 2023, arXiv:2310.06511)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.api import at_least
from unmask.seeds import generator, seeded

RIDGE = 1e-6


def kernel_answers(features: Tensor, targets: Tensor, asked: Tensor, ridge: float = RIDGE) -> Tensor:
    """``K(asked, features) (K(features, features) + ridge tr(K) / M I)^-1 targets``, K the linear kernel: ``[n, T]``.

    Args:
        features: of the synthetic images ``[M, D]``.
        targets: of these ``[M, T]``.
        asked: features of the images that are asked about ``[n, D]``.
        ridge: above 0.
    """
    kernel = features @ features.mT
    small = ridge * kernel.diagonal().mean()
    solved = torch.linalg.solve(kernel + small * torch.eye(len(kernel), dtype=kernel.dtype), targets)
    return asked @ features.mT @ solved


class SmallNet(nn.Module):
    """Three convolutions with instance norms and poolings, and a linear head: ``[B, C, H, W]`` to ``[B, T]``.

    Args:
        channels: C.
        target_width: T.
        width: of the convolutions.
    """

    def __init__(self, channels: int, target_width: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(3):
            layers += [nn.Conv2d(width if number else channels, width, 3, padding=1), nn.GroupNorm(width, width)]
            layers += [nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)]
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(4 * width, target_width)

    def features(self, image: Tensor) -> Tensor:
        """``[B, 4 W]``."""
        found: Tensor = self.trunk(image)
        return found

    def forward(self, image: Tensor) -> Tensor:
        answers: Tensor = self.head(self.features(image))
        return answers


@dataclass
class Distillation:
    """Learns M images and their targets, so that a network trained on them answers as a teacher about real images.

    Inner problem: a network of a pool is trained on the synthetic images by squared error, a step for each outer one,
    and begins anew after ``inner_steps``. Outer problem: the mean of ``(K (K + small)^-1 targets - teacher)^2 / 2``
    over a batch of real images, by features of that network; its gradient reaches images and targets. Nothing is
    hidden: what a mask draws would bias that gradient (section 3.1).

    Args:
        images: real ones ``[n, C, H, W]`` float32.
        answers: the teacher's about these ``[n, T]``.
        num_images: M, in [2, n]. They begin as real images, drawn at random, with the teacher's answers.
        steps: outer steps, at least 1. Paper: 160,000.
        batch_size: of real images; paper: 1,024.
        lr: of AdamW, falling to 0 in a line. Paper: 1e-3.
        pool_size: networks. Paper: 10.
        inner_steps: at most for one of them. Paper: 1,000.
        inner_lr: of SGD with momentum 0.9 and weight decay 1e-3; paper: 0.1.
        width: of the networks.
        seed: of everything that is drawn.

    Differs from the paper in the size of the networks, and in the teacher, which is any trained encoder (there Barlow
    Twins on a ResNet-18).

    Raises:
        ValueError: a number outside its range.
    """

    images: Tensor
    answers: Tensor
    num_images: int
    steps: int = 1000
    batch_size: int = 256
    lr: float = 1e-3
    pool_size: int = 10
    inner_steps: int = 1000
    inner_lr: float = 0.1
    width: int = 64
    seed: int = 0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 2 <= self.num_images <= len(self.images):
            raise ValueError(
                f"`num_images` must be in [2, {len(self.images)}], the real images, but is {self.num_images}."
            )
        at_least(1, steps=self.steps, pool_size=self.pool_size, inner_steps=self.inner_steps)
        at_least(1, batch_size=self.batch_size)
        chosen = torch.randperm(len(self.images), generator=generator("cpu", self.seed, "chosen"))[: self.num_images]
        self.chosen = chosen
        self.synthetic = self.images[chosen].clone().requires_grad_()
        self.targets = self.answers[chosen].clone().requires_grad_()

    def outer_loss(self, net: SmallNet, images: Tensor, answers: Tensor) -> Tensor:
        """How far kernel ridge regression is from the teacher about these real images."""
        found = kernel_answers(net.features(self.synthetic), self.targets, net.features(images))
        return 0.5 * F.mse_loss(found, answers)

    def run(self) -> Iterator[float]:
        """Learns; gives the outer loss of each step."""
        optimizer = torch.optim.AdamW([self.synthetic, self.targets], lr=self.lr, weight_decay=0.0)
        drawn = generator("cpu", self.seed, "batches")
        pool = [self._fresh(number, 0) for number in range(self.pool_size)]
        # Networks begin at different ages, so that the pool never begins anew all at once.
        ages = torch.randint(self.inner_steps, (self.pool_size,), generator=drawn).tolist()
        births = [0] * self.pool_size
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * (1 - step / self.steps)
            number = int(torch.randint(self.pool_size, (), generator=drawn))
            net, inner = pool[number]
            batch = torch.randint(len(self.images), (min(self.batch_size, len(self.images)),), generator=drawn)
            loss = self.outer_loss(net, self.images[batch], self.answers[batch])
            self.synthetic.grad, self.targets.grad = torch.autograd.grad(loss, [self.synthetic, self.targets])
            optimizer.step()
            self.losses.append(loss.item())
            yield self.losses[-1]

            inner.zero_grad()
            F.mse_loss(net(self.synthetic.detach()), self.targets.detach()).backward()
            inner.step()
            ages[number] += 1
            if ages[number] >= self.inner_steps:
                births[number] += 1
                pool[number], ages[number] = self._fresh(number, births[number]), 0

    def _fresh(self, number: int, birth: int) -> tuple[SmallNet, torch.optim.Optimizer]:
        with seeded(self.seed, "net", number, birth):
            net = SmallNet(self.images.shape[1], self.answers.shape[1], self.width)
        return net, torch.optim.SGD(net.parameters(), self.inner_lr, momentum=0.9, weight_decay=1e-3)


def pretrained(images: Tensor, targets: Tensor, steps: int, width: int, seed: int, lr: float = 1e-3) -> SmallNet:
    """A network trained on images and targets by squared error for so many steps of at most 256 images."""
    with seeded(seed, "pretrained"):
        net = SmallNet(images.shape[1], targets.shape[1], width)
    drawn = generator("cpu", seed, "pretrained batches")
    optimizer = torch.optim.AdamW(net.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for _ in range(steps):
        batch = torch.randperm(len(images), generator=drawn)[:256]
        loss = F.mse_loss(net(images[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()
