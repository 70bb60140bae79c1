"""Shared by the tests of encoders and methods: small documents, a mask that hides what a test says, small sizes."""

import pytest
import torch
from torch import Tensor

from unmask import Draws, Mask, Sequence, Tokens
from unmask.testing import GivenMask, shaken

VOCAB_SIZE = 97
LENGTHS = (19, 7, 30, 7, 12)
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
KINDS = {
    "bert": PLAIN,
    "roberta": PLAIN | {"type_vocab_size": 1, "pad_token_id": 1},
    "electra": PLAIN | {"embedding_size": 24},
    "modernbert": {
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
        "bos_token_id": 2,
        "cls_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
    },
    "deberta-v2": PLAIN
    | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16, "position_buckets": 8},
}


@pytest.fixture
def given_mask():
    return GivenMask


@pytest.fixture
def settings():
    """Settings of a small model of one kind, for `TransformersEncoder` or a configuration of transformers."""

    def make(kind: str, **others) -> dict:
        common = {"model_type": kind, "vocab_size": VOCAB_SIZE, "max_position_embeddings": 48, "pad_token_id": 0}
        return common | SMALL | KINDS[kind] | others

    return make


@pytest.fixture
def documents():
    """A packed batch of five documents of 7 to 30 tokens."""

    def make(seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.tensor(LENGTHS)
        return {
            "ids": torch.randint(5, VOCAB_SIZE, (sum(LENGTHS),), generator=generator),
            "word": torch.cat([torch.arange(length) // 2 for length in LENGTHS]),
            "offsets": torch.nn.functional.pad(lengths.cumsum(0), (1, 0)),
        }

    return make


@pytest.fixture
def dense():
    """The padded form of a packed batch."""

    def make(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        lengths = batch["offsets"].diff()
        valid = torch.arange(int(lengths.max())) < lengths[:, None]
        rows = {name: torch.zeros(valid.shape, dtype=torch.long) for name in ("ids", "word")}
        return {name: row.masked_scatter(valid, batch[name]) for name, row in rows.items()} | {"valid": valid}

    return make


@pytest.fixture
def some_hidden():
    """``[T]`` bool, about ``ratio`` of it True: the first place of every document, never the second."""

    def make(batch: dict[str, Tensor], ratio: float = 0.3, seed: int = 1) -> Tensor:
        offsets = batch["offsets"]
        hidden = torch.rand(int(offsets[-1]), generator=torch.Generator().manual_seed(seed)) < ratio
        hidden[offsets[:-1]] = True
        hidden[offsets[:-1] + 1] = False
        return hidden

    return make


@pytest.fixture
def corrupted():
    """What a corruption shows of hidden places ``[T]`` or ``[B, N]``, with streams of a seed."""

    def make(corruption, hidden: Tensor, seed: int = 0, offsets: Tensor | None = None) -> Mask:
        if hidden.ndim == 1 and offsets is None:
            offsets = torch.tensor([0, len(hidden)])
        tokens = Tokens(torch.zeros_like(hidden, dtype=torch.long), Sequence(), offsets=offsets)
        draws = Draws.of(seed, torch.arange(tokens.num_samples))
        return corruption(tokens, Mask(hidden, draws=draws)).mask

    return make


@pytest.fixture
def shake():
    return shaken
