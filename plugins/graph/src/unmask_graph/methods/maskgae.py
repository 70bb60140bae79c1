"""MaskGAE: hide edges, tell them from pairs that are not joined (Li et al. 2023, arXiv:2205.10053)."""

from __future__ import annotations

from dataclasses import field
from functools import partial

from unmask import Corruption, Embedder, Loss, MaskSampler, Method, Target
from unmask.masks import RandomMask
from unmask_graph.encoders.gcn import GCNEncoder
from unmask_graph.losses import EdgeLoss
from unmask_graph.methods.sizes import graph_encoder
from unmask_graph.optim import Adam
from unmask_graph.predictors.edge_decoder import EdgeDecoder
from unmask_graph.targets import EdgeTarget
from unmask_graph.tokenizer import EdgeTokenizer, GraphTokenizer


class MaskGAE(Method):
    """The encoder reads the graph without some of its edges; a decoder tells these from sampled non-edges.

    ``loss = mean over hidden edges of -log p(joined | edge) - log p(not joined | non-edge)``

    Args:
        num_features: F, values per node; needed where there is no ``encoder``.
        width: D; None: 128.
        edge_width: V, values of each edge that the encoder reads; None: it reads none.
        mask: 70% of each graph's edges at random, both directions together (section 4.1, edge-wise).
        encoder: None: two GCN layers of that width with dropout 0.8, as in the released code.
        predictor: None: a network of 32 on the product of two codes, as in the released code.
        target: 1 for hidden edges, 0 for non-edges.
        loss: binary cross-entropy.
        tokenizer: None: edges of packed graphs.
        optim: Adam with rate 1e-2, decay 5e-5 in the gradient. Clip gradients at norm 1 by
            ``trainer.gradient_clip_val``.

    Differs from the released code: both layers are as wide (there 128, then 64), the rate falls along a cosine, and
    there is no regression of degrees, whose weight is 0 in its defaults.

    Raises:
        ValueError: neither an encoder nor ``num_features``, or ``width`` beside an encoder.
    """

    num_features: int | None = None
    width: int | None = None
    edge_width: int | None = None
    mask: MaskSampler = RandomMask(ratio=0.7)
    target: Target = EdgeTarget()
    loss: Loss = EdgeLoss()
    corruption: Corruption = field(init=False, default_factory=lambda: Corruption(drop=1))
    optim: Adam = Adam(base_lr=1e-2, scale_lr=False, weight_decay=5e-5, betas=(0.9, 0.999))

    encoder_options = ("width", "edge_width")

    def complete(self) -> None:
        gcn = partial(GCNEncoder, num_layers=2, activation="elu", dropout=0.8)
        encoder = graph_encoder(
            self.encoder, gcn, self.num_features, width=self.width or 128, edge_width=self.edge_width
        )
        encoder.mask_token.requires_grad_(False)  # no node is hidden
        self.tokenizer = self.tokenizer or EdgeTokenizer()
        self.encoder = encoder
        self.predictor = self.predictor or EdgeDecoder(encoder.width, width=32)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole = GraphTokenizer()

    @property
    def embedder(self) -> Embedder:
        """The encoder, on whole graphs: codes are of nodes, not of edges."""
        return Embedder(self._whole, self.encoder)
