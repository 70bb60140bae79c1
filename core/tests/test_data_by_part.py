"""Data by part: what belongs together, who is left alone, keyed draws, and samples that lack a part."""

import pytest
import torch
from torch.utils.data import Dataset

from unmask import Tokenizer, TokenizerByPart
from unmask.data import DataByPart, Findings, Found, Item, MaskedDataModule, Report, Source, SourceDataModule, Splits
from unmask.data.pairing import partners
from unmask.masks import RandomMask
from unmask.structures import Sequence, Tokens
from unmask.testing import DataContract


class Given(Source):
    def __init__(self, items, val=None):
        self.items, self.val = items, val

    def read(self, findings: Findings):
        return Found(self.items, self.val)


class NumberReport(Report):
    def amount(self):
        return "numbers"


class Kept:
    def __init__(self, items):
        self.items = items


class Samples(Dataset):
    def __init__(self, items, labelled):
        self.of, self.labelled = items, labelled

    def __len__(self):
        return len(self.of)

    def __getitem__(self, place):
        item = self.of[place]
        sample = {"x": torch.full((3,), float(item.content)), "name": item.name}
        return sample | ({"label": item.label} if self.labelled else {})


class Things(SourceDataModule):
    """Items whose numbers are what the model sees; the augmentation adds noise."""

    def __init__(self, names, labels=None, noisy=False, val=None, val_ratio=0.25):
        items = [
            Item(name, number, None if labels is None else labels[number % len(labels)])
            for number, name in enumerate(names)
        ]
        super().__init__(source=Given(items, val), report=NumberReport("things"), val_ratio=val_ratio)
        self.augment = _noise if noisy else None

    def collect(self, items):
        return Kept(list(items))

    def samples(self, kept, chosen, labelled, trained):
        return Samples([kept.items[place] for place in chosen], labelled)


class InMemory(MaskedDataModule):
    """Numbers and labels, the last two held out."""

    def __init__(self, labels):
        super().__init__(batch_size=2)
        self.labels = labels

    def load(self):
        rows = [{"x": torch.tensor(float(n)), "label": label} for n, label in enumerate(self.labels)]
        return Splits(rows[:-2], rows[-2:])


def _noise(sample):
    return {**sample, "x": sample["x"] + torch.rand(3)}


def _joined(first, second, pair="name", **options):
    return DataByPart({"one": first, "two": second}, pair=pair, batch_size=4, **options)


def _epoch(data, seed=3, epoch=0):
    torch.manual_seed(seed)
    data.setup("fit")
    loader = data.train_dataloader()
    loader.where = lambda: (epoch, 0)
    return list(loader)


NAMES = [f"a/{number}.png" for number in range(24)]


class TestByName(DataContract):
    def make(self, **options):
        sounds = Things([f"a/{number}.wav" for number in reversed(range(24))], noisy=True)
        return DataByPart({"image": Things(NAMES, noisy=True), "sound": sounds}, batch_size=4, **options)


class TestByLabel(DataContract):
    def make(self, **options):
        return DataByPart(
            {"image": Things(NAMES, ["x", "y"]), "sound": Things(NAMES, ["y", "x"])}, "label", batch_size=4, **options
        )


def test_pairs_by_name_are_those_of_one_path_whatever_the_order_and_the_ending():
    data = _joined(Things(NAMES), Things([f"a/{number}.wav" for number in reversed(range(24))]))
    for batch in _epoch(data):
        assert torch.equal(batch["one"]["x"], 23 - batch["two"]["x"])
        assert batch["name"] == batch["one"]["name"]


def test_what_is_left_alone_is_counted_and_named(capsys):
    data = _joined(Things(NAMES), Things([*(f"a/{number}.wav" for number in range(3, 24)), "b/x.wav"]))
    data.setup("fit")
    told = capsys.readouterr().out
    assert "3 samples of `one` have no `two` and are left out: a/0.png, a/1.png, a/2.png." in told
    assert "1 samples of `two` belong to no `one` and are left out: b/x.wav." in told
    assert len(data.splits.train) + len(data.splits.val) == 21


def test_held_out_pairs_are_those_that_the_first_part_holds_out():
    first, second = Things(NAMES, val_ratio=0.25), Things(NAMES, val_ratio=0.5)
    data = _joined(first, second)
    val = {name for batch in data.val_dataloader() for name in batch["name"]}
    assert val == {first.splits.val[place]["name"] for place in range(6)}
    assert not val & {name for batch in _epoch(data) for name in batch["name"]}


def test_of_several_partners_one_is_drawn_by_key_and_validation_takes_the_same_each_time():
    captions = Things([name for name in NAMES for _ in range(3)])  # 3 n, 3 n + 1 and 3 n + 2 are of image n
    data = _joined(Things(NAMES), captions)
    batches = [_epoch(data, epoch=epoch) for epoch in range(6)]
    drawn = {float(one): set() for one in range(24)}
    for epoch in batches:
        for batch in epoch:
            for one, two in zip(batch["one"]["x"][:, 0].tolist(), batch["two"]["x"][:, 0].tolist(), strict=True):
                assert two // 3 == one
                drawn[one].add(two)
    assert max(map(len, drawn.values())) == 3
    val = [[batch["two"]["x"][:, 0] for batch in data.val_dataloader()] for _ in range(2)]
    assert torch.equal(torch.cat(val[0]), torch.cat(val[1]))
    assert len((torch.cat(val[0]) % 3).unique()) > 1
    assert all(torch.equal(batch["two"]["x"] // 3, batch["one"]["x"]) for batch in data.val_dataloader())


def test_pairs_by_label_have_one_class_and_never_train_on_what_either_part_holds_out():
    first, second = InMemory([0, 1, 0, 1, 0, 1, 0, 1]), InMemory([1, 0, 1, 0, 1, 0])
    data = DataByPart({"one": first, "two": second}, "label", batch_size=2)
    for epoch in range(3):
        for batch in _epoch(data, epoch=epoch):
            assert torch.equal(batch["one"]["label"], batch["two"]["label"])
            assert torch.equal(batch["label"], batch["one"]["label"])
            assert (batch["two"]["x"] < 4).all()
    assert all((batch["two"]["x"] >= 4).all() for batch in data.val_dataloader())


def test_labels_are_compared_by_their_words():
    data = _joined(Things(NAMES, ["cat", "dog"]), Things(NAMES, ["dog", "ant"]), "label")
    data.setup("fit")
    assert {batch_label for batch in _epoch(data) for batch_label in batch["label"].tolist()} == {1}
    assert data.classes == ["cat", "dog"]


def test_pairs_by_index_need_equal_counts_and_everything_readable():
    data = _joined(Things(NAMES), Things([f"x{number}" for number in range(24)]), "index")
    assert all(torch.equal(batch["one"]["x"], batch["two"]["x"]) for batch in _epoch(data))
    with pytest.raises(ValueError, match="`one` has 24 and `two` has 23"):
        _joined(Things(NAMES), Things(NAMES[1:]), "index").setup("fit")
    lacking = Things(NAMES)
    _ = lacking.splits
    lacking.report.findings.note(lacking.left_out[0], "bad.png")
    with pytest.raises(ValueError, match="Every sample must be readable to be paired by index, but 1 of `two` are not"):
        _joined(Things(NAMES), lacking, "index").setup("fit")


def test_aligned_parts_are_augmented_by_the_same_numbers():
    apart = _epoch(_joined(Things(NAMES, noisy=True), Things(NAMES, noisy=True)))
    alike = _epoch(_joined(Things(NAMES, noisy=True), Things(NAMES, noisy=True), aligned=["one", "two"]))
    assert not any(torch.equal(batch["one"]["x"], batch["two"]["x"]) for batch in apart)
    assert all(torch.equal(batch["one"]["x"], batch["two"]["x"]) for batch in alike)


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"][..., None], Sequence())


def test_a_sample_that_lacks_a_part_has_padding_there():
    sounds = Things([f"a/{number}.wav" for number in range(12)])
    data = _joined(Things(NAMES), sounds, missing="pad")
    tokenizer = TokenizerByPart({"one": Rows(), "two": Rows()})
    seen = 0
    for batch in _epoch(data):
        there = batch["one"]["x"][:, 0] < 12
        tokens = tokenizer(batch)
        assert torch.equal(tokens.part("two").valid, there[:, None].expand(-1, 3))
        assert tokens.part("one").valid.all()
        mask = RandomMask(ratio=0.5)(tokens)
        assert torch.equal(mask.part("two").hidden.sum(1), 2 * there)
        seen += int(there.sum())
    assert 0 < seen < len(data.splits.train)


def test_one_part_of_a_joint_batch_is_cut_by_itself():
    batch = next(iter(_joined(Things(NAMES), Things(NAMES)).val_dataloader()))
    tokenizer = TokenizerByPart({"one": Rows(), "two": Rows()})
    assert torch.equal(tokenizer.one("two")(batch).values, batch["two"]["x"][..., None])


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("a/3.png", ["a/3.wav", "b/3.wav"], "a/3.wav"),
        ("a/3.png", ["images/a/3.png"], "images/a/3.png"),
        ("a/3.png", ["3"], "3"),
        ("a/3.png", ["3.png", "a/3.png"], "a/3.png"),
        ("a/3.1.png", ["a/3.wav"], None),
        ("a\\3.png", ["a/3.wav"], "a/3.wav"),
    ],
)
def test_names_of_one_thing(name, others, found):
    assert partners([name], others).get(name) == found


def test_names_that_may_be_either_are_refused():
    with pytest.raises(ValueError, match=r"`pair` must tell names apart, but '3\.png' may be 'a/3\.wav' or 'b/3\.wav'"):
        partners(["3.png"], ["a/3.wav", "b/3.wav"])
    with pytest.raises(ValueError, match=r"'3\.wav' may be 'a/3\.png' or 'b/3\.png'; write more of its path"):
        partners(["a/3.png", "b/3.png"], ["3.wav"])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"pair": "time"}, "`pair` must be one of 'name', 'label', 'index', but is 'time'"),
        ({"missing": "drop"}, "`missing` must be 'leave-out' or 'pad', but is 'drop'"),
        ({"aligned": ["three"]}, "`aligned` must name parts"),
        ({"members": {"one": Things(NAMES)}}, "`members` must be at least 2 data modules, but is one"),
    ],
)
def test_what_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        DataByPart(**{"members": {"one": Things(NAMES), "two": Things(NAMES)}, **options})


def test_parts_that_share_nothing_are_refused():
    with pytest.raises(
        ValueError, match="Parts must have samples of one name to train and to validate on, but 0 and 0"
    ):
        _joined(Things(NAMES), Things([f"z{number}" for number in range(24)])).setup("fit")
    with pytest.raises(ValueError, match="`pair` must not be 'label' where samples have no label, but those of `two`"):
        _joined(Things(NAMES, ["x", "y"]), Things(NAMES), "label").setup("fit")


def test_raw_input_of_joint_tokens_is_that_of_all_parts():
    batch = next(iter(_joined(Things(NAMES), Things(NAMES)).val_dataloader()))
    tokenizer = TokenizerByPart({"one": Rows(), "two": Rows()})
    tokens = tokenizer(batch)
    assert torch.equal(tokenizer.raw(tokens), torch.cat([batch["one"]["x"], batch["two"]["x"]], dim=1))
    ids = Tokens.join({"one": tokens.part("one"), "two": Tokens(torch.zeros(2, 3, dtype=torch.long), Sequence())})
    with pytest.raises(ValueError, match="of `two` makes ids, which have no values"):
        tokenizer.raw(ids)
