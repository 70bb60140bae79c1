"""Contract tests: what every component of a family must keep, first-party or not.

One class per family, made to be subclassed in a plugin's own tests::

    from unmask.testing import MaskContract

    class TestMyMask(MaskContract):
        layouts = [Sequence()]

        def make(self, **options):
            return MyMask(**options)

| class | keeps |
|---|---|
| `MaskContract` | exact counts, no padding hidden, drawn from the generator alone, on each layout |
| `JointMaskContract` | the same of masks that are drawn for several parts at once |
| `EncoderContract` | nothing of a hidden value in the codes, shapes, layers, samples apart from each other |
| `PredictorContract` | answers where they are asked, from codes and places alone |
| `TargetContract` | no gradient, in the order of the asked places |
| `TermContract` | one finite number in float32, whose gradient reaches the codes |
| `LossContract` | a number per asked place, fillers left out, finite in 16 bits |
| `DataContract` | batches keyed by the seed, whatever the workers; resuming in the middle of an epoch |
| `MethodContract` | a step that learns, reaches all of the encoder, and leaks nothing |
| `AgreementContract` | what agrees passes, what does not is said in a line |
| `FormatContract` | exports that come back bit by bit |
| `RunContract` | every command on a run of a recipe |

`GivenMask`, `shaken`, `disturbed`, `unseen` and `given_batches` are for a plugin's further tests.

``unmask check DIST`` runs them on an installed plugin. No test of a contract is overridden in silence:
see `unmask.testing.contract`. They need pytest: ``pip install "unmask[testing]"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unmask.support.lazy import lazily

try:
    import pytest
except ImportError as error:
    raise ImportError("unmask.testing needs pytest: pip install 'unmask[testing]'.") from error

_HOMES = {
    "AgreementContract": "agreements",
    "Contract": "contract",
    "DataContract": "data",
    "EncoderContract": "encoders",
    "FEW_STEPS": "runs",
    "FormatContract": "formats",
    "GivenMask": "given",
    "JointMaskContract": "joint_masks",
    "LossContract": "losses",
    "MaskContract": "masks",
    "MethodContract": "methods",
    "PredictorContract": "predictors",
    "RunContract": "runs",
    "TargetContract": "targets",
    "TermContract": "terms",
    "disturbed": "contract",
    "given_batches": "killed",
    "masked": "contract",
    "shown_as": "contract",
    "streams": "contract",
    "shaken": "given",
    "unseen": "contract",
}

__all__ = [*_HOMES]

# A failed assert shows its values, as in any test file; this is all that a pytest plugin would be needed for.
pytest.register_assert_rewrite(*(f"unmask.testing.{module}" for module in sorted(set(_HOMES.values()) - {"contract"})))

if TYPE_CHECKING:
    from unmask.testing.agreements import AgreementContract as AgreementContract
    from unmask.testing.contract import Contract as Contract
    from unmask.testing.contract import disturbed as disturbed
    from unmask.testing.contract import masked as masked
    from unmask.testing.contract import shown_as as shown_as
    from unmask.testing.contract import streams as streams
    from unmask.testing.contract import unseen as unseen
    from unmask.testing.data import DataContract as DataContract
    from unmask.testing.encoders import EncoderContract as EncoderContract
    from unmask.testing.formats import FormatContract as FormatContract
    from unmask.testing.given import GivenMask as GivenMask
    from unmask.testing.given import shaken as shaken
    from unmask.testing.joint_masks import JointMaskContract as JointMaskContract
    from unmask.testing.killed import given_batches as given_batches
    from unmask.testing.losses import LossContract as LossContract
    from unmask.testing.masks import MaskContract as MaskContract
    from unmask.testing.methods import MethodContract as MethodContract
    from unmask.testing.predictors import PredictorContract as PredictorContract
    from unmask.testing.runs import FEW_STEPS as FEW_STEPS
    from unmask.testing.runs import RunContract as RunContract
    from unmask.testing.targets import TargetContract as TargetContract
    from unmask.testing.terms import TermContract as TermContract

__getattr__ = lazily(__name__, _HOMES)
