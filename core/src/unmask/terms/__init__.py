"""Terms: further summands of the loss, made of the finished step."""

from unmask.terms.alignment import Alignment
from unmask.terms.code_alignment import CodeAlignment
from unmask.terms.contrast import Contrast
from unmask.terms.crossed import CrossedCosine
from unmask.terms.crossed_prototypes import CrossedPrototypes
from unmask.terms.loss_order import LossOrder
from unmask.terms.masked_pass import MaskedPass
from unmask.terms.matching import Matching
from unmask.terms.part_contrast import PartContrast
from unmask.terms.relations import Relations
from unmask.terms.singularity import Singularity
from unmask.terms.transport import Transport
from unmask.terms.uniformity import Uniformity
from unmask.terms.variance_covariance import VarianceCovariance
from unmask.terms.whole_cosine import WholeCosine
from unmask.terms.whole_match import WholeMatch

__all__ = [
    "Alignment",
    "CodeAlignment",
    "Contrast",
    "CrossedCosine",
    "CrossedPrototypes",
    "LossOrder",
    "MaskedPass",
    "Matching",
    "PartContrast",
    "Relations",
    "Singularity",
    "Transport",
    "Uniformity",
    "VarianceCovariance",
    "WholeCosine",
    "WholeMatch",
]
