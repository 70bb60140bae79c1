"""GraphMAE: hide nodes' features, rebuild them from re-masked codes (Hou et al. 2022, arXiv:2205.10803)."""

from __future__ import annotations

from unmask import Corruption, Loss, MaskSampler, Method, Target, chosen
from unmask.losses import ScaledCosineLoss
from unmask.masks import RandomMask
from unmask.targets import ValueTarget
from unmask_graph.methods.sizes import KINDS, Kind, decoder_for, graph_encoder
from unmask_graph.nn.norms import Norm
from unmask_graph.optim import Adam
from unmask_graph.tokenizer import GraphTokenizer


class GraphMAE(Method):
    """The encoder reads the graph with some nodes' features hidden; their codes are taken away, and a decoder of
    one layer says from the codes of their neighbours what the features were.

    ``loss = mean over hidden nodes of (1 - cos(answer, features)) ** gamma``

    Defaults are those of the released code for Cora, one graph. For many small graphs, as in the paper's
    section 4.2: ``kind`` gin, ``norm`` batch, corruption without stand-ins, gamma 1 or 2, rate 1.5e-4 or 5e-4.

    Args:
        num_features: F, values per node; None: those of the encoder.
        kind: layers of encoder and decoder: ``gat`` or ``gin``; None: ``gat``.
        width: D; None: 512.
        num_layers: of the encoder; None: 2.
        norm: of the encoder, and of a GIN's decoder; None: ``gat`` none, ``gin`` batch.
        edge_width: V, values of each edge that the encoder reads; None: it reads none.
        mask: half of the nodes of each graph at random. Rates by data set: appendix, tables 7 and 8.
        encoder: None: of that kind and size.
        predictor: None: the decoder of that kind, as wide as the encoder.
        target: the features as they are.
        loss: scaled cosine error, gamma 3.
        corruption: of the hidden nodes, 95% are shown as the mask token, 5% with another node's features.
        tokenizer: None: nodes of packed graphs.
        optim: Adam with rate 1e-3 and a cosine to 0, decay 2e-4 in the gradient.

    Differs from the released code in stand-ins, which are visible nodes of the same graph.

    Raises:
        ValueError: sizes beside an encoder, no ``num_features`` without one, or a number outside its range.
    """

    num_features: int | None = None
    kind: Kind | None = None
    width: int | None = None
    num_layers: int | None = None
    norm: Norm | None = None
    edge_width: int | None = None
    mask: MaskSampler = RandomMask(ratio=0.5)
    target: Target = ValueTarget()
    loss: Loss = ScaledCosineLoss(gamma=3.0)
    corruption: Corruption = Corruption(token=0.95, random=0.05)
    optim: Adam = Adam(base_lr=1e-3, scale_lr=False, weight_decay=2e-4, betas=(0.9, 0.999))

    encoder_options = ("kind", "width", "num_layers", "norm", "edge_width")

    def complete(self) -> None:
        encoder = graph_encoder(
            self.encoder,
            chosen("kind", self.kind or "gat", KINDS),
            self.num_features,
            width=self.width,
            num_layers=self.num_layers,
            norm=self.norm,
            edge_width=self.edge_width,
        )
        self.tokenizer = self.tokenizer or GraphTokenizer()
        self.encoder = encoder
        self.predictor = self.predictor or decoder_for(encoder, self.norm)
        if self.corruption.drop:  # never shown
            encoder.mask_token.requires_grad_(False)
