"""What a fixed time on a CPU buys: `text.mlm` against transformers' own loop, from the same weights, on the same text.

Books and customer queries (without their labels) are cut by one vocabulary of 8,000. A 4x256 BERT is trained
for the same wall time twice: as `text.mlm`, and as `BertForMaskedLM` with `DataCollatorForLanguageModeling` on
padded batches of the same documents. Optimiser, learning rate, its schedule (by the clock), gradient clipping,
batch size and precision are the same. Then both say the same hidden tokens of held-out text, and probes tell
intents from frozen features of one middle layer, beside TF-IDF and the untrained encoder.

    python benchmarks/quality/text.py BOOKS BANKING77 [--budget_s 900]

BOOKS is a folder of .txt files; BANKING77 one with train.csv and test.csv (`text,category`).
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import BertConfig, BertForMaskedLM, DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from unmask import Linear, seeds
from unmask.evaluate.features import features
from unmask.evaluate.probe import probe_columns
from unmask.evaluate.samples import batches
from unmask.masks import RandomMask
from unmask_text.corruption import VocabularyCorruption
from unmask_text.data.files import TextFilesData
from unmask_text.exchange import from_transformers, to_transformers
from unmask_text.methods.mlm import MLM
from unmask_text.methods.sizes import encoder_of
from unmask_text.vocabulary import vocabulary

CLS, SEP = 2, 3
WARMUP = 0.05  # of the time
HELD_OUT = 0.05  # of every book, its end
Loss = Callable[[dict[str, Any]], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("books", type=Path)
    parser.add_argument("banking77", type=Path)
    parser.add_argument("--budget_s", type=float, default=900, help="of training, for each side")
    parser.add_argument("--batch", type=int, default=16, help="documents of at most 128 tokens")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", default="bf16", choices=["float32", "bf16"])
    parser.add_argument("--layer", type=int, default=2, help="of the four, whose codes are probed")
    parser.add_argument("--draws", type=int, default=5, help="of 10 labels per class")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        data = read(arguments, Path(folder))
        torch.manual_seed(arguments.seed)
        untrained = model(arguments, data)
        ours = copy.deepcopy(untrained)
        theirs = BertForMaskedLM(BertConfig.from_dict(ours.encoder.model.config.to_dict()))
        theirs.load_state_dict(to_transformers(ours), strict=True)
        print(f"{len(data.splits.train):,} documents, vocabulary {len(vocabulary(data.tokenizer)):,}, "
              f"{sum(p.numel() for p in ours.parameters()):,} parameters", flush=True)  # fmt: skip

        models = {"untrained": untrained, "unmask": ours, "transformers": copy.deepcopy(untrained)}
        generator = torch.Generator().manual_seed(arguments.seed)
        progress = {"done": 0.0}
        ours.mask.ratio = AsTimePasses(progress)
        train("unmask", ours, lambda batch: ours.step(batch, generator).loss.total, data, arguments, progress)
        train("transformers", theirs, their_loss(theirs, data.tokenizer), data, arguments, {})
        models["transformers"].load_state_dict(from_transformers(untrained, theirs.state_dict()), strict=False)

        print("\nheld-out loss at the same hidden tokens, in nats")
        for name, one in models.items():
            print(f"  {name:14s} {held_out_loss(one, data):.3f}", flush=True)
        probe(models, data, arguments)


class AsTimePasses(Linear):
    """30% hidden at first, 15% at the end of the time."""

    def __init__(self, progress: dict[str, float]) -> None:
        super().__init__(start=0.3, end=0.15)
        object.__setattr__(self, "clock", progress)

    def fraction(self, progress: Any) -> float:
        return self.clock["done"]


def read(arguments: argparse.Namespace, folder: Path) -> TextFilesData:
    """All but the end of every book and the training queries to train on; the rest, and the test queries, held out."""
    for part in ("train", "val"):
        (folder / part).mkdir()
    for book in sorted(arguments.books.glob("*.txt")):
        text = book.read_text("utf-8", errors="replace")
        cut = text.rfind("\n", 0, int(len(text) * (1 - HELD_OUT)))
        (folder / "train" / book.name).write_text(text[:cut], "utf-8")
        (folder / "val" / book.name).write_text(text[cut:], "utf-8")
    queries = {name: str(arguments.banking77 / f"{name}.csv") for name in ("train", "test")}
    data = TextFilesData(
        paths=[str(folder / "train"), queries["train"]],
        val_paths=[str(folder / "val"), queries["test"]],
        probe_paths=queries["train"],
        probe_test_paths=queries["test"],
        labels="category",
        vocab_size=8000,
        max_length=128,
        batch_size=arguments.batch,
        val_batch_size=64,
        cache_folder=str(folder / "cache"),
    )
    data.setup("fit")
    return data


def model(arguments: argparse.Namespace, data: TextFilesData) -> MLM:
    """A 4x256 BERT without dropout: nothing is seen often enough to be learned by heart."""
    encoder = encoder_of("bert", "mini", len(vocabulary(data.tokenizer)), dropout=0.0, max_length=128)
    return MLM(encoder=encoder, mask=RandomMask(0.15))


def train(
    name: str, model: torch.nn.Module, loss: Loss, data: TextFilesData, arguments: argparse.Namespace, progress: dict
) -> None:
    """AdamW until the time is over, epoch after epoch; the rate rises and falls with the time that has passed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=arguments.lr, betas=(0.9, 0.98), fused=True)
    model.train()
    torch.manual_seed(arguments.seed)
    loader = data.train_dataloader()
    start = told = time.perf_counter()
    steps = tokens = 0
    while True:
        for batch in loader:
            done = (time.perf_counter() - start) / arguments.budget_s
            if done >= 1:
                print(f"  {name}: {steps:,} steps, {tokens:,} tokens in {done * arguments.budget_s:.0f} s", flush=True)
                return
            progress["done"] = done
            rate = min(done / WARMUP, 0.5 * (1 + math.cos(math.pi * max(done - WARMUP, 0) / (1 - WARMUP))))
            for group in optimizer.param_groups:
                group["lr"] = arguments.lr * rate
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
                value = loss(batch)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            steps, tokens = steps + 1, tokens + len(batch["ids"])
            if time.perf_counter() - told > 30:
                told = time.perf_counter()
                print(f"  {name}: {done:.0%}, step {steps:,}, training loss {value.item():.3f}", flush=True)


def their_loss(model: BertForMaskedLM, tokenizer_file: str) -> Loss:
    """Padded rows of the same documents, masked by transformers' collator, through its model."""
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    collate = DataCollatorForLanguageModeling(PreTrainedTokenizerFast(tokenizer_file=tokenizer_file, **special))

    def loss(batch: dict[str, Any]) -> torch.Tensor:
        documents = batch["ids"].split(batch["offsets"].diff().tolist())
        return model(**collate([{"input_ids": [CLS, *ids.tolist(), SEP]} for ids in documents])).loss

    return loss


@torch.no_grad()
def held_out_loss(model: MLM, data: TextFilesData) -> float:
    """The mean over 15% of the held-out tokens, all shown as [MASK], the same for every model."""
    model = copy.deepcopy(model).eval()
    model.mask.ratio, model.corruption = 0.15, VocabularyCorruption(token=1)
    total = count = 0.0
    for number, batch in enumerate(data.val_dataloader()):
        losses = model.step(batch, seeds.generator("cpu", "held-out", number)).loss.per_token
        total, count = total + losses.sum().item(), count + losses.numel()
    return total / count


def probe(models: dict[str, MLM], data: TextFilesData, arguments: argparse.Namespace) -> None:
    """Intents by logistic regression on frozen features, and on TF-IDF."""
    sets = (data.splits.probe_train, data.splits.probe_test)
    loaders = [batches(data, one, data.val_batch_size) for one in sets]
    named = vocabulary(data.tokenizer).tokenizer
    words = TfidfVectorizer(min_df=2, sublinear_tf=True, dtype=np.float32)
    texts = [[named.decode(one[n]["ids"].tolist()) for n in range(len(one))] for one in sets]
    columns = {"TF-IDF": (words.fit_transform(texts[0]).toarray(), words.transform(texts[1]).toarray())}
    for name, one in models.items():
        train, test = (features(one.encoder, one.tokenizer, loader, "mean", arguments.layer) for loader in loaders)
        columns[name] = (train[0], test[0])
    found = probe_columns(
        columns,
        train[1],
        test[1],
        probes=("linear",),
        labels_per_class=(10,),
        num_draws=arguments.draws,
        seed=arguments.seed,
    )
    print(f"\nintents told right, from layer {arguments.layer} of 4; {found.num_train:,} queries to fit on")
    print(f"  {'':24s}" + "".join(f"{name:>14s}" for name in columns))
    for row in found.rows:
        cells = ((row.mean(name), row.error(name)) for name in columns)
        print(f"  {row.name:24s}" + "".join(f"{m:14.3f}" if e is None else f"{m:8.3f}±{e:.3f}" for m, e in cells))


if __name__ == "__main__":
    main()
