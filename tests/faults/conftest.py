"""The record of runs is the same as in the tests of the executor."""

from tests.executor.conftest import store, url

__all__ = ["store", "url"]
