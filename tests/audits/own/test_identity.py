"""A function is known by what it does and closes over; what cannot be read is said."""

import functools
import importlib
import sys
import threading

import numpy as np
import pytest

from undertow.audits.own.identity import identity
from undertow.rng import stream


def of(source, **values):
    """The identity of `train` in a module of this source."""
    space = {"__name__": "__main__", **values}
    exec(source, space)
    return identity(space["train"])


PLAIN = "def train(records, seed):\n    return records, seed, 1\n"


def test_the_same_code_is_the_same_function_wherever_it_stands():
    assert of(PLAIN).digest == of("# a comment\n\n" + PLAIN).digest
    assert of(PLAIN).known


def test_another_constant_is_another_function():
    assert of(PLAIN).digest != of(PLAIN.replace("1", "2")).digest


def test_what_it_calls_counts():
    calling = "def train(records, seed):\n    return helper(3)\n"
    one, two = (f"def helper(x):\n    return x + {i}\n{calling}" for i in (1, 2))
    assert of(one).digest != of(two).digest
    assert {"helper()", "train()"} <= set(of(one).parts)


def test_globals_closures_and_defaults_count():
    source = "def train(records, seed):\n    return rate\n"
    assert of(source, rate=0.1).digest != of(source, rate=0.2).digest
    assert of(source, rate=np.arange(3)).digest != of(source, rate=np.arange(1, 4)).digest

    def make(rate, other):
        return lambda records, seed, more=other: rate

    assert identity(make(1, 0)).digest == identity(make(1, 0)).digest
    assert identity(make(1, 0)).digest != identity(make(2, 0)).digest
    assert identity(make(1, 0)).digest != identity(make(1, 5)).digest


def test_classes_methods_and_partials_count():
    class Trainer:
        def __init__(self, depth):
            self.depth = depth

        def train(self, records, seed):
            return self.depth

    assert identity(Trainer(1).train).digest == identity(Trainer(1).train).digest
    assert identity(Trainer(1).train).digest != identity(Trainer(2).train).digest
    assert identity(functools.partial(of, 1)).digest != identity(functools.partial(of, 2)).digest


def test_a_module_of_the_user_counts_when_the_code_imports_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = "def train(records, seed):\n    import own_helper_module\n    return own_helper_module\n"
    (tmp_path / "own_helper_module.py").write_text("rate = 1\n")
    importlib.invalidate_caches()
    first = of(source).digest
    (tmp_path / "own_helper_module.py").write_text("rate = 2\n")
    assert of(source).digest != first
    importlib.import_module("own_helper_module")
    assert of(source).digest != first
    sys.modules.pop("own_helper_module")


def test_what_cannot_be_read_is_named_and_a_name_stands_for_it():
    lock = threading.Lock()

    def train(records, seed):
        return lock

    found = identity(train)
    assert not found.known
    assert found.unread[0].startswith("lock (a _thread.lock")
    assert identity(train, "first").known
    assert identity(train, "first").digest != identity(train, "second").digest


def test_states_of_generators_count_and_open_files_cannot_be_read(tmp_path):
    def of_state(state):
        return identity(lambda records, seed: state)

    for make in (np.random.RandomState, stream):
        assert of_state(make(1)).digest == of_state(make(1)).digest
        assert of_state(make(1)).digest != of_state(make(2)).digest
        assert of_state(make(1)).known
    with (tmp_path / "file").open("w") as file:
        assert "TextIOWrapper" in of_state(file).unread[0]


def test_what_shows_only_a_part_of_itself_is_not_taken_for_read():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": list(range(1000))})
    assert not identity(lambda records, seed: table).known


def test_cycles_end():
    loop = []
    loop.append(loop)
    assert identity(lambda records, seed: loop).digest
