"""Tokenizers of images: which code of a learned book each patch is (VQ-VAE, van den Oord et al. 2017; DALL-E's dVAE,
Ramesh et al. 2021)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Cosine, Encoder, Grid, Latent, Mask, Progress, Schedule, Tokens, at
from unmask.api import at_least


class CodeEncoder(Encoder):
    """Residual convolutions over the grid of patches, then a code of a book for each patch.

    `forward` gives what the decoder reads, ``[B, N, D]``, and `ids` the codes; ``Latent.features`` is what the choice
    was made by. It sees every patch, whatever a mask says: in this stage nothing is hidden from it.

    Args:
        num_codes: entries of the book. DALL-E: 8192.
        width: D, of an entry.
        patch_size: side of a patch in pixels.
        channels: of the images.
        hidden_width: of the convolutions. DALL-E: 256.
        depth: residual blocks, of two 3 x 3 convolutions each.

    Raises:
        ValueError: a number below 1, or of codes below 2.
    """

    num_layers = 1

    def __init__(
        self,
        num_codes: int = 8192,
        width: int = 32,
        patch_size: int = 16,
        channels: int = 3,
        hidden_width: int = 256,
        depth: int = 2,
    ) -> None:
        super().__init__()
        at_least(2, num_codes=num_codes)
        at_least(1, width=width, patch_size=patch_size, channels=channels, hidden_width=hidden_width)
        at_least(0, depth=depth)
        self.num_codes, self.width = num_codes, width
        self.net = ConvolvedPatches(patch_size**2 * channels, self.choice_width, hidden_width, depth)
        self.book = nn.Parameter(torch.randn(num_codes, width))

    @property
    @abstractmethod
    def choice_width(self) -> int:
        """Of what the choice is made by."""

    @abstractmethod
    def chosen(self, choice: Tensor) -> Tensor:
        """Ids ``[B, N]`` int64, by what the choice is made by, ``[B, N, C]``."""

    @abstractmethod
    def entries(self, choice: Tensor, mask: Mask | None) -> Tensor:
        """What the decoder reads ``[B, N, D]``."""

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        self.depth(layer)
        choice = self.net(tokens).float()  # [B, N, C]
        return Latent(self.entries(choice, mask), features=choice)

    def ids(self, tokens: Tokens) -> Tensor:
        """Of all patches: int64 ``[B, N]``."""
        return self.chosen(self.net(tokens).float())


class DVAEEncoder(CodeEncoder):
    """A score for each code: in training codes are mixed by a Gumbel softmax, else the highest score counts.

    Args:
        temperature: of the Gumbel softmax, above 0, a schedule of it. DALL-E: 1 to 1/16 in 150,000 steps.

    Others are those of `CodeEncoder`.

    Raises:
        ValueError: a temperature not above 0.
    """

    now: Tensor
    """The temperature at this step."""

    def __init__(
        self,
        num_codes: int = 8192,
        width: int = 32,
        patch_size: int = 16,
        channels: int = 3,
        hidden_width: int = 256,
        depth: int = 2,
        temperature: float | Schedule = Cosine(start=1.0, end=0.0625, over=150_000),
    ) -> None:
        super().__init__(num_codes, width, patch_size, channels, hidden_width, depth)
        if not isinstance(temperature, Schedule) and not temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.temperature = temperature
        self.register_buffer("now", torch.tensor(at(temperature, Progress())))

    @property
    def choice_width(self) -> int:
        return self.num_codes

    def chosen(self, choice: Tensor) -> Tensor:
        return choice.argmax(-1)

    def entries(self, choice: Tensor, mask: Mask | None) -> Tensor:
        if not self.training or mask is None:
            return self.book[self.chosen(choice)]
        noise = mask.streams().named("codes").gumbel(*choice.shape[1:])
        return ((choice + noise) / self.now).softmax(-1) @ self.book

    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        temperature = at(self.temperature, progress)
        self.now.fill_(temperature)
        return {"temperature": temperature}


class VQEncoder(CodeEncoder):
    """The entry that is nearest to a vector of each patch; its gradient goes straight through to the vector.

    Vectors and entries have length 1, as in ViT-VQGAN (Yu et al. 2021, section 3.2), so that few codes die.
    Arguments are those of `CodeEncoder`.
    """

    @property
    def choice_width(self) -> int:
        return self.width

    def chosen(self, choice: Tensor) -> Tensor:
        return (F.normalize(choice, dim=-1) @ F.normalize(self.book, dim=-1).mT).argmax(-1)

    def entries(self, choice: Tensor, mask: Mask | None) -> Tensor:
        vector = F.normalize(choice, dim=-1)
        entry = F.normalize(self.book, dim=-1)[self.chosen(choice)]
        return vector + (entry - vector).detach()


class ConvolvedPatches(nn.Module):
    """Patches ``[B, N, V]`` on a grid, linear layers around residual blocks of convolutions: ``[B, N, T]``."""

    def __init__(self, width: int, target_width: int, hidden_width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width, hidden_width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(hidden_width, hidden_width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden_width, hidden_width, 3, padding=1),
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(hidden_width, target_width)

    def forward(self, tokens: Tokens, values: Tensor | None = None) -> Tensor:
        """Of the tokens' values, or of others at their places."""
        if not isinstance(tokens.layout, Grid) or len(tokens.layout.shape) != 2:
            raise ValueError(f"Patches must lie on a 2-D Grid, but lie on a {tokens.layout}.")
        x = self.embed(tokens.values if values is None else values)
        x = x.mT.unflatten(2, tokens.layout.shape)  # [B, W, R, C]
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.relu(x.flatten(2).mT))
