"""A first stage: a discrete autoencoder whose codes name patches (DALL-E's, Ramesh et al. 2021, arXiv:2102.12092)."""

from __future__ import annotations

from dataclasses import field

from unmask import MADE, Corruption, Cosine, Loss, MaskSampler, Method, Optimization, Predictor, Schedule, Target
from unmask.losses import MSELoss
from unmask.masks import EveryMask
from unmask.targets import ValueTarget
from unmask_vision.encoders import CodeEncoder, DVAEEncoder, VQEncoder
from unmask_vision.predictors import ConvPredictor
from unmask_vision.terms import CodeUse, Commitment
from unmask_vision.tokenizer import PatchTokenizer


class DVAE(Method):
    """Each patch is told by one code of a book; a decoder rebuilds its pixels from the codes.

    ``loss = mean over patches of mean((decoder(codes) - pixels)^2) + use_weight * (log C - H(mean use of the codes))``

    In training codes are mixed by a Gumbel softmax of falling temperature; else the highest score counts. Nothing is
    hidden from the encoder, all patches are asked for.

    Args:
        patch_size: side of a patch in pixels.
        channels: colour channels of the images.
        num_codes: entries of the book. DALL-E: 8192.
        width: of an entry.
        hidden_width: of the convolutions. DALL-E: 256.
        depth: residual blocks of the encoder, and of the decoder.
        temperature: of the Gumbel softmax, above 0. DALL-E: 1 to 1/16 in 150,000 steps.
        use_weight: of how evenly codes are used, at least 0; ours.
        predictor: None: the decoder.
        target: pixels, normalised over the data set.
        loss: squared error (there a logit-Laplace likelihood).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW: base rate 1e-4, betas (0.9, 0.999), decay 1e-4, 5 warm-up epochs; all but the decay ours.

    Differs from DALL-E's in the network, which reads whole patches and then convolutions over their grid; in the error;
    and in the divergence, which is that of the mean use, not of each patch.

    Raises:
        ValueError: a number outside its range.
    """

    patch_size: int = 16
    channels: int = 3
    num_codes: int = 8192
    width: int = 32
    hidden_width: int = 256
    depth: int = 2
    temperature: float | Schedule = Cosine(start=1.0, end=0.0625, over=150_000)
    use_weight: float | Schedule = 0.01
    mask: MaskSampler = field(init=False, default_factory=EveryMask)
    encoder: CodeEncoder = field(init=False)
    predictor: Predictor = MADE
    target: Target = ValueTarget()
    loss: Loss = MSELoss()
    corruption: Corruption = field(init=False, default_factory=lambda: Corruption(keep=1))
    optim: Optimization = Optimization(base_lr=1e-4, weight_decay=1e-4, betas=(0.9, 0.999), warmup_epochs=5)

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or PatchTokenizer(self.patch_size, self.channels)
        self.encoder = self.codes()
        self.predictor = self.predictor or ConvPredictor(
            self.width, self.patch_size**2 * self.channels, self.hidden_width, self.depth
        )
        self.terms = {**self.book_terms(), **self.terms}

    def codes(self) -> CodeEncoder:
        """The encoder."""
        return DVAEEncoder(
            self.num_codes, self.width, self.patch_size, self.channels, self.hidden_width, self.depth, self.temperature
        )

    def book_terms(self) -> dict[str, CodeUse | Commitment]:
        """What keeps the book in use."""
        return {"use": CodeUse(self.use_weight)}


class VQVAE(DVAE):
    """Each patch is told by the entry of a book nearest to its vector (VQ-VAE, van den Oord et al. 2017).

    ``loss = mean over patches of mean((decoder(entries) - pixels)^2) + mean (sg[v] - e)^2 + beta (v - sg[e])^2``

    Arguments are those of `DVAE`, but:

    Args:
        temperature: has no use here.
        use_weight: of the pull between vectors and entries, at least 0.
        beta: of the vectors' part of it, at least 0. VQ-VAE (section 3.2): 0.25.

    Differs from the paper in vectors and entries of length 1, as in ViT-VQGAN (Yu et al. 2021, section 3.2); from
    ViT-VQGAN in the network and in what is not built: perceptual and adversarial losses.
    """

    use_weight: float | Schedule = 1.0
    beta: float = 0.25

    def codes(self) -> CodeEncoder:
        return VQEncoder(self.num_codes, self.width, self.patch_size, self.channels, self.hidden_width, self.depth)

    def book_terms(self) -> dict[str, CodeUse | Commitment]:
        return {"commitment": Commitment(self.use_weight, self.beta)}
