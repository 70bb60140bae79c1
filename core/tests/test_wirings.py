"""Twenty-four methods of the literature, each wired of tiny parts without a step of its own.

They are no methods to train with: each shows that a seam is wide enough, by one number worked out by hand. The encoder
has two layers that begin as the identity, so the codes of places are the values that it was shown there.
"""

import copy
import inspect
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unmask import (
    KEPT,
    Corruption,
    CosineSpread,
    Encoder,
    Latent,
    Mask,
    MaskedModel,
    MaskSampler,
    Objective,
    Prediction,
    Predictor,
    Sequence,
    Shown,
    Target,
    Term,
    Tokenizer,
    Tokens,
)
from unmask.decode import decode
from unmask.joint import EncoderByPart, PredictorByPart
from unmask.losses import CrossEntropyLoss, L1Loss, MSELoss
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.noise import Process
from unmask.targets import EMATeacher, ValueTarget
from unmask.testing import GivenMask

HIDDEN = torch.tensor([[True, False, True, False], [False, True, True, False]])
VALUES = torch.tensor([[[1.0, 2], [3, 4], [5, 6], [7, 8]], [[2, 0], [0, 2], [4, 4], [6, 2]]])  # [2, 4, 2]
BATCH = {"x": VALUES, "index": torch.arange(2)}


class Fake(Tokenizer):
    """``batch["x"]`` ``[B, N, V]`` as tokens in a line; several names make parts."""

    def __init__(self, *names):
        super().__init__()
        self.names = names

    def forward(self, batch):
        if not self.names:
            return Tokens(batch["x"], Sequence())
        return Tokens.join({name: Tokens(batch[name], Sequence()) for name in self.names})


class TwoLayers(Encoder):
    """Two linear layers that begin as the identity; hidden places are dropped, or shown as a token of zeros."""

    num_layers = 2

    def __init__(self, width=2):
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        for layer in self.layers:
            nn.init.eye_(layer.weight)

    def forward(self, tokens, mask=None, layer=None):
        values = tokens.values
        if mask is not None and mask.show is not None:
            values = values.masked_fill((mask.hidden & (mask.show != KEPT))[..., None], 0)
        seen = None if mask is None else mask.seen
        codes = values if seen is None else seen.gather(values)
        for one in self.layers[: self.depth(layer)]:
            codes = one(codes)
        return Latent(codes, seen)


class Mean(Predictor):
    """The mean of all codes, times a weight that begins at 1, at every asked place."""

    def __init__(self, width=2, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, latent, places, mask):
        mean = latent.values.mean(1, keepdim=True) * self.scale
        return Prediction(mean.expand(-1, mask.asked.index.shape[1], -1), mask.asked)


class Copy(Predictor):
    """The code at each asked place."""

    def forward(self, latent, places, mask):
        values = latent.values
        if latent.seen is not None:  # only visible places are asked
            return Prediction(values, mask.asked)
        return Prediction(mask.asked.gather(values), mask.asked)


def model(method=MaskedModel, **parts):
    """A model of the parts given, and of the simplest others."""
    parts = {
        "tokenizer": Fake(), "mask": GivenMask(HIDDEN), "encoder": TwoLayers(), "predictor": Mean(),
        "target": ValueTarget(), "loss": MSELoss(),
    } | parts  # fmt: skip
    torch.manual_seed(0)
    return method(**parts)


def close(value, expected):
    torch.testing.assert_close(torch.as_tensor(value).float(), torch.as_tensor(expected).float(), rtol=1e-5, atol=1e-6)


def asks(ask):
    """A model whose main question is asked elsewhere."""
    return type("Asking", (MaskedModel,), {"ask": ask})


def test_the_values_shown_are_others_than_the_target_s():
    """TERA and WavLM: frames are altered for the encoder; the answer is the clean frame."""

    class Louder(Corruption):
        def __init__(self):
            super().__init__(keep=1)

        def forward(self, tokens, mask):
            shown = replace(mask, show=torch.full_like(mask.hidden, KEPT, dtype=torch.int8))
            return Shown(replace(tokens, values=tokens.values * 2), shown)

    step = model(asks("all"), corruption=Louder(), predictor=Copy(), loss=L1Loss()).step(BATCH)
    close(step.prediction.values, 2 * VALUES)
    close(step.target, VALUES)
    close(step.loss.total, VALUES.mean())  # |2 x - x| = x


def test_visible_places_are_asked_with_another_weight():
    """HuBERT: hidden frames count 1, visible ones 0.5."""
    one = {"visible": Objective("visible", weight=0.5)}
    step = model(objectives=one, corruption=Corruption(token=1), predictor=Copy()).step(BATCH)
    hidden = VALUES[HIDDEN].square().mean()  # answers there are zeros
    close(step.loss.total, hidden)  # visible places copy what they show: 0.5 * 0
    close(step.terms["visible"], 0.0)
    assert torch.equal(step.objectives["visible"].mask.asked.index, torch.tensor([[1, 3], [0, 3]]))


def test_a_target_is_learned_and_its_entries_kept_in_use():
    """wav2vec 2.0: codes of a quantiser of the stem's features, with a diversity term."""

    class Stem(TwoLayers):
        def forward(self, tokens, mask=None, layer=None):
            return replace(super().forward(tokens, mask, layer), features=tokens.values)

    class Quantised(Target):
        learned = True

        def __init__(self):
            super().__init__()
            self.book = nn.Parameter(torch.tensor([[0.0, 0], [6, 6]]))

        def forward(self, tokens, mask, given=None):
            scores = -torch.cdist(mask.asked.gather(given.latent.features), self.book)
            given.shown.made["use"] = scores.softmax(-1).mean((0, 1))
            return self.book[scores.argmax(-1)]

    class Diversity(Term):
        def forward(self, step, model):
            return -torch.special.entr(step.given.shown.made["use"]).sum()

    one = model(target=Quantised(), encoder=Stem(), terms={"diversity": Diversity(0.1)})
    step = one.step(BATCH)
    close(step.target, torch.tensor([[[0, 0], [6, 6]], [[0, 0], [6, 6]]]))  # (1, 2) (5, 6); (0, 2) (4, 4)
    step.loss.total.backward()
    assert one.target.book.grad.abs().sum() > 0
    assert 0 < -step.terms["diversity"] <= math.log(2)


def test_codes_are_re_masked_several_times_beside_a_latent_target():
    """GraphMAE2: each re-mask is an objective that draws anew; a teacher's codes are asked everywhere."""

    class Remask(Predictor):
        def forward(self, latent, places, mask):
            kept = mask.streams().named("remask").uniform(4) > 0.5
            return Prediction(mask.asked.gather(latent.values * kept[..., None]), mask.asked)

    again = {"second": Objective(), "latent": Objective("all", Copy(), EMATeacher(1.0, normalize=False), weight=10.0)}
    one = model(predictor=Remask(), corruption=Corruption(keep=1), objectives=again)
    step = one.step(BATCH, seed=1)
    first, second = step.prediction.values, step.objectives["second"].prediction.values
    assert not torch.equal(first, second)
    close(step.terms["latent"], 0.0)  # the teacher is a copy of the encoder, which saw all
    close(step.loss.total, sum(F.mse_loss(one, step.target) for one in (first, second)))


def test_codes_of_a_frozen_tokenizer_and_a_contrast_with_a_momentum_encoder():
    """Point-BERT: which entry a hidden place is, and which sample a code is of."""

    class Codes(Target):
        def __init__(self):
            super().__init__()
            self.frozen = nn.Linear(2, 2, bias=False).requires_grad_(False)
            nn.init.eye_(self.frozen.weight)

        def forward(self, tokens, mask, given=None):
            return mask.asked.gather(self.frozen(tokens.values).argmax(-1))

    class Momentum(Term):
        def start(self, model):
            self.slow = copy.deepcopy(model.encoder).requires_grad_(False)

        def update(self, model, progress):
            torch._foreach_lerp_(list(self.slow.parameters()), list(model.encoder.parameters()), 0.5)
            return {}

        def forward(self, step, model):
            keys = self.slow(step.tokens, step.mask).pool()
            return F.cross_entropy(step.latent.pool() @ keys.T, torch.arange(2))

    one = model(target=Codes(), loss=CrossEntropyLoss(), terms={"contrast": Momentum()})
    step = one.step(BATCH)
    assert step.target.tolist() == [[1, 1], [1, 0]]  # the larger of two numbers, the first of equal ones
    means = torch.tensor([[5.0, 6], [4, 1]])  # of the visible places
    close(step.terms["contrast"], F.cross_entropy(means @ means.T, torch.arange(2)))
    with torch.no_grad():
        one.encoder.layers[0].weight.mul_(3)
    one.terms["contrast"].update(one, None)
    close(one.terms["contrast"].slow.layers[0].weight, 2 * torch.eye(2))


def test_a_code_tells_the_bag_of_words():
    """Bag of words: the pooled code must name all words, hidden or not."""

    class Bag(Term):
        def forward(self, step, model):
            words = F.one_hot(step.tokens.values.argmax(-1), 2).amax(1).float()
            return F.binary_cross_entropy_with_logits(step.latent.pool(), words)

    step = model(terms={"bag": Bag(2.0)}).step(BATCH)
    logits, words = torch.tensor([[5.0, 6], [4, 1]]), torch.tensor([[0.0, 1], [1, 1]])
    close(step.terms["bag"], F.binary_cross_entropy_with_logits(logits, words))
    close(step.loss.total, F.mse_loss(step.prediction.values, step.target) + 2 * step.terms["bag"])


def test_a_generator_replaces_and_a_discriminator_judges():
    """ELECTRA: the corruption is a model with a loss of its own."""

    class Generated(Corruption):
        def __init__(self):
            super().__init__(token=1)
            self.guess = nn.Parameter(torch.tensor([5.0, 6.0]))

        def forward(self, tokens, mask):
            filled = torch.where(mask.hidden[..., None], self.guess.detach(), tokens.values)
            error = (self.guess - tokens.values[mask.hidden]).square().mean()
            shown = replace(mask, show=torch.full_like(mask.hidden, KEPT, dtype=torch.int8))
            return Shown(replace(tokens, values=filled), shown, {"generator": error})

    class Generator(Term):
        def forward(self, step, model):
            return step.given.shown.made["generator"]

    class Replaced(Target):
        def forward(self, tokens, mask, given=None):
            return (given.shown.tokens.values != tokens.values).any(-1).long()

    parts = {"target": Replaced(), "loss": CrossEntropyLoss(), "terms": {"generator": Generator()}}
    step = model(asks("all"), corruption=Generated(), predictor=Copy(), **parts).step(BATCH)
    assert step.target.tolist() == [[1, 0, 0, 0], [0, 1, 1, 0]]  # (5, 6) is guessed rightly: an original
    guesses = (torch.tensor([5.0, 6]) - VALUES[HIDDEN]).square().mean()
    close(step.terms["generator"], guesses)
    close(
        step.loss.total, guesses + F.cross_entropy(step.given.shown.tokens.values.flatten(0, 1), step.target.flatten())
    )


def test_two_objectives_never_meet():
    """MR-MAE: visible codes mimic a teacher, a decoder rebuilds hidden values; neither trains the other's head."""
    mimic = Objective("visible", Copy(), EMATeacher(1.0, normalize=False), MSELoss(), weight=1.0)
    one = model(objectives={"mimic": mimic})
    step = one.step(BATCH)
    close(step.terms["mimic"], 0.0)
    step.objectives["mimic"].loss.total.backward()
    assert one.predictor.scale.grad is None
    assert one.encoder.layers[0].weight.grad is not None


def test_answers_are_aligned_with_own_codes_of_hidden_places():
    """CAE: what a regressor says of hidden places must be what the encoder makes of them."""

    class Alignment(Term):
        def forward(self, step, model):
            with torch.no_grad():
                others = model.encoder(step.tokens, replace(step.mask, hidden=~step.mask.hidden)).values
            return F.mse_loss(step.prediction.values, others)

    step = model(terms={"alignment": Alignment(2.0)}).step(BATCH)
    close(step.loss.total, 3 * F.mse_loss(step.prediction.values, step.target))  # codes are values here


def test_a_mask_learns_from_the_step():
    """HPM: places whose loss is predicted to be high are hidden."""

    class Hard(MaskSampler):
        def __init__(self):
            super().__init__(0.5)
            self.register_buffer("expected", torch.zeros(4))

        def observe(self, step, model):
            losses = torch.zeros(2, 4).scatter(1, step.mask.asked.index, step.loss.per_token)
            self.expected += losses.sum(0)

        def sample(self, among, draws):
            hardest = self.expected.expand_as(among.valid).argsort(1, descending=True)[:, :2]
            return torch.zeros_like(among.valid).scatter(1, hardest, True)

    one = model(mask=Hard(), predictor=Mean(scale=0.0))
    one.mask.expected += torch.tensor([0.0, 1, 2, 3])
    step = one.step(BATCH)
    assert step.mask.hidden.tolist() == [[False, False, True, True]] * 2
    one.mask.observe(step, one)  # answers are zeros: mean squares of (5, 6) + (4, 4) and of (7, 8) + (6, 2)
    close(one.mask.expected, [0, 1, 2 + 30.5 + 16, 3 + 56.5 + 20])


def test_a_teacher_s_attention_masks_and_prototypes_meet_over_two_views():
    """AttMask and iBOT: the student hides what the teacher attends to; each view's code names the other's prototype."""

    class Attended(MaskSampler):
        def __init__(self):
            super().__init__(0.5)
            self.teacher = ()

        def start(self, model):
            self.teacher = (model.target.teacher,)  # not a part of the mask

        def sample(self, among, draws):
            score = self.teacher[0](among.tokens).values.norm(dim=-1)
            order = score.argsort(1, descending=True)[:, :2]
            return torch.zeros_like(among.valid).scatter(1, order, True)

    class Prototypes(Term):
        def forward(self, step, model):
            codes = {name: part.pool() for name, part in step.latent.parts.items()}
            wanted = {name: model.target.teacher(part).pool() for name, part in step.tokens.parts.items()}
            return sum(F.cross_entropy(codes[a], wanted[b].softmax(-1).detach()) for a, b in ("uv", "vu"))

    batch = {"u": VALUES, "v": VALUES.flip(0), "index": torch.arange(2)}
    parts = {"target": EMATeacher(1.0, normalize=False), "terms": {"prototypes": Prototypes()}}
    step = model(tokenizer=Fake("u", "v"), mask=Attended(), **parts).step(batch)
    assert step.mask.parts["u"].hidden.tolist() == [[False, False, True, True], [False, False, True, True]]
    u, whole = torch.tensor([[2.0, 3], [1, 1]]), torch.tensor([[4.0, 5], [3, 2]])
    close(
        step.terms["prototypes"],
        F.cross_entropy(u, whole.flip(0).softmax(-1)) + F.cross_entropy(u.flip(0), whole.softmax(-1)),
    )


def test_a_crop_is_rebuilt_by_cross_attention_to_another():
    """CropMAE: one view is whole, the other nearly all hidden; its answers come from the codes of both."""

    class Cross(Predictor):
        joint = True

        def forward(self, latent, places, mask):
            query = latent.part("local").values.mean(1, keepdim=True)  # [B, 1, D]
            memory = latent.part("whole").values
            answer = (query @ memory.mT).softmax(-1) @ memory
            asked = mask.part("local").asked
            part = Prediction(answer.expand(-1, asked.index.shape[1], -1), asked)
            return Prediction.join({"local": part})

    batch = {"whole": VALUES, "local": VALUES[:, 1:3], "index": torch.arange(2)}
    mask = MaskByPart({"whole": NoMask(), "local": GivenMask(torch.tensor([[True, False]] * 2))})
    step = model(tokenizer=Fake("whole", "local"), mask=mask, predictor=Cross()).step(batch)
    attention = (VALUES[:, 2:3] @ VALUES.mT).softmax(-1) @ VALUES
    close(step.prediction.part("local").values, attention)
    close(step.loss.total, F.mse_loss(attention, VALUES[:, 1:2]))


def test_several_disjoint_masks_of_one_image():
    """DMJD: the masks share no hidden place and hide every place once; the loss is the mean over them."""

    class Disjoint(MaskSampler):
        joint = True

        def __init__(self):
            super().__init__(0.5)

        def forward(self, tokens, progress=None, draws=None):
            first = RandomMask(0.5)(tokens, progress, draws)
            return Mask.join({"a": first, "b": replace(first, hidden=~first.hidden)})

        def sample(self, among, draws): ...

    step = model(mask=Disjoint(), predictor=Mean(scale=0.0)).step(BATCH)
    assert torch.equal(step.mask.parts["a"].hidden, ~step.mask.parts["b"].hidden)
    close(step.loss.total, VALUES.square().mean())  # answers are zeros, every place is asked once


def test_a_spectrum_is_corrupted():
    """MFM: nothing is hidden in space; frequencies are, and all values are asked."""

    class Lowpass(Corruption):
        def __init__(self):
            super().__init__(keep=1)

        def forward(self, tokens, mask):
            spectrum = torch.fft.rfft(tokens.values, dim=1)
            spectrum[:, 1:] = 0
            return Shown(replace(tokens, values=torch.fft.irfft(spectrum, n=4, dim=1)), mask)

    step = model(asks("all"), mask=NoMask(), corruption=Lowpass(), predictor=Copy()).step(BATCH)
    mean = VALUES.mean(1, keepdim=True).expand_as(VALUES)  # frequency 0 alone is the mean
    close(step.latent.values, mean)
    close(step.loss.total, F.mse_loss(mean, VALUES))


def test_positions_are_asked_not_contents():
    """MP3: the encoder sees contents without their places, and names the place of each."""

    class Where(Target):
        def forward(self, tokens, mask, given=None):
            return mask.asked.index

    class Places4(Predictor):
        def forward(self, latent, places, mask):
            return Prediction(F.pad(mask.asked.gather(latent.values), (0, 2)), mask.asked)

    parts = {"target": Where(), "loss": CrossEntropyLoss(), "predictor": Places4()}
    step = model(asks("all"), corruption=Corruption(keep=1), **parts).step(BATCH)
    scores = F.pad(VALUES, (0, 2)).flatten(0, 1)
    close(step.loss.total, F.cross_entropy(scores, torch.arange(4).repeat(2)))


def test_samples_of_a_batch_are_mixed():
    """MixedAE: hidden places show another sample's values; both are to be told apart again."""

    class Mixed(Corruption):
        def __init__(self):
            super().__init__(keep=1)

        def forward(self, tokens, mask):
            values = torch.where(mask.hidden[..., None], tokens.values.flip(0), tokens.values)
            shown = replace(mask, show=torch.full_like(mask.hidden, KEPT, dtype=torch.int8))
            return Shown(replace(tokens, values=values), shown)

    step = model(corruption=Mixed(), predictor=Copy()).step(BATCH)
    close(step.prediction.values, torch.tensor([[[2.0, 0], [4, 4]], [[3, 4], [5, 6]]]))
    close(step.loss.total, (2.5 + 2.5 + 6.5 + 2.5) / 4)  # mean squares of (1, -2), (-1, -2), (3, 2), (1, 2)


def test_an_inner_layer_of_a_frozen_teacher_at_visible_places():
    """DMAE: the teacher sees the visible places alone, and its first layer is met."""

    class FrozenLayer(Target):
        def __init__(self):
            super().__init__()
            self.teacher = TwoLayers().requires_grad_(False)
            self.teacher.layers[0].weight.mul_(2)

        def forward(self, tokens, mask, given=None):
            return self.teacher(tokens, mask, layer=1).values

    step = model(objectives={"distil": Objective("visible", Copy(), FrozenLayer(), L1Loss())}).step(BATCH)
    close(step.objectives["distil"].target, 2 * step.latent.values)
    close(step.terms["distil"], step.latent.values.mean())


def test_a_staged_teacher_starts_the_student_anew():
    """dBOT: at a stage's end the teacher becomes the student, whose weights begin again."""

    class Staged(Target):
        def start(self, model):
            self.teacher = copy.deepcopy(model.encoder).requires_grad_(False)

        def update(self, model, progress):
            if progress.epoch == 2:
                self.teacher.load_state_dict(model.encoder.state_dict())
                model.encoder.load_state_dict(TwoLayers().state_dict())
            return {"stage": float(progress.epoch >= 2)}

        def forward(self, tokens, mask, given=None):
            return mask.asked.gather(self.teacher(tokens).values)

    one = model(target=Staged())
    with torch.no_grad():
        one.encoder.layers[0].weight.mul_(3)
    assert one.target.update(one, type("P", (), {"epoch": 2})) == {"stage": 1.0}
    close(one.step(BATCH).target, 3 * VALUES[HIDDEN].view(2, 2, 2))
    close(one.encoder.layers[0].weight, torch.eye(2))


def test_two_modalities_contrast_and_nothing_is_predicted():
    """FLIP: images half hidden, texts whole, each by an encoder of its own."""

    class Contrast(Term):
        def forward(self, step, model):
            a, b = (F.normalize(step.latent.parts[name].pool(), dim=-1) for name in ("image", "text"))
            scores, own = a @ b.T / 0.1, torch.arange(len(a))
            return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2

    nothing = {"predictor": None, "target": None, "loss": None, "terms": {"contrast": Contrast()}}
    encoder = EncoderByPart({"image": TwoLayers(), "text": TwoLayers()})
    mask = MaskByPart({"image": GivenMask(HIDDEN), "text": NoMask()})
    batch = {"image": VALUES, "text": VALUES[:, :1], "index": torch.arange(2)}
    step = model(tokenizer=Fake("image", "text"), encoder=encoder, mask=mask, **nothing).step(batch)
    a, b = F.normalize(torch.tensor([[5.0, 6], [4, 1]]), dim=-1), F.normalize(VALUES[:, 0], dim=-1)
    both = [F.cross_entropy(s / 0.1, torch.arange(2)) for s in (a @ b.T, b @ a.T)]
    close(step.loss.total, sum(both) / 2)
    assert step.prediction is None


def test_joint_parts_share_one_budget():
    """MultiMAE: so many visible places over all parts, whatever part they are of; each part is rebuilt."""

    class Budget(MaskSampler):
        joint = True

        def forward(self, tokens, progress=None, draws=None):
            sizes = [part.num_tokens for part in tokens.parts.values()]
            flat = draws.named("budget").uniform(sum(sizes)).argsort(1).argsort(1) >= 3  # 3 stay visible
            parts = zip(tokens.parts, flat.split(sizes, dim=1), strict=True)
            return Mask.join({name: Mask(hidden, draws=draws) for name, hidden in parts})

        def sample(self, among, draws): ...

    class All(Encoder):
        joint, width, num_layers = True, 2, 2

        def forward(self, tokens, mask=None, layer=None):
            seen = mask.visible
            return Latent(seen.gather(tokens.values), seen)

    batch = {"rgb": VALUES, "depth": VALUES * 10, "index": torch.arange(2)}
    one = model(tokenizer=Fake("rgb", "depth"), mask=Budget(), encoder=All(), predictor=Zeros())
    step = one.step(batch, seed=3)
    assert step.latent.values.shape == (2, 3, 2)  # a budget, not a ratio of each
    parts = zip(step.prediction.parts.values(), step.target.values(), strict=True)
    close(step.loss.total, sum(_mean(asked, right) for asked, right in parts) / 2)


class Zeros(Predictor):
    """Nothing but zeros, whatever the codes are."""

    def forward(self, latent, places, mask):
        return Prediction(torch.zeros(*mask.asked.index.shape, 2), mask.asked)


def _mean(prediction, right):
    """Mean square of the right answers that are asked for."""
    real = prediction.asked.valid
    squares = right.square().mean(-1)
    return squares.mean() if real is None else squares[real].mean()


def test_two_masks_and_two_decoders():
    """Point-CMAE: two masks of one cloud, a decoder for each, and one encoder."""

    class Twice(MaskSampler):
        joint = True

        def forward(self, tokens, progress=None, draws=None):
            return Mask.join({name: GivenMask(HIDDEN if name == "a" else ~HIDDEN)(tokens) for name in "ab"})

        def sample(self, among, draws): ...

    step = model(mask=Twice(), predictor=PredictorByPart({"a": Mean(scale=1.0), "b": Mean(scale=0.0)})).step(BATCH)
    visible, hidden = VALUES[~HIDDEN].view(2, 2, 2), VALUES[HIDDEN].view(2, 2, 2)
    first = F.mse_loss(visible.mean(1, keepdim=True).expand_as(hidden), hidden)
    close(step.loss.total, (first + visible.square().mean()) / 2)


def test_a_ratio_is_drawn_for_each_sample_and_decoding_fills_what_is_hidden():
    """MaskGIT: the share hidden is the cosine of an even angle; surest places are filled first."""
    batch = {"x": torch.zeros(4000, 8, 2), "index": torch.arange(4000)}
    step = model(mask=RandomMask(CosineSpread())).step(batch, seed=0)
    share = step.mask.hidden.float().mean(1)
    assert abs(share.mean() - 2 / math.pi) < 0.06  # the mean of cos(pi / 2 u), rounded up to eighths
    assert share.std() > 0.2

    def score(ids, sample, place):
        return torch.eye(4)[place] * 100.0 * (place[:, None] + 1)  # place k is k, the later the surer

    ids = torch.full((1, 4), -1)
    filled = decode(score, ids, ids < 0, steps=4, order="probability")
    assert filled.tolist() == [[0, 1, 2, 3]]


def test_a_noise_process_weighs_by_its_time():
    """MD4: hidden with the chance of its time, weighed by the schedule's slope over that chance."""
    process = Process("linear", eps=0.0)
    time = torch.tensor([0.25, 0.5])
    close(process.hidden_share(time), time)
    close(process.weight(time), 1 / time)


def test_replaced_tokens_are_detected():
    """RTS: a random value stands at some places; every place is judged, by what really changed."""

    class Stood(Target):
        def forward(self, tokens, mask, given=None):
            shown = given.shown
            seen = shown.tokens.values.clone()
            donors = tokens.values.gather(1, shown.mask.donor[..., None].expand_as(tokens.values))
            seen = torch.where(shown.mask.hidden[..., None], donors, seen)
            return (seen != tokens.values).any(-1).long()

    parts = {"target": Stood(), "loss": CrossEntropyLoss(), "predictor": Copy()}
    step = model(asks("all"), corruption=Corruption(random=1), **parts).step(BATCH, seed=0)
    assert torch.equal(step.target.bool(), HIDDEN)  # no two places of a sample are alike here
    assert step.loss.per_token.shape == (2, 4)


@pytest.mark.parametrize("name", [name for name in list(globals()) if name.startswith("test_")])
def test_each_method_is_short_and_has_no_step(name):
    source = inspect.getsource(globals()[name])
    assert "def step" not in source
    assert len(source.splitlines()) <= 36, "25 lines of a method, and the check"
