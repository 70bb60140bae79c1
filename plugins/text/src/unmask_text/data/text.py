"""Text data modules: a corpus, cut into tokens once, as batches of documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import ConcatDataset, Dataset

from unmask import agreements
from unmask.api import inside, progress
from unmask.data import (
    CLASS,
    NONE_HELD_OUT,
    Entry,
    MaskedDataModule,
    Packed,
    Plan,
    Pool,
    ResumableLoader,
    Splits,
    Unreadable,
    fingerprint,
    ordered,
)
from unmask_text.data.batches import BatchSampler, Collate, Several, SimilarLengths, TokenBudget
from unmask_text.data.cutting import build
from unmask_text.data.report import Report
from unmask_text.data.sources import TextSource
from unmask_text.data.splitting import held_out, trainable, with_untrained
from unmask_text.data.store import Chosen, Store
from unmask_text.tokenizer_training import KINDS, LEAST, save_tokenizer, train_tokenizer
from unmask_text.vocabulary import FILE, LONGEST_WORD, default_cache, vocabulary

VERSION = 4
"""Raised when tokens are written to the cache in another way."""
SPECIAL = 2
"""Places that an encoder needs for its special tokens, of a document's ``max_length``."""


SHORTEST = LONGEST_WORD + SPECIAL
"""Tokens of a sequence at least, so that a word fits in."""


class Expected(NamedTuple):
    """The vocabulary that a model was trained with.

    Args:
        meaning: of it, see `Vocabulary`.
        file: where it was; it may be gone.
        whose: in a message.
    """

    meaning: str
    file: str
    whose: str


class TextData(MaskedDataModule):
    """Documents of a source as token ids.

    A corpus is cut into tokens once, into memory-mapped files in ``cache_folder``, whatever its size. Documents
    are cut, at words, into pieces of at most ``max_length - 2`` tokens, as even as possible: an encoder
    adds two special tokens to each. A sample is a piece; batches are packed, so nothing is padded:
    ``ids [T]``, ``word [T]``, ``offsets [B + 1]``, ``index [B]`` and ``label [B]`` where there are labels; ``name``, a
    list of what each piece's document is called (``letters/1.txt``, ``reviews.csv:17``), and ``piece [B]``, its number
    in the document, from 0.
    Order and batches are keyed as in `MaskedDataModule`, so a killed run goes on exactly where it was.

    What is odd about a corpus (empty documents, damaged bytes, ...) is counted, shown once before
    training and kept in `report`.

    Args:
        source: where the documents come from.
        tokenizer: a ``tokenizer.json``, or a folder with one or with another that transformers reads (``vocab.txt``);
            None: that of the pretrained model that is trained, or else trained on the corpus itself, once.
        vocab_size: ids of the vocabulary that is trained, see `train_tokenizer`.
        kind: ``wordpiece``, ``bpe`` or ``unigram``, likewise.
        lowercase: whether it throws case away, likewise.
        max_length: longest sequence that the encoder takes, its two special tokens included; at least 18.
        batch_size: documents (pieces of long ones) per device and step.
        tokens_per_batch: tokens per device and step, about, in place of ``batch_size``, which then counts for
            validation and for ``optim.scale_lr`` alone; at least ``2 * max_length``. No document is
            left out of an epoch.
        pack: batches without padding; False: dense ones of documents of similar length, with ``valid``.
        val_ratio: share of the documents held out for validation, in [0, 1); of the pieces, when there are too
            few documents.
        cache_folder: where tokens and vocabularies are kept; None: ``unmask/text`` in ``$XDG_CACHE_HOME`` or
            ``~/.cache``.
        num_workers: loading processes per device: 0, because a sample is a look-up; None: by their number.
        val_batch_size: documents per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch; with ``tokens_per_batch`` there is none.

    Raises:
        ValueError: a value outside its range; in `setup`, no text, or too few documents for a batch.
    """

    sample_name: ClassVar[str] = "documents"
    item: ClassVar[str] = "text"
    facts = {"first": (bool,), "file": (str,), "row": (int,)}

    def __init__(
        self,
        source: TextSource,
        tokenizer: str | None = None,
        vocab_size: int = 8000,
        kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece",
        lowercase: bool = True,
        max_length: int = 128,
        batch_size: int = 32,
        tokens_per_batch: int | None = None,
        pack: bool = True,
        val_ratio: float = 0.05,
        cache_folder: str | None = None,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, augment=None, **shared)
        if max_length < SHORTEST:
            raise ValueError(f"`max_length` must be at least {SHORTEST}, but is {max_length}.")
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, but is {kind!r}.")
        if vocab_size < LEAST[kind]:
            raise ValueError(f"`vocab_size` must be at least {LEAST[kind]} for {kind}, but is {vocab_size}.")
        inside("[0, 1)", val_ratio=val_ratio)
        if tokens_per_batch is not None and tokens_per_batch < 2 * max_length:
            raise ValueError(
                f"`tokens_per_batch` must be at least {2 * max_length}, twice `max_length`, but is {tokens_per_batch}."
            )
        if tokens_per_batch is not None and not pack:
            raise ValueError("`tokens_per_batch` must be None where `pack` is False; use `batch_size`.")
        self.source = source
        self.given_tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.kind = kind
        self.lowercase = lowercase
        self.max_length = max_length
        self.tokens_per_batch = tokens_per_batch
        self.pack = pack
        self.val_ratio = val_ratio
        self.cache_folder = cache_folder
        self.expected: Expected | None = None
        self.amended: dict[str, Any] = {}  # options that the model decided
        self._tokenizer: str | None = None

    @property
    def tokenizer(self) -> str:
        """Path of the ``tokenizer.json``; trained when first asked for.

        Raises:
            ValueError: no vocabulary, or another one than the model expects.
        """
        if self._tokenizer is None:
            if self.given_tokenizer is not None:
                file = vocabulary(self.given_tokenizer, self.cache).path
            else:
                file = self._expected_file() or str(self._trained(self.source.parts()["train"]))
            self._compare(file)
            self._tokenizer = file
        return self._tokenizer

    def use(self, tokenizer: str) -> None:
        """Reads the text with this tokenizer, whatever was read before."""
        if self.given_tokenizer != tokenizer:
            self.given_tokenizer, self._tokenizer = tokenizer, None
            self._forget()

    def shorten(self, max_length: int) -> None:
        """Cuts documents to this length, whatever was read before."""
        self.max_length = self.amended["max_length"] = max_length
        self._forget()

    def _forget(self) -> None:
        self._splits = None
        self.__dict__.pop("stores", None)

    def expect(self, expected: Expected) -> None:
        """Takes the vocabulary that a model was trained with, where it is still there and no other is given.

        Raises:
            ValueError: another one is given.
        """
        if self.expected is None:
            self.expected = expected
        if self.given_tokenizer is not None or self._tokenizer is not None:
            self._compare(self.tokenizer, expected)
        elif self.expected.meaning != expected.meaning:
            raise ValueError(
                f"The vocabulary of the data must be that of {self.expected.whose}, but {expected.whose} has another."
            )

    def _expected_file(self) -> str | None:
        """The file of the vocabulary that is expected; None: there is none, or it has changed."""
        if self.expected is None or not Path(self.expected.file).is_file():
            return None
        if vocabulary(self.expected.file).meaning != self.expected.meaning:
            return None
        try:
            own = self._trained_file(self.source.parts()["train"])
        except ValueError:  # its own text is gone, as on another machine
            own = None
        if Path(self.expected.file) != own:
            rank_zero_only(print)(
                f"The data is read with the vocabulary of {self.expected.whose}, {self.expected.file}.", flush=True
            )
        return self.expected.file

    def _compare(self, file: str, expected: Expected | None = None) -> None:
        expected = expected or self.expected
        if expected is not None and vocabulary(file).meaning != expected.meaning:
            raise ValueError(
                f"`data.tokenizer` must be the vocabulary of {expected.whose}, {expected.file}, but the data's is "
                f"another, {file}: its ids mean other tokens."
            )

    @property
    def report(self) -> dict[str, dict[str, Any]]:
        """What was found, by part of the data: see `Report`."""
        return {name: store.report.as_dict() for name, store in self.stores.items()}

    @cached_property
    def stores(self) -> dict[str, Store]:
        """The token caches by part, built when first asked for."""
        return {name: self._store(part) for name, part in self.source.parts().items()}

    @property
    def classes(self) -> list[str]:
        """The words that labels stand for, in the order of their ids; of all parts of the data."""
        return ordered(name for store in self.stores.values() for name in store.classes)

    def about(self) -> str:
        """What each part of the data has, and what was odd in it."""
        return "\n".join(f"{name}: {store.report}" for name, store in self.stores.items())

    def everything(self) -> dict[str, Dataset]:
        """All pieces of all documents, those of one word as well, which are not trained on."""
        parts = {name: (store, np.arange(len(store))) for name, store in self.stores.items()}
        if "val" not in parts:
            train, val = self.splits.train, self.splits.val
            assert isinstance(train, Chosen)
            assert isinstance(val, Chosen)
            store, every = parts["train"]
            held = with_untrained(store, train.index, val.index)
            own = {"train": (store, np.setdiff1d(every, held)), "val": (store, held)}
            parts = own | {name: part for name, part in parts.items() if name not in own}
        return {name: self._chosen(store, index) for name, (store, index) in parts.items() if len(index)}

    def pool(self) -> Pool:
        """Pieces that can be trained on; those of one document belong together."""
        train, val, store = self.splits.train, self.splits.val, self.stores["train"]
        assert isinstance(train, Chosen)
        assert isinstance(val, Chosen)
        sets = [self._chosen(store, trainable(store))]
        held = np.isin(sets[0].index, val.index) & ~np.isin(sets[0].index, train.index)
        if "val" in self.stores:
            sets.append(self._chosen(self.stores["val"], trainable(self.stores["val"])))
            held = np.arange(len(sets[0]) + len(sets[1])) >= len(sets[0])
        numbers: list[int] = []
        names: list[str] = []
        for one in sets:
            documents = one.store.document[one.index].tolist()
            begin = len(set(numbers))
            numbers += (np.unique(documents, return_inverse=True)[1] + begin).tolist()
            names += [one.store.name(document) for document in documents]
        whole: Dataset = ConcatDataset(sets)
        return Pool(whole, whole, numbers, held.tolist(), {"name": names}, self.classes)

    def carried(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer, "max_length": self.max_length}

    def found(self) -> str:
        told = [self.about(), super().found()]
        if not self.val_ratio and "val" not in self.stores:
            val = self.splits.val
            assert isinstance(val, Chosen)
            told.append(f"  {len(val):,} {NONE_HELD_OUT.format('piece')}.")
        return "\n".join(told)

    def shard_content(self, content: Any, number: int) -> Packed:
        made = super().shard_content(content, number)
        try:
            made.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unreadable(f"no text in UTF-8: {error.reason} at byte {error.start:,}") from error
        return made

    def shard_plan(self, shuffle: bool) -> Plan:
        """Segments as they are read, in their order: an epoch mixes the tokens that are made of them, not these."""
        self.source.prepare()
        parts, reports = self.source.parts(), {name: Report() for name in self.source.parts()}
        own = {name: part.get("options", {}) for name, part in parts.items()}
        kept = ("label_kind", "label_separator")
        options = {
            name: {key: given[key] for key in kept if key in given}
            | ({"labels": "folder"} if given.get("labels") == "folder" else {})
            for name, given in own.items()
        }
        entries = {name: (partial(self._entries, part, reports[name]), 0) for name, part in parts.items()}

        def told() -> str:
            return "\n".join(f"{name}: {line}" for name, one in reports.items() for line in one.odd_lines())

        return Plan(self.item, entries, fingerprint(self, False, (), parts), options=options, told=told)

    def _entries(self, part: dict[str, Any], report: Report, start: int) -> Iterator[Entry]:
        segments = self.source.read(part, report, lambda _: None)
        for number, segment in enumerate(islice(segments, start, None), start):
            name = f"{segment.file}:{segment.row}" if segment.row else segment.file or f"text {number}"
            facts = {"first": segment.first, "file": segment.file, "row": segment.row}
            made = Packed(segment.text.encode("utf-8", "surrogatepass"), "txt", facts)
            yield Entry(name, partial(_same, made), segment.label)

    def prepare_data(self) -> None:
        if self.trainer is not None and self.trainer.lightning_module is not None:
            agreements.check(self.trainer.lightning_module, self, loaded=False)  # before anything is cut into tokens
        self.source.prepare()
        self.stores  # noqa: B018  one process builds them, before all others read them

    def load(self) -> Splits:
        stores = self.stores
        for name, store in stores.items():
            if not len(store):
                raise self._no_documents(name)
        train, val = held_out(stores["train"], self.val_ratio, split="val" not in stores)
        sets = {"train": self._chosen(stores["train"], train), "val": self._chosen(stores["train"], val)}
        if "val" in stores:
            sets["val"] = self._chosen(stores["val"], trainable(stores["val"]))
        return Splits(sets["train"], sets["val"], *self._probes(stores, train, val))

    def check_trainable(self) -> None:
        for name, chosen in (("train", self.splits.train), ("val", self.splits.val)):
            if not len(chosen):  # type: ignore[arg-type]
                raise self._no_documents(name)

    def _no_documents(self, name: str) -> ValueError:
        report = self.stores.get(name, self.stores["train"]).report
        return ValueError(f"The data must have documents of at least 2 words for `{name}`, but has none: {report}")

    def train_dataloader(self) -> ResumableLoader:
        if self.pack and self.tokens_per_batch is None:
            return super().train_dataloader()
        self.setup("fit")
        chosen = self.splits.train
        assert isinstance(chosen, Chosen)
        kind: type[BatchSampler] = TokenBudget if self.tokens_per_batch is not None else SimilarLengths
        sampler = kind(
            chosen, chosen.lengths, self.tokens_per_batch or self.batch_size, *self._world(),
            seed=self.seed or 0, drop_last=self.drop_last,
        )  # fmt: skip
        # Without a batch size of its own, the loader takes what the sampler gives for a whole batch.
        return ResumableLoader(Several(chosen), sampler=sampler, where=self._where, batch_size=None, **self._workers())

    @property
    def collate_fn(self) -> Callable[[list[Any]], Any]:
        return Collate(self.pack, self.tokenizer)

    def _chosen(self, store: Store, index: np.ndarray) -> Chosen:
        """Pieces of a store, their labels numbered by the classes of all parts."""
        place = {name: number for number, name in enumerate(self.classes)}
        ids = np.array([place[name] for name in store.classes]) if store.classes else None
        return Chosen(store, index, ids, len(place))

    def _probes(self, stores: dict[str, Store], train: np.ndarray, val: np.ndarray) -> list[Chosen | None]:
        """Labelled documents, one sample each: what they begin with."""
        parts: list[tuple[Store, np.ndarray | None]]
        if "probe_train" in stores:
            parts = [(stores[name], None) for name in ("probe_train", "probe_test")]
        elif "val" in stores:
            parts = [(stores["train"], None), (stores["val"], None)]
        else:
            held = np.zeros(len(stores["train"]), dtype=bool)
            held[val] = True
            parts = [(stores["train"], ~held), (stores["train"], held)]
        if not all(store.labelled for store, _ in parts):
            return [None, None]
        sets: list[Chosen | None] = []
        for store, among in parts:
            wanted = store.firsts & (store.label[store.document] >= 0)
            index = np.flatnonzero(wanted if among is None else wanted & among)
            sets.append(self._chosen(store, index))
        return sets if all(len(one) for one in sets if one is not None) else [None, None]

    def _store(self, part: dict[str, Any]) -> Store:
        key = _key(VERSION, part, vocabulary(self.tokenizer).fingerprint, self.max_length)
        folder = self.cache / "tokens" / key
        if not (folder / "about.json").is_file():
            report = Report()
            with progress("Cutting text into tokens", 1) as moved:
                segments = self.source.read(part, report, moved)
                given = part.get("options", {})
                kind, separator = given.get("label_kind", CLASS), given.get("label_separator")
            build(
                folder, segments, self.tokenizer, self.max_length - SPECIAL, report, kind, separator,
                None if given.get("labels") == "folder" else self.source.label_option,
            )  # fmt: skip
        return Store(folder)

    def _trained(self, part: dict[str, Any]) -> Path:
        path = self._trained_file(part)
        if not path.is_file():
            with progress("Training the tokenizer", 1) as moved:
                trained = train_tokenizer(
                    lambda: (segment.text for segment in self.source.read(part, Report(), moved)),
                    self.vocab_size, self.kind, self.lowercase,
                )  # fmt: skip
            save_tokenizer(trained, path)
        return path

    def _trained_file(self, part: dict[str, Any]) -> Path:
        # neither the version nor what was found decides: a vocabulary is kept while its corpus is the same
        corpus = {name: value for name, value in part.items() if name not in ("named", "names", "findings")}
        return self.cache / "tokenizers" / _key(1, corpus, self.vocab_size, self.kind, self.lowercase) / FILE

    @property
    def cache(self) -> Path:
        """The folder where tokens and vocabularies are kept.

        Raises:
            ValueError: it cannot be written.
        """
        folder = Path(self.cache_folder).expanduser().absolute() if self.cache_folder else default_cache()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"`cache_folder` must be a folder that can be written, but {folder} is not: {error}."
            ) from error
        return folder


def _same(made: Packed) -> Packed:
    return made


def _key(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()
