"""Region masks: one region whole, the others in equal proportion; and the cosine of what is shown with the whole."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unmask import Encoder, Grid, Latent, Progress, Sequence, Tokens
from unmask.masks import RegionMask
from unmask.predictors import LinearPredictor
from unmask.terms import WholeCosine
from unmask.testing import MaskContract, TermContract
from unmask.testing.contract import streams


class TestRegionMask(MaskContract):
    """Places of four regions, some in two of them and some in none."""

    layouts = (Grid((6, 8)), Grid((2, 4, 6)))
    ragged = (Grid,)

    def make(self, **options):
        return RegionMask(**options)

    def _dense(self, layout, batch):
        tokens = super()._dense(layout, batch)
        owner = torch.randint(6, (batch, 48), generator=torch.Generator().manual_seed(0))
        member = owner[..., None] == torch.arange(4)
        return replace(tokens, notes={"regions": member | (owner[..., None] + 1 == torch.arange(4))})

    def _padded(self, layout):
        tokens = self._dense(layout, 4)
        return replace(tokens, valid=super()._padded(layout).valid)


def tokens(owner, number=1):
    """Places ``[N]`` of one region each; -1: of none."""
    member = torch.tensor(owner)[:, None] == torch.arange(max(owner) + 1)
    return Tokens(
        torch.zeros(number, len(owner), 1), Sequence(), notes={"regions": member.expand(number, -1, -1)}
    )  # fmt: skip


def drawn(owner, number=1, **options):
    given = tokens(owner, number)
    return RegionMask(**options)(given, Progress(), streams(given))


OWNER = [0] * 4 + [1] * 6 + [2] * 8 + [-1] * 2


def test_one_region_is_hidden_whole_and_the_others_in_proportion():
    """Of 20 places 12 are hidden: the 4 of region 0, and 8 of the other 16, a half of each: 3, 4 and 1."""
    hidden = drawn(OWNER, 500, ratio=0.6, whole=[0]).hidden
    assert hidden[:, :4].all()
    assert (hidden[:, 4:10].sum(1) == 3).all() and (hidden[:, 10:18].sum(1) == 4).all()
    assert (hidden[:, 18:].sum(1) == 1).all()
    torch.testing.assert_close(hidden[:, 4:].float().mean(0), torch.full((16,), 0.5), rtol=0, atol=0.1)


def test_each_region_that_is_there_is_drawn_as_often():
    hidden = drawn([0] * 4 + [1] * 4 + [3] * 4, 3000, ratio=0.5, whole=[0, 1, 2]).hidden
    assert not (hidden[:, :4].all(1) & hidden[:, 4:8].all(1)).any()
    for part in (hidden[:, :4], hidden[:, 4:8]):
        assert 0.46 < part.all(1).float().mean() < 0.54


def test_a_region_that_is_too_large_is_shown_in_part():
    hidden = drawn(OWNER, 50, ratio=0.25, whole=[2]).hidden
    assert (hidden.sum(1) == 5).all() and (hidden[:, 10:18].sum(1) == 5).all()
    assert len(hidden.unique(dim=0)) > 1


def test_a_place_of_several_regions_is_of_the_whole_one_or_of_the_first():
    given = tokens([0, 0, 1, 1, 1, 1, 2, 2])
    member = given.notes["regions"].clone()
    member[:, 2, 2] = True  # of 1 and 2
    given = replace(given, notes={"regions": member})
    hidden = RegionMask(0.375, whole=[2])(given, Progress(), streams(given)).hidden[0]
    assert hidden.nonzero().flatten().tolist() == [2, 6, 7]


def test_weights_by_hand():
    """12 of 20 places count 1/12 of the mean over a batch of 2, and the 4 of the region 0.5 / 4 more."""
    mask = drawn(OWNER, 2, ratio=0.6, whole=[0], region_weight=0.5)
    assert mask.num_hidden == 12
    torch.testing.assert_close(mask.weight[:, :4], torch.full((2, 4), 1 / 24 + 0.5 / 8))
    rest = mask.hidden.clone()
    rest[:, :4] = False
    torch.testing.assert_close(mask.weight[rest], torch.full((16,), 1 / 24))
    assert not mask.weight[~mask.hidden].any()
    assert drawn(OWNER, 2, ratio=0.6).weight is None


def test_what_is_lacking_is_said():
    with pytest.raises(ValueError, match="RegionMask needs tokens with a note `regions`, but they have none"):
        RegionMask()(Tokens(torch.zeros(2, 6, 1), Sequence()))
    with pytest.raises(ValueError, match="`whole` must be of regions 0 to 2, but one is 7"):
        drawn(OWNER, whole=[7])
    with pytest.raises(ValueError, match="`region_weight` must be at least 0, but is -1"):
        RegionMask(region_weight=-1.0)
    with pytest.raises(ValueError, match="`whole` must name at least one region"):
        RegionMask(whole=[])


def test_places_have_no_notes():
    assert tokens(OWNER).places.notes is None


class Wide(Encoder):
    width, num_layers = 8, 1

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.layer(tokens.values))


class TestWholeCosine(TermContract):
    def make(self):
        return WholeCosine(hidden_width=16, width=4)

    def model(self):
        return SimpleNamespace(encoder=Wide())

    def by_hand(self, term, step):
        return step.latent.values.mean(1)

    def test_the_number_by_hand(self):
        term, model, step = self._started()
        with torch.no_grad():
            p = term.predict(term.head(self.by_hand(term, step)))
            z = term.slow_head(term.encoder(step.tokens).values.mean(1))
            found = -torch.stack([p[i] @ z[i] / (p[i].norm() * z[i].norm()) for i in range(4)]).mean()
        torch.testing.assert_close(term(step, model).detach(), found)


class Doubled(LinearPredictor):
    """Twice what the linear layer makes of each code, everywhere."""

    def forward(self, latent, places, mask):
        assert mask.predict.all()
        return super().forward(replace(latent, values=2 * latent.values), places, mask)


class TestWholeCosineOfADecoder(TestWholeCosine):
    def make(self):
        return WholeCosine(Doubled(8, 8), hidden_width=16, width=4)

    def by_hand(self, term, step):
        return term.decoder.head(2 * step.latent.values).mean(1)
