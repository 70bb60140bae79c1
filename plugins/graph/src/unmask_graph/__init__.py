"""Masked modelling of graphs: GraphMAE, GraphMAE2 and MaskGAE on PyG's layers."""

import warnings

__version__ = "0.1.0"

# torch-geometric calls `torch.jit.script` while it is imported; nothing that a user of either could do about.
warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated", category=FutureWarning)
