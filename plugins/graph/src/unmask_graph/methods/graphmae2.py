"""GraphMAE2: several random re-masks, and a teacher's codes beside the features (Hou et al. 2023, arXiv:2304.04779)."""

from __future__ import annotations

from functools import partial

from unmask import MADE, Corruption, Loss, MaskSampler, Method, Objective, Schedule, Target
from unmask.api import at_least
from unmask.losses import CosineLoss, ScaledCosineLoss
from unmask.masks import RandomMask
from unmask.targets import ValueTarget
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.methods.sizes import graph_encoder
from unmask_graph.optim import Adam
from unmask_graph.predictors.latent_head import LatentHead, ProjectedTeacher
from unmask_graph.predictors.random_remask import RandomRemaskDecoder
from unmask_graph.tokenizer import GraphTokenizer


class GraphMAE2(Method):
    """Features of hidden nodes are rebuilt several times, each time from codes of which other random nodes' are
    replaced by a token; and codes of all nodes are compared with those of a teacher that sees everything.

    ``loss = sum over re-masks of (1 - cos(answer, features)) ** gamma + weight * (1 - cos(latent answer, teacher's))``,
    each a mean over nodes.

    For graphs that do not fit, batches of sampled neighbours or clusters are made by the data module.

    Args:
        num_features: F, values per node; needed where there is no ``encoder``.
        width: D; None: 1024.
        num_layers: None: 4.
        num_heads: a divisor of ``width``; None: 8.
        num_remasks: how often codes are re-masked, at least 1.
        latent_weight: of the comparison with the teacher, at least 0.
        momentum: of the teacher, in [0, 1], or a schedule of it.
        edge_width: V, values of each edge that the encoder reads; None: it reads none.
        mask: half of the nodes of each graph at random.
        encoder: None: GAT of that size, half of the edges dropped in training.
        predictor: None: a `RandomRemaskDecoder` that replaces half of all codes.
        target: the features as they are.
        loss: of the features: scaled cosine error, gamma 6.
        corruption: all hidden nodes are shown as the mask token.
        tokenizer: None: nodes of packed graphs.
        optim: Adam with rate 2.5e-3 and a cosine to 0, decay 0.06 in the gradient.

    Defaults are those of the released code for ogbn-arxiv. It differs in that the teacher follows from the first step
    (there from epoch 40), and that latent answers are asked of all nodes of a batch, not of cluster seeds only.

    Raises:
        ValueError: a number outside its range, a size beside an encoder, or no ``num_features`` without one.
    """

    num_features: int | None = None
    width: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    num_remasks: int = 3
    latent_weight: float = 10.0
    momentum: float | Schedule = 0.996
    edge_width: int | None = None
    mask: MaskSampler = RandomMask(ratio=0.5)
    predictor: RandomRemaskDecoder = MADE
    target: Target = ValueTarget()
    loss: Loss = ScaledCosineLoss(gamma=6.0)
    corruption: Corruption = Corruption(token=1.0)
    optim: Adam = Adam(base_lr=2.5e-3, scale_lr=False, weight_decay=0.06, betas=(0.9, 0.999))

    encoder_options = ("width", "num_layers", "num_heads", "edge_width")

    def complete(self) -> None:
        at_least(1, num_remasks=self.num_remasks)
        at_least(0, latent_weight=self.latent_weight)
        if self.corruption.drop:
            raise ValueError("`corruption` must show hidden nodes, whose codes are compared, but drops them.")
        encoder = graph_encoder(
            self.encoder,
            partial(GATEncoder, drop_edge=0.5),
            self.num_features,
            width=self.width or 1024,
            num_layers=self.num_layers or 4,
            num_heads=self.num_heads or 8,
            edge_width=self.edge_width,
        )
        self.tokenizer = self.tokenizer or GraphTokenizer()
        self.encoder = encoder
        self.predictor = self.predictor or RandomRemaskDecoder(encoder.width, encoder.num_features)
        head = LatentHead(encoder.width)
        latent = Objective("all", head, ProjectedTeacher(head, self.momentum), CosineLoss(), self.latent_weight)
        again = {f"remask_{number}": Objective() for number in range(2, self.num_remasks + 1)}
        self.objectives = {"latent": latent, **again, **self.objectives}
