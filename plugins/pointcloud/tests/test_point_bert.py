"""Point-BERT beside the same written out: naming codes, mixing, contrast; and its two stages in one command."""

import pytest
import torch
import torch.nn.functional as F

from unmask import Draws
from unmask.masks import RandomMask
from unmask_pointcloud.encoders import PointTransformer
from unmask_pointcloud.methods import PointBERT, PointMAE
from unmask_pointcloud.mixing import PatchMixing, mixed

SMALL = {"num_patches": 10, "patch_size": 8, "num_codes": 32, "dvae_width": 16, "hidden_width": 8}


def clouds(batch=5, num_points=60, seed=0):
    return torch.randn(batch, num_points, 3, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    encoder = PointTransformer(32, 2, 2, 0, 16, 8, drop_path_ratio=0.0, class_token=True, mask_token=True)
    return PointBERT(**SMALL, encoder=encoder, queue_size=7, **options)


def test_a_step_written_out():
    model = small(mask=RandomMask(0.5)).eval()
    batch = {"points": clouds()}
    with torch.no_grad():
        step = model.step(batch, 2)
        tokens = step.tokens
        ids = model.target.dvae.scores(tokens).argmax(-1)
        assert torch.equal(step.target, ids[step.mask.hidden].view(5, 5))

        # What `step` draws: a mask, shares and patches, a mask of mixtures, a mask of keys.
        draws = Draws.of(2, torch.arange(5))
        first = model.mask(tokens, None, draws)
        lots = draws.named("mixture")
        share, noise = lots.uniform(), lots.uniform(10)
        patches, centres, names = tokens.values.clone(), tokens.positions.clone(), ids.clone()
        for cloud in range(5):
            for place in range(10):
                if noise[cloud, place] >= share[cloud]:
                    patches[cloud, place] = tokens.values[4 - cloud, place]
                    centres[cloud, place] = tokens.positions[4 - cloud, place]
                    names[cloud, place] = ids[4 - cloud, place]
        own = noise < share[:, None]
        mixture = mixed(tokens, own)
        assert torch.equal(mixture.values, patches)
        assert torch.equal(mixture.positions, centres)
        assert torch.equal(mixture.layout.centres, centres)
        second = model.mask(mixture, None, draws.named("mixed"))
        third = model.mask(tokens, None, draws.named("keys"))
        first, second, third = (model.corruption(tokens, mask).mask for mask in (first, second, third))

        named = []
        for cut, mask, truth in ((tokens, first, ids), (mixture, second, names)):
            latent = model.encoder(cut, mask)
            scores = model.predictor.head(latent.values)[mask.hidden]
            named.append(F.cross_entropy(scores, truth[mask.hidden]))
        contrast = model.terms["mixing"]
        query = F.normalize(contrast.head(latent.prefix[:, 0]), dim=1)
        key = F.normalize(contrast.slow_head(contrast.slow_encoder(tokens, third).prefix[:, 0]), dim=1)
        told = 0.0
        for cloud in range(5):
            scores = torch.cat([key @ query[cloud], contrast.queue @ query[cloud]]) / 0.07
            chances = scores.log_softmax(0)
            told -= (share[cloud] * chances[cloud] + (1 - share[cloud]) * chances[4 - cloud]) / 5
    assert step.loss.total.item() == pytest.approx((named[0] + named[1] + told).item(), rel=1e-4)
    assert step.loss.per_token.mean().item() == pytest.approx(named[0].item(), rel=1e-4)


def test_nothing_is_mixed_when_it_is_not_asked_for():
    model = small(mixing=False)
    step = model.step({"points": clouds()}, 0)
    assert not model.terms
    asked = step.prediction.asked
    real = torch.ones_like(step.target, dtype=torch.bool) if asked.valid is None else asked.valid
    named = F.cross_entropy(step.prediction.values[real], step.target[real])
    assert step.loss.total.item() == pytest.approx(named.item(), rel=1e-5)


def test_the_queue_forgets_the_oldest():
    model = small()
    contrast = model.terms["mixing"]
    keys = torch.arange(12.0)[:, None].expand(12, 512)
    before = contrast.queue.clone()

    def remember(keys):
        contrast._keys = keys
        contrast.observe(None, model)

    remember(keys[:5])
    assert contrast.queue[:5, 0].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(contrast.queue[5:], before[5:])
    remember(keys[5:10])
    assert contrast.queue[:, 0].tolist() == [7, 8, 9, 3, 4, 5, 6]
    remember(keys)  # more than it holds
    assert sorted(contrast.queue[:, 0].tolist()) == [5, 6, 7, 8, 9, 10, 11]


def test_the_slow_encoder_follows_and_is_not_trained():
    model = small(momentum=0.75)
    contrast = model.terms["mixing"]
    slow = contrast.slow_encoder.mask_token.clone()
    model.encoder.mask_token.data += 1
    contrast.update(model, None)
    assert torch.allclose(contrast.slow_encoder.mask_token, slow + 0.25)
    step = model.train().step({"points": clouds()}, 0)
    loss = step.loss.total
    assert int(contrast.end) == 0  # a step alone remembers nothing
    contrast.observe(step, model)
    assert int(contrast.end) == 5
    loss.backward()
    frozen = [*contrast.slow_encoder.parameters(), *contrast.slow_head.parameters(), *model.target.parameters()]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in frozen)
    assert not model.target.dvae.training
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointBERT(**SMALL, encoder=PointTransformer(32, 1, 2)), "`class_token` and `mask_token`"),
        (
            lambda: PointBERT(**SMALL, encoder=PointTransformer(32, 1, 2, 0, 16, 4, class_token=True, mask_token=True)),
            "must be 16 and 8, as the dVAE's, but are 16 and 4",
        ),
        (lambda: PatchMixing(queue_size=0), "`queue_size` must be at least 1"),
        (lambda: PatchMixing(momentum=2), r"`momentum` must be in \[0, 1\], but is 2"),
        (lambda: PatchMixing(temperature=0), "`temperature` must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mixtures_and_codes_need_a_dvae():
    """Neither is part of another method without a word."""
    model = small()
    other = PointMAE(num_patches=10, patch_size=8, encoder=model.encoder)
    with pytest.raises(ValueError, match=r"`target` must be a CodeTarget, .* but is PointTarget"):
        PatchMixing().start(other)
    with pytest.raises(ValueError, match=r"`target` must not be `pointcloud\.codes` without a trained dVAE"):
        model.target.begin(other)
