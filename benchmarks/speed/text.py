"""One training step of ours against transformers' `BertForMaskedLM` with its own collator, same sizes and text.

A 4x512 BERT with a vocabulary of 30,522 on batches of 16 documents of at most 128 tokens: once all of them
full (nothing padded), once paragraphs of CPython's own documentation as they come (the share of padding is
printed). Masks, collator, forward, backward and AdamW (torch's fused one, on both sides) are all timed, in the
same process, turn by turn; the figure is the ratio of the medians, so a slow minute of the machine slows both.
First both get the same masks, and must give the same loss.

    python benchmarks/speed/text.py [--rounds 9] [--precision float32 bf16] [--text full ragged]
"""

from __future__ import annotations

import argparse
import hashlib
import re
import statistics
import time
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertForMaskedLM, DataCollatorForLanguageModeling, PreTrainedTokenizerFast
from turns import adamw, stepper

from unmask import Corruption, Mask
from unmask_text.exchange import to_transformers
from unmask_text.methods.mlm import MLM

VOCAB_SIZE, LENGTH, BATCH = 30_522, 128, 16
PAD, UNK, CLS, SEP, MASK = range(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", nargs="+", default=["float32", "bf16"], choices=["float32", "bf16"])
    parser.add_argument("--text", nargs="+", default=["full", "ragged"], choices=["full", "ragged"])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    for text in arguments.text:
        batches = [full, ragged][text == "ragged"](arguments.rounds + 2)
        padding = statistics.mean(1 - sum(map(len, b)) / (len(b) * max(map(len, b))) for b in batches)
        for precision in arguments.precision:
            torch.manual_seed(0)
            ours = MLM(size="small", vocab_size=VOCAB_SIZE, dropout=0).to(arguments.device)
            theirs = BertForMaskedLM(BertConfig.from_dict(ours.encoder.model.config.to_dict())).to(arguments.device)
            theirs.load_state_dict(to_transformers(ours), strict=True)
            print(f"{text} documents, {padding:.0%} padding, {precision}")
            same_loss(ours, theirs, batches[0], precision, arguments.device)
            compare(ours, theirs, batches, precision, arguments.device)


def compare(ours: MLM, theirs: BertForMaskedLM, batches: list[list[list[int]]], precision: str, device: str) -> None:
    """Both sides, turn by turn."""
    collate = DataCollatorForLanguageModeling(vocabulary(), mlm_probability=0.15)

    def our_loss(documents: list[list[int]]) -> torch.Tensor:
        return ours.step(to_device(packed(documents), device)).loss.total

    def their_loss(documents: list[list[int]]) -> torch.Tensor:
        batch = collate([{"input_ids": [CLS, *ids, SEP]} for ids in documents])
        return theirs(**to_device(batch, device)).loss

    steps = {
        name: stepper(model, loss, adamw(model, fused=True), device, precision == "bf16")
        for name, model, loss in (("unmask", ours, our_loss), ("transformers", theirs, their_loss))
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn, documents in enumerate(batches):
        for name, step in steps.items():
            start = time.perf_counter()
            step(documents)
            if device != "cpu":
                torch.cuda.synchronize()
            if turn >= 2:  # the first two warm caches up
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    tokens = statistics.mean(sum(map(len, documents)) for documents in batches)
    for name, median in medians.items():
        print(f"  {name:14s} {median * 1e3:8.1f} ms a step, {tokens / median:8.0f} tokens/s")
    print(f"  ratio          {medians['transformers'] / medians['unmask']:8.2f} x transformers' speed")


def same_loss(ours: MLM, theirs: BertForMaskedLM, documents: list[list[int]], precision: str, device: str) -> None:
    """The same documents, masks and weights give the same loss on both sides."""
    batch = to_device(packed(documents), device)
    tokens = ours.tokenizer(batch)
    hidden = torch.rand(tokens.values.shape, generator=torch.Generator().manual_seed(1)).to(device) < 0.15
    mask = Corruption(token=1)(tokens, Mask(hidden)).mask
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor([CLS, *ids, SEP]) for ids in documents], batch_first=True).to(
        device
    )
    real = rows != PAD
    inside = real & (rows != CLS) & (rows != SEP)
    labels = torch.full_like(rows, -100)
    labels[inside] = torch.where(hidden, tokens.values, -100)
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        latent = ours.encoder(tokens, mask)
        mine = ours.loss(ours.predictor(latent, tokens.places, mask), ours.target(tokens, mask)).total
        other = theirs(rows.masked_fill(labels != -100, MASK), attention_mask=real.long(), labels=labels).loss
    difference = abs(float(mine - other)) / float(other)
    print(f"  same masks: loss {float(mine):.5f} and {float(other):.5f}")
    assert difference < (1e-5 if precision == "float32" else 1e-2), "the losses differ"


def full(count: int) -> list[list[list[int]]]:
    """Batches of documents of the greatest length."""
    words = [number for paragraph in paragraphs() for number in paragraph]
    size = LENGTH - 2
    documents = [words[start : start + size] for start in range(0, len(words) - size, size)]
    return [[documents[(turn * BATCH + i) % len(documents)] for i in range(BATCH)] for turn in range(count)]


def ragged(count: int) -> list[list[list[int]]]:
    """Batches of paragraphs of CPython's language reference, cut at the greatest length."""
    documents = [paragraph[: LENGTH - 2] for paragraph in paragraphs() if len(paragraph) >= 40]
    order = torch.randperm(len(documents), generator=torch.Generator().manual_seed(0)).tolist()
    return [[documents[order[(turn * BATCH + i) % len(order)]] for i in range(BATCH)] for turn in range(count)]


def paragraphs() -> list[list[int]]:
    """Of all topics, as ids: every word or mark has one, by a hash of its letters."""
    texts = [paragraph for name in sorted(topics) for paragraph in topics[name].split("\n\n")]
    return [[identity(word) for word in re.findall(r"\w+|[^\w\s]", text)] for text in texts]


def identity(word: str) -> int:
    number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
    return 5 + number % (VOCAB_SIZE - 5)


def packed(documents: list[list[int]]) -> dict[str, torch.Tensor]:
    """A batch as the data modules of unmask-text make it."""
    lengths = torch.tensor([len(ids) for ids in documents])
    return {
        "ids": torch.tensor([number for ids in documents for number in ids]),
        "word": torch.cat([torch.arange(length) for length in lengths.tolist()]),
        "offsets": torch.nn.functional.pad(lengths.cumsum(0), (1, 0)),
    }


def to_device(batch: Any, device: str) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def vocabulary() -> PreTrainedTokenizerFast:
    """A tokenizer for the collator, which asks it for special ids and to pad."""
    special = {"[PAD]": PAD, "[UNK]": UNK, "[CLS]": CLS, "[SEP]": SEP, "[MASK]": MASK}
    words = special | {f"word{number}": number for number in range(5, VOCAB_SIZE)}
    names = {f"{name[1:-1].lower()}_token": name for name in special}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="[UNK]")), **names)


if __name__ == "__main__":
    main()
