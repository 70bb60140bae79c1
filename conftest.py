"""Which tests of the contracts are slow here, where every method of five plugins runs them."""

import pytest

SLOW = {
    "test_programs_are_written_for_dense_tokens",  # half a minute for each method
    "test_training_goes_on_from_imported_weights",  # as core/tests/test_exchange.py shows on one
}


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects
def pytest_collection_modifyitems(items):
    for item in items:
        if getattr(item, "originalname", None) in SLOW:
            item.add_marker("slow")
