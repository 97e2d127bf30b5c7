"""Our own stores, by the contract that any store is tested by."""

import pytest

from undertow.storage.store import DiskStore, MemoryStore
from undertow.testing.stores import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestDiskStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DiskStore(tmp_path)

    def reopened(self, store):
        return DiskStore(store.root)
