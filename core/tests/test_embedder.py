"""From a batch to codes with nothing hidden."""

from __future__ import annotations

import torch
from torch import nn

from unmask import Embedder, Encoder, Latent, MaskedModel, Sequence, Tokenizer, TokenizerByPart, Tokens
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import LinearPredictor
from unmask.targets import EMATeacher, ValueTarget


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Sequence(), valid=batch.get("valid"), offsets=batch.get("offsets"))


class Scaled(Encoder):
    width, num_layers = 2, 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, tokens, mask=None, layer=None):
        assert mask is None, "nothing is hidden"
        return Latent(tokens.values * self.scale ** self.depth(layer))


class Taught(MaskedModel):
    @property
    def embedder(self):
        return Embedder(self.tokenizer, self.target.teacher)


def model(cls=MaskedModel, target=None):
    return cls(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Scaled(), predictor=LinearPredictor(2, 2),
        target=target or ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


X = torch.arange(12.0).reshape(2, 3, 2)
VALID = torch.tensor([[True, True, False], [True, False, False]])


def test_a_batch_becomes_codes_of_everything_that_know_where_they_lie():
    one = model()
    assert torch.equal(one.embed({"x": X}).values, 4 * X)
    assert torch.equal(one.embed({"x": X}, layer=1).values, 2 * X)
    padded = one.embed({"x": X, "valid": VALID})
    assert padded.places.values is None
    assert padded.pool().tolist() == [[4, 8], [24, 28]]
    assert padded.pool("max", Tokens(None, Sequence())).tolist() == [[16, 20], [40, 44]], "given places count"
    packed = one.embed({"x": X.flatten(0, 1), "offsets": torch.tensor([0, 2, 6])})
    assert packed.pool().tolist() == [[4, 8], [28, 32]]
    assert torch.equal(one.predict_step({"x": X, "valid": VALID}, 0), padded.pool())


def test_each_part_knows_its_own_places():
    parts = TokenizerByPart({"a": Rows(), "b": Rows()}, {"b": {"x": "y", "valid": "known"}})
    batch = {"x": X, "valid": None, "y": X, "known": VALID}
    found = Embedder(parts, Scaled())(batch)
    assert found.part("b").pool().tolist() == [[4, 8], [24, 28]]
    assert torch.equal(found.pool(), torch.stack([found.part(name).pool() for name in ("a", "b")]).mean(0))


def test_the_parts_are_the_models_own_and_left_as_they_are():
    for one in (model(), model(Taught, EMATeacher())):
        names = list(one.state_dict())
        one.train()
        one.encoder.eval()
        modes = [part.training for part in one.modules()]
        flags = [parameter.requires_grad for parameter in one.parameters()]
        embedder = one.embedder
        assert embedder.tokenizer is one.tokenizer
        assert embedder.encoder is (one.target.teacher if isinstance(one, Taught) else one.encoder)
        assert (embedder.width, embedder.num_layers, embedder.depth(1), embedder.depth(None)) == (2, 2, 1, 2)
        assert list(one.state_dict()) == names
        assert [part.training for part in one.modules()] == modes
        assert [parameter.requires_grad for parameter in one.parameters()] == flags
