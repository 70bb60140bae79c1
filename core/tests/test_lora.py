"""LoRA in fine-tuning: nothing changes before training, only what is low-rank learns, and a checkpoint comes back."""

import sys

import pytest
import torch
from torch import nn

from unmask import Encoder, Grid, Latent, MaskedDataModule, MaskedModel, Tokenizer, Tokens
from unmask.data import Splits
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.nn import Transformer
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.tools.features.labels import CLASSIFICATION, Task
from unmask.tools.finetune import FineTuning, Settings, finetune, load
from unmask.tools.finetune.objective import Classification


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Grid((2, 4)))


class Data(MaskedDataModule):
    """Three classes whose tokens lie around three centres."""

    def __init__(self):
        super().__init__(batch_size=16, num_workers=0)

    def load(self):
        x = torch.randn(78, 8, 4, generator=torch.Generator().manual_seed(0))
        made = [{"x": one + 2 * torch.eye(3, 4)[i % 3], "label": i % 3} for i, one in enumerate(x)]
        return Splits(made[:48], made[48:], made[:48], made[48:])


class Pointwise(Encoder):
    """One layer, no blocks."""

    num_layers, width = 1, 8

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.layer(tokens.values))


class Blocks(Encoder):
    """Blocks that attend."""

    num_layers, width = 2, 8

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(4, 8)
        self.trunk = Transformer(8, depth=2, num_heads=2)

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.trunk(self.enter(tokens.values)))


def attending(seed=0, encoder=Blocks):
    torch.manual_seed(seed)
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=encoder(), predictor=LinearPredictor(8, 4),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def tuned(settings, own=None):
    made = FineTuning(own or attending(), Classification(3), Task(CLASSIFICATION), settings)
    with torch.no_grad():
        made.head[-1].weight.normal_(generator=torch.Generator().manual_seed(5))
    return made.eval()


def test_nothing_changes_before_training():
    batch = {"x": torch.randn(3, 8, 4)}
    torch.testing.assert_close(tuned(Settings(lora_rank=2))(batch), tuned(Settings())(batch))


def test_a_layer_by_hand():
    made = tuned(Settings(lora_rank=2, lora_alpha=6.0))
    layer = made.encoder.trunk.blocks[1].mlp.fc1
    first, second = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (first.shape, second.shape) == ((2, 8), (layer.out_features, 2))
    assert not second.any()
    with torch.no_grad():
        second.normal_()
    x = torch.randn(5, 8)
    expected = x @ layer.base_layer.weight.T + layer.base_layer.bias + 6 / 2 * (x @ first.T @ second.T)
    torch.testing.assert_close(layer(x), expected)


def test_only_the_change_and_the_head_are_trained(tmp_path):
    own = attending()
    before = {name: one.clone() for name, one in own.encoder.state_dict().items()}
    settings = Settings(epochs=8, batch_size=16, lr=0.3, val_ratio=0.25, lora_rank=2)
    result = finetune(
        Data(), pretrained=own, scratch=lambda seed: attending(100 + seed), settings=settings, folder=tmp_path
    )
    assert "the head and changes of rank 2 of the frozen encoder" in result.text()
    again = load(tmp_path / "finetune" / "pretrained-seed0.ckpt", attending(seed=7))
    now = {name.replace(".base_layer", ""): one for name, one in again.encoder.state_dict().items()}
    for name, one in before.items():
        assert torch.equal(now[name], one), name
    changes = [one for name, one in now.items() if "lora_B" in name]
    assert len(changes) == 8  # qkv, proj, fc1 and fc2 of two blocks
    assert all(one.any() for one in changes)
    assert {name for name, one in again.encoder.named_parameters() if one.requires_grad} == {
        name for name in again.encoder.state_dict() if "lora_" in name
    }


def test_what_does_not_fit_is_refused(monkeypatch):
    for options, words in (
        ({"lora_rank": -1}, "`lora_rank` must be at least 0, but is -1"),
        ({"lora_rank": 2, "lora_alpha": 0.0}, "`lora_alpha` must be above 0, but is 0"),
        ({"lora_alpha": 2.0}, "`lora_alpha` must be left out with `lora_rank` 0, but is 2"),
        ({"lora_rank": 2, "freeze": True}, "`lora_rank` must be 0 with `freeze`"),
    ):
        with pytest.raises(ValueError, match=words):
            Settings(**options)
    with pytest.raises(ValueError, match="`lora_rank` must be 0 for Pointwise"):
        tuned(Settings(lora_rank=2), attending(encoder=Pointwise))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="needs peft: pip install 'unmask\\[lora\\]'"):
        tuned(Settings(lora_rank=2))
