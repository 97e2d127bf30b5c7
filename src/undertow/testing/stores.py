"""What a store must keep: entries that are whole or not there, and that nobody changes afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from undertow.engine.executor import Serial
from undertow.engine.play import play
from undertow.types import Params, Slot, Store, StoreError

KEY, OTHER = "ab" + "0" * 62, "ab" + "1" * 62  # as engine.key makes them: 64 hexadecimal digits


@dataclass(frozen=True)
class Counted:
    """A stage that counts how many models it made."""

    made: ClassVar[list[int]] = []
    version: ClassVar[int] = 1
    name: ClassVar[str] = "counted"
    chunk: ClassVar[int] = 2

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        self.made.extend(slot.index for slot in slots)
        return [{"value": np.array([slot.index], float)} for slot in slots]


class StoreContract:
    """Inherit it and give a fixture `store`: a new, empty store for each test.

    A store that outlives its process also overrides `reopened`.
    """

    @pytest.fixture
    def store(self) -> Store:
        """A new, empty store."""
        raise NotImplementedError("give a fixture `store`")

    def reopened(self, store: Store) -> Store | None:
        """The same store as another process opens it; None where it ends with the process."""
        del store
        return None

    def test_what_is_put_comes_back_with_its_type_and_shape(self, store: Store) -> None:
        entry = {
            "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
            "turned": np.arange(6.0).reshape(2, 3).T,
            "member": np.array([True, False]),
            "tokens": np.array([[1, -100]], dtype=np.int64),
            "half": np.array([0.5], dtype=np.float16),
            "loss": np.asarray(2.5),
            "nothing": np.zeros((0, 3), np.float32),
        }
        assert not store.has(KEY)
        store.put(KEY, entry)
        assert store.has(KEY)
        found = store.get(KEY)
        assert set(found) == set(entry)
        for name, value in entry.items():
            np.testing.assert_array_equal(found[name], value)
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)

    def test_an_absent_entry_is_a_store_error(self, store: Store) -> None:
        with pytest.raises(StoreError):
            store.get(KEY)

    def test_keys_are_independent(self, store: Store) -> None:
        store.put(KEY, {"x": np.array([1.0])})
        assert not store.has(OTHER)
        store.put(OTHER, {"x": np.array([2.0])})
        assert (store.get(KEY)["x"][0], store.get(OTHER)["x"][0]) == (1.0, 2.0)

    def test_a_change_of_the_array_after_put_changes_no_entry(self, store: Store) -> None:
        own = np.array([1.0])
        store.put(KEY, {"x": own})
        own[0] = 2.0
        assert store.get(KEY)["x"][0] == 1.0

    def test_a_change_of_what_was_got_changes_no_entry(self, store: Store) -> None:
        store.put(KEY, {"x": np.array([1.0])})
        got = store.get(KEY)
        got["y"] = np.array([3.0])
        if got["x"].flags.writeable:
            got["x"][0] = 2.0
        assert set(store.get(KEY)) == {"x"}
        assert store.get(KEY)["x"][0] == 1.0

    def test_putting_the_same_again_is_allowed(self, store: Store) -> None:
        for _ in range(2):
            store.put(KEY, {"x": np.array([1.0])})
        assert store.get(KEY)["x"][0] == 1.0

    def test_notes_are_beside_entries_and_the_last_one_counts(self, store: Store) -> None:
        assert store.get_note(KEY) is None
        store.put_note(KEY, {"engine": "sequential", "chunk": 4, "seconds": {"a": 0.5}})
        assert store.get_note(KEY) == {"engine": "sequential", "chunk": 4, "seconds": {"a": 0.5}}
        assert not store.has(KEY)
        store.put_note(KEY, {"engine": "fat_gemm"})
        store.put(KEY, {"x": np.array([1.0])})
        assert store.get_note(KEY) == {"engine": "fat_gemm"}
        assert store.get_note(OTHER) is None

    def test_a_chain_that_was_played_is_not_played_again(self, store: Store) -> None:
        stage = Counted()
        stage.made.clear()
        slots = [Slot("shadow", i, 0, None) for i in range(4)]
        first = play([stage], slots, store, Serial(), secret="").stack("counted", "value")
        again = self.reopened(store) or store
        np.testing.assert_array_equal(play([stage], slots, again, Serial(), secret="").stack("counted", "value"), first)
        assert sorted(stage.made) == [0, 1, 2, 3]

    def test_entries_and_notes_outlive_the_process_where_the_store_does(self, store: Store) -> None:
        store.put(KEY, {"x": np.array([1.0])})
        store.put_note(KEY, {"engine": "sequential"})
        again = self.reopened(store)
        if again is None:
            pytest.skip("this store ends with its process")
        assert again.has(KEY)
        assert again.get(KEY)["x"][0] == 1.0
        assert again.get_note(KEY) == {"engine": "sequential"}
