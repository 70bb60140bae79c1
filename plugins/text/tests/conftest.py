"""Shared by the text tests: a cache of their own, and a small vocabulary."""

import pytest

from unmask_text.tokenizer_training import save_tokenizer, train_tokenizer

SENTENCES = [
    "The quick brown fox jumps over the lazy dog and runs away.",
    "New York is a large city; the city of New York never sleeps.",
    "An unbelievable misunderstanding about encyclopaedias followed.",
    "She said that he had been there before, in 1984 or in 1985.",
]


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    """A WordPiece vocabulary so small that long words are cut."""
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    save_tokenizer(train_tokenizer(lambda: SENTENCES * 3, 150), path)
    return str(path)
