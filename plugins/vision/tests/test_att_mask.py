"""AttMask and iBOT: prototypes of a slow copy, told at patches that the copy attends to."""

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, IBOTPatchLoss

from unmask import Progress, Uniform
from unmask.masks import AttentionScorer, BlockMask, ScoredMask
from unmask.nn import PrototypeHead
from unmask.targets import PrototypeTeacher
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import IBOT, MAE, AttMask


def vit(**options):
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, **options}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, mask_token=True, options=sizes)


def made(kind=AttMask, **options):
    torch.manual_seed(0)
    return kind(patch_size=4, encoder=vit(), num_prototypes=24, hidden_width=16, **options)


def views(number=3):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(number, 3, 16, 16, generator=generator) for name in ("image", "second")}


def moved(model):
    """Student and teacher differ, and so do the centres from 0."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in [*model.encoder.parameters(), *model.predictor.parameters()]:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for centre in (model.target.centre, model.terms["class"].centre):
            centre.value.copy_(0.1 * torch.randn(24, generator=generator))
    return model


class TestAttMask(MethodContract):
    def make(self):
        return made(mask=ScoredMask(AttentionScorer(), Uniform(0.3, 0.7), guided=0.5))

    def batch(self):
        return views(4)


class TestIBOT(MethodContract):
    def make(self):
        return made(IBOT, mask=BlockMask(Uniform(0.1, 0.5), min_block=2))

    def batch(self):
        return views(4)


def test_attention_is_what_the_block_multiplies_its_values_with():
    """The block's output, made again of the weights that are told."""
    model, encoder = made(), vit()
    tokens = model.tokenizer(views()).part("first")
    with torch.no_grad():
        for layer in (1, 2, None):
            told = encoder.attention(tokens, layer)
            assert told.shape == (3, 2, 17, 17)
            torch.testing.assert_close(told.sum(-1), torch.ones(3, 2, 17))
            number = layer or 2
            block = encoder.vit.blocks[number - 1]
            before = encoder.codes_of(tokens, None, [number - 1])[0]
            x = torch.cat([before.prefix, before.values], 1)
            value = block.attn.qkv(block.norm1(x)).view(3, 17, 3, 2, 16)[:, :, 2].transpose(1, 2)
            x = x + block.attn.proj((told @ value).transpose(1, 2).reshape(3, 17, 32))
            x = x + block.mlp(block.norm2(x))
            torch.testing.assert_close(x[:, 1:], encoder(tokens, layer=number).values, rtol=1e-4, atol=1e-5)
    assert block.attn.fused_attn, "the encoder is left as it was"


def test_hidden_patches_are_those_that_the_teacher_attends_to():
    model = moved(made(mask=ScoredMask(AttentionScorer(), 0.5, rounding="down"))).eval()
    step = model.step(views(), 0)
    for name in ("first", "second"):
        attention = model.target.teacher.attention(step.tokens.part(name))[:, :, 0, 1:].mean(1)
        hidden = step.mask.part(name).hidden
        assert torch.equal(hidden, attention.argsort(1, descending=True).argsort(1) < 8)
        assert not torch.equal(hidden, model.encoder.attention(step.tokens.part(name))[:, :, 0, 1:].mean(1).argsort(
            1, descending=True).argsort(1) < 8), "the teacher's attention, not the student's"  # fmt: skip


def test_half_of_the_views_are_hidden():
    model = made().eval()
    hidden = torch.cat([p.hidden for s in range(20) for p in model.step(views(8), s).mask.parts.values()])
    counts = hidden.sum(1)
    assert 0.4 < (counts > 0).float().mean() < 0.6
    assert set(counts.tolist()) == {0, *range(1, 8)}, "int(16 r), r in [0.1, 0.5)"


def released(student, teacher, centre, student_temperature, teacher_temperature):
    """As iBOT's and DINO's code: cross-entropy of softmaxes, per row."""
    right = F.softmax((teacher - centre) / teacher_temperature, dim=-1)
    return torch.sum(-right * F.log_softmax(student / student_temperature, dim=-1), dim=-1)


def test_both_losses_are_the_released_formula():
    model = moved(made(mask=ScoredMask(AttentionScorer(), Uniform(0.1, 0.5), chance=0.6))).eval()
    model.standing = Progress(epoch=15)
    step = model.step(views(6), 0)
    patches, classes = [], []
    with torch.no_grad():
        slow = {name: model.target.encoder(step.tokens.part(name)) for name in ("first", "second")}
        for name, other in (("first", "second"), ("second", "first")):
            codes, hidden = step.latent.part(name), step.mask.part(name).hidden
            each = released(
                model.predictor.head(codes.values), model.target.head(slow[name].values), model.target.centre.value,
                0.1, 0.055,
            )  # fmt: skip
            patches.append(((each * hidden).sum(-1) / hidden.sum(-1).clamp(min=1.0)).mean())
            scores = model.predictor.head(codes.prefix[:, 0]), model.target.head(slow[other].prefix[:, 0])
            classes.append(released(*scores, model.terms["class"].centre.value, 0.1, 0.04).mean())
    assert any(not part.hidden.any(1).all() for part in step.mask.parts.values()), "a view without a mask"
    torch.testing.assert_close(step.terms["class"], sum(classes) / 2)
    torch.testing.assert_close(step.loss.total.detach(), sum(patches) / 2 + sum(classes) / 2)


def test_both_losses_are_lightlys():
    """`IBOTPatchLoss` and `DINOLoss` on the same scores and centres."""
    model = moved(
        made(mask=ScoredMask(AttentionScorer(), Uniform(0.3, 0.7)), target=PrototypeTeacher(temperature=0.05))
    )
    step = model.eval().step(views(6), 0)
    scores = step.given.shown.made["class_scores"]
    names = ("first", "second")
    with torch.no_grad():
        dino = DINOLoss(24, teacher_temp=0.04, student_temp=0.1)
        dino.center.copy_(model.terms["class"].centre.value)
        student = [model.predictor.head(step.latent.part(name).prefix[:, 0]) for name in names]
        torch.testing.assert_close(step.terms["class"], dino([scores[name] for name in names], student))
        patches = []
        for name in names:
            ibot = IBOTPatchLoss(24, teacher_temp=0.05, student_temp=0.1)
            ibot.center.center.copy_(model.target.centre.value)
            hidden = step.mask.part(name).hidden
            codes = model.target.encoder(step.tokens.part(name)).values, step.latent.part(name).values
            scores = model.target.head(codes[0][hidden]), model.predictor.head(codes[1][hidden])
            patches.append(ibot(*scores, hidden.view(-1, 4, 4)))
    torch.testing.assert_close(step.loss.total - step.terms["class"], sum(patches) / 2)


def test_a_batch_in_which_nothing_is_hidden_has_a_finite_loss():
    model = made(mask=ScoredMask(AttentionScorer(), 0.5, chance=1e-6))
    step = model.step(views(), 0)
    step.loss.total.backward()
    assert not any(part.hidden.any() for part in step.mask.parts.values())
    torch.testing.assert_close(step.loss.total, step.terms["class"])


def test_centres_follow_the_means_of_training():
    model = moved(made(mask=ScoredMask(AttentionScorer(), Uniform(0.3, 0.7)))).eval()
    step = model.step(views(), 0)
    before = model.target.centre.value.clone(), model.terms["class"].centre.value.clone()
    for part in (model.target, model.terms["class"]):
        part.observe(step, model)
    with torch.no_grad():
        slow = [model.target.encoder(step.tokens.part(name)) for name in ("first", "second")]
        hidden = [step.mask.part(name).hidden for name in ("first", "second")]
        patches = model.target.head(torch.cat([x.values[h] for x, h in zip(slow, hidden, strict=True)]))
        classes = model.target.head(torch.cat([x.prefix[:, 0] for x in slow]))
    torch.testing.assert_close(model.target.centre.value, 0.9 * before[0] + 0.1 * patches.mean(0))
    torch.testing.assert_close(model.terms["class"].centre.value, 0.9 * before[1] + 0.1 * classes.mean(0))
    model.step(views(), 0)
    torch.testing.assert_close(model.target.centre.value, 0.9 * before[0] + 0.1 * patches.mean(0))


def test_the_head_is_torchs_weight_norm():
    head = PrototypeHead(8, 5, 16, 4)
    last = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 5, bias=False))
    last.parametrizations.weight.original0.data.fill_(1)
    last.parametrizations.weight.original1.data.copy_(head.prototypes.data)
    x = torch.randn(3, 8)
    torch.testing.assert_close(head(x), last(F.normalize(head.mlp(x), dim=-1)))


def test_prototypes_are_held_in_the_first_epoch():
    model = made()
    for epoch, moves in ((0, False), (1, True)):
        model.zero_grad()
        model.standing = Progress(epoch=epoch)
        step = model.step(views(), 0)
        model.predictor.observe(step, model)
        step.loss.total.backward()
        assert bool(model.predictor.head.prototypes.grad.any()) == moves
        assert model.predictor.head.mlp[0].weight.grad.any()


def test_the_copies_follow():
    model = moved(made(IBOT))
    slow = model.target.head.prototypes.clone(), model.target.encoder.vit.cls_token.clone()
    model.target.momentum = 0.25
    model.target.update(model, Progress())
    torch.testing.assert_close(model.target.head.prototypes, 0.25 * slow[0] + 0.75 * model.predictor.head.prototypes)
    torch.testing.assert_close(model.target.encoder.vit.cls_token, 0.25 * slow[1] + 0.75 * model.encoder.vit.cls_token)
    model.step(views(), 0).loss.total.backward()
    assert all(parameter.grad is None for parameter in model.target.parameters())
    assert model.embedder.encoder is model.target.encoder


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="`teacher` must be given to an attention scorer of a model whose target"):
        MAE(patch_size=4, encoder=vit(), mask=ScoredMask(AttentionScorer()))
    sizes = {"patch_size": 4, "num_prototypes": 24, "hidden_width": 16}
    random = IBOT(encoder=vit(class_token=False, global_pool="avg"), mask=BlockMask(0.4, min_block=2), **sizes)
    with pytest.raises(ValueError, match="`crossed-prototypes` needs an encoder with a class token"):
        random.step(views(), 0)
    attending = AttMask(encoder=vit(class_token=False, global_pool="avg"), **sizes)
    with pytest.raises(ValueError, match="must have a class token, but has none"):
        attending.step(views(), 0)
    with pytest.raises(ValueError, match="`predictor` must be `prototypes` for a prototype teacher"):
        made(IBOT, predictor=MAE(patch_size=4, encoder=vit()).predictor)
