"""What a fixed time on a CPU buys: our text methods against transformers' own loop, on the same text.

Books and customer queries (without their labels) are cut by one vocabulary of 8,000. For the same wall time, 4x256
encoders are trained as `text.bag-of-words` and as `text.mlm`, and `BertForMaskedLM` and `ModernBertForMaskedLM` of
4x256 with `DataCollatorForLanguageModeling` on padded batches of the same documents; they take turns of a few seconds
in one process, so that a busy minute of the machine slows all. Optimiser, learning rate, its schedule (by the clock),
gradient clipping, batch size and precision are the same. What ours choose: ModernBERT's layers (`--style bert`:
BERT's), 30% of the tokens hidden at first and 15% at the end, packing, and a head at hidden places alone; and
`text.bag-of-words`, that the mean code of a document must say which tokens it is made of. Then all say the same
hidden tokens of held-out text, and probes tell intents from the mean code of frozen encoders, beside TF-IDF and the
untrained encoder.

    python benchmarks/quality/text.py BOOKS BANKING77 [--budget_s 900]

BOOKS is a folder of .txt files; BANKING77 one with train.csv and test.csv (`text,category`).
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import AutoConfig, AutoModelForMaskedLM, DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from unmask import Linear, seeds
from unmask.masks import RandomMask
from unmask.tools.features.samples import batches
from unmask.tools.features.vectors import vectors
from unmask.tools.probe.probe import probe_columns
from unmask_text.corruption import VocabularyCorruption
from unmask_text.data.files import TextFilesData
from unmask_text.exchange import from_transformers, to_transformers
from unmask_text.methods.bag_of_words import BagOfWords
from unmask_text.methods.mlm import MLM
from unmask_text.methods.sizes import encoder_of
from unmask_text.vocabulary import vocabulary

CLS, SEP = 2, 3
WARMUP = 0.05  # of the time
TURN_S = 5.0
HELD_OUT = 0.05  # of every book, its end
METHODS = {"bag-of-words": partial(BagOfWords, pool="mean"), "mlm": MLM}
Loss = Callable[[dict[str, Any]], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("books", type=Path)
    parser.add_argument("banking77", type=Path)
    parser.add_argument("--budget_s", type=float, default=900, help="of training, for each side")
    parser.add_argument("--style", default="modernbert", choices=["bert", "modernbert"], help="layers of ours")
    parser.add_argument("--methods", nargs="+", default=["bag-of-words"], choices=list(METHODS), help="ours")
    parser.add_argument("--peers", nargs="*", default=["bert", "modernbert"], choices=["bert", "modernbert"])
    parser.add_argument("--batch", type=int, default=16, help="documents of at most 128 tokens")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", default="bf16", choices=["float32", "bf16"])
    parser.add_argument("--layer", type=int, help="of the four, whose codes are probed; default: the last, normed")
    parser.add_argument("--draws", type=int, default=5, help="of 10 labels per class")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        data = read(arguments, Path(folder))
        models, sides, peers = {"untrained": model(arguments.style, data, arguments.seed)}, [], {}
        for name in arguments.methods:
            models[name] = ours = model(arguments.style, data, arguments.seed, METHODS[name])
            sides.append(Side(name, ours, our_loss(ours, arguments.seed), data, arguments))
            ours.mask.ratio = AsTimePasses(sides[-1])
        for style in arguments.peers:
            twin = model(style, data, arguments.seed)
            theirs = AutoModelForMaskedLM.from_config(AutoConfig.for_model(**twin.encoder.model.config.to_dict()))
            theirs.load_state_dict(to_transformers(twin), strict=True)
            sides.append(Side(f"their {style}", theirs, their_loss(theirs, data.tokenizer), data, arguments))
            peers[f"their {style}"] = (twin, theirs)

        while waiting := [side for side in sides if side.done < 1]:
            for side in waiting:
                side.train(TURN_S)
        for name, (twin, theirs) in peers.items():
            twin.load_state_dict(from_transformers(twin, theirs.state_dict()), strict=False)
            models[name] = twin

        print("\nheld-out loss at the same hidden tokens, in nats")
        for name, one in models.items():
            print(f"  {name:16s} {held_out_loss(one, data):.3f}", flush=True)
        probe(models, data, arguments)


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


def model(style: str, data: TextFilesData, seed: int, method: Callable[..., MLM] = MLM) -> MLM:
    """Four layers of 256, without dropout: nothing is seen often enough to be learned by heart."""
    torch.manual_seed(seed)
    encoder = encoder_of(style, "mini", len(vocabulary(data.tokenizer)), dropout=0.0, max_length=128)
    return method(encoder=encoder, mask=RandomMask(0.15))


class Side:
    """One model that trains by AdamW in turns, epoch after epoch; its rate rises and falls with the time it has had."""

    def __init__(
        self, name: str, model: torch.nn.Module, loss: Loss, data: TextFilesData, arguments: argparse.Namespace
    ) -> None:
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=arguments.lr, betas=(0.9, 0.98), fused=True)
        self.name, self.model, self.loss, self.arguments = name, model.train(), loss, arguments
        self.batches = endless(data.train_dataloader())
        self.spent = self.steps = self.tokens = self.told = 0.0
        print(f"{name}: {type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters", flush=True)

    @property
    def done(self) -> float:
        """Share of the budget."""
        return self.spent / self.arguments.budget_s

    def train(self, seconds: float) -> None:
        until = min(self.spent + seconds, self.arguments.budget_s)
        while self.spent < until:
            start = time.perf_counter()
            value = self.step(next(self.batches))
            self.spent += time.perf_counter() - start
        if self.spent - self.told > 60 or self.done >= 1:
            self.told = self.spent
            print(
                f"  {self.name:16s} {self.spent:5.0f} s, step {self.steps:6,.0f}, {self.tokens:10,.0f} tokens, "
                f"training loss {value.item():.3f}",
                flush=True,
            )

    def step(self, batch: dict[str, Any]) -> torch.Tensor:
        rate = min(self.done / WARMUP, 0.5 * (1 + math.cos(math.pi * max(self.done - WARMUP, 0) / (1 - WARMUP))))
        for group in self.optimizer.param_groups:
            group["lr"] = self.arguments.lr * rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.arguments.precision == "bf16"):
            value = self.loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps, self.tokens = self.steps + 1, self.tokens + len(batch["ids"])
        return value.detach()


class AsTimePasses(Linear):
    """30% hidden at first, 15% at the end of the time."""

    def __init__(self, side: Side) -> None:
        super().__init__(start=0.3, end=0.15)
        object.__setattr__(self, "side", side)

    def fraction(self, progress: Any) -> float:
        return min(self.side.done, 1.0)


def our_loss(model: MLM, seed: int) -> Loss:
    turns = itertools.count()
    return lambda batch: model.step(batch, seeds.mix(seed, next(turns))).loss.total


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def their_loss(model: torch.nn.Module, tokenizer_file: str) -> Loss:
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
    model.eval()
    model.mask.ratio, model.corruption = 0.15, VocabularyCorruption(token=1)
    total = count = 0.0
    for number, batch in enumerate(data.val_dataloader()):
        losses = model.step(batch, seeds.mix("held-out", number)).loss.per_token
        total, count = total + losses.sum().item(), count + losses.numel()
    return total / count


def probe(models: dict[str, MLM], data: TextFilesData, arguments: argparse.Namespace) -> None:
    """Intents by logistic regression and by ridge regression on frozen features, and on TF-IDF."""
    sets = (data.splits.probe_train, data.splits.probe_test)
    loaders = [batches(data, one, data.val_batch_size) for one in sets]
    named = vocabulary(data.tokenizer).tokenizer
    words = TfidfVectorizer(min_df=2, sublinear_tf=True, dtype=np.float32)
    texts = [[named.decode(one[n]["ids"].tolist()) for n in range(len(one))] for one in sets]
    columns = {"TF-IDF": (words.fit_transform(texts[0]).toarray(), words.transform(texts[1]).toarray())}
    for name, one in models.items():
        train, test = (vectors(one.embedder, loader, "mean", arguments.layer) for loader in loaders)
        columns[name] = (train.values, test.values)
    found = probe_columns(
        columns,
        train.label,
        test.label,
        probes=("linear", "ridge"),
        labels_per_class=(10,),
        num_draws=arguments.draws,
        seed=arguments.seed,
    )
    layer = f"layer {arguments.layer} of 4" if arguments.layer else "the last layer"
    print(f"\nintents told right, from {layer}; {found.details['num_train']:,} queries to fit on")
    print(f"  {'':24s}" + "".join(f"{name:>17s}" for name in columns))
    for row in found.rows:
        cells = ((row.cells[name].mean, row.cells[name].error) for name in columns)
        print(f"  {row.name:24s}" + "".join(f"{m:17.3f}" if e is None else f"{m:11.3f}±{e:.3f}" for m, e in cells))


if __name__ == "__main__":
    main()
