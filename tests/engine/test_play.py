"""The hash chain: what is finished is kept, what changed is made again, what grows is added."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that worker processes find the toy stage too
from toy import Toy

from undertow.engine import key as key_module
from undertow.engine.design import Design
from undertow.engine.executor import Processes, Serial, choose_executor
from undertow.engine.play import play
from undertow.storage.store import DiskStore, MemoryStore
from undertow.types import ConfigError, Slot, WorkerDied


def slots(shadows=8, seed=0):
    design = Design(seed, 20, shadows, 2, 10)
    return [*design.slots("shadow"), *design.slots("victim")]


def run(chain, who, store, **options):
    return play(chain, who, store, Serial(), secret="first", **options)


def trained(log):
    return Path(log).read_text().splitlines() if Path(log).exists() else []


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def test_only_the_secret_stage_sees_the_membership():
    trace = run([Toy("first", 0.0), Toy("second", 0.0)], slots(), MemoryStore())
    np.testing.assert_array_equal(trace.stack("first", "value"), np.full((10, 1), 10.0))
    np.testing.assert_array_equal(trace.stack("second", "value"), np.full((10, 1), 10.0))


def test_what_is_finished_is_not_made_again(log):
    store, chain = MemoryStore(), [Toy("first", log=log), Toy("second", log=log)]
    once = run(chain, slots(), store).stack("second", "value")
    count = len(trained(log))
    np.testing.assert_array_equal(run(chain, slots(), store).stack("second", "value"), once)
    assert len(trained(log)) == count == 20


def test_growing_trains_only_the_new_shadows(log):
    store, chain = MemoryStore(), [Toy("first", log=log, size=4)]
    run(chain, slots(16), store)
    before = trained(log)
    run(chain, slots(32), store)
    new = trained(log)[len(before) :]
    assert new == [f"first shadow {i}" for i in range(16, 32)]


def test_a_changed_stage_changes_what_follows_and_nothing_before(log):
    store = MemoryStore()
    chain = [Toy("first", log=log), Toy("second", log=log)]
    run(chain, slots(), store)
    count = len(trained(log))
    run([chain[0], replace(chain[1], scale=2.0)], slots(), store)
    assert all(line.startswith("second") for line in trained(log)[count:])
    assert len(trained(log)) == count + 10
    run([replace(chain[0], scale=2.0), chain[1]], slots(), store)
    assert len(trained(log)) == count + 10 + 20


def test_seed_membership_and_code_version_are_in_the_key(log, monkeypatch):
    store, chain = MemoryStore(), [Toy("first", log=log)]
    run(chain, slots(), store)
    count = len(trained(log))
    other = [replace(s, member=~s.member) for s in slots()]
    run(chain, other, store)
    assert len(trained(log)) == count + 10
    run(chain, slots(seed=1), store)
    assert len(trained(log)) == count + 20
    monkeypatch.setattr(Toy, "version", 2)
    run(chain, slots(), store)
    assert len(trained(log)) == count + 30
    monkeypatch.setattr(key_module, "code_versions", lambda _: {"torch": "another"})
    run(chain, slots(), store)
    assert len(trained(log)) == count + 40


def test_a_failure_keeps_what_was_finished(log):
    store = MemoryStore()
    chain = [Toy("first", log=log)]
    with pytest.raises(RuntimeError, match="as planned"):
        run([replace(chain[0], fail_at=5)], slots(), store)
    assert len(store.arrays) == 4  # two chunks of two before the one that failed


def test_the_same_base_may_be_shared():
    store = MemoryStore()
    base = play([Toy("base")], [Slot("base", 0, 0, None)], store, Serial(), secret="")
    trace = run([Toy("first")], slots(), store, start=base.keys["base"] * 10)
    assert len(set(trace.keys["first"])) == 10


def test_processes_equal_serial(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    disk = DiskStore(tmp_path / "store")
    chain = [Toy("first"), Toy("second")]
    fast = play(chain, slots(), disk, Processes(2), secret="first").stack("second", "value")
    np.testing.assert_array_equal(fast, run(chain, slots(), MemoryStore()).stack("second", "value"))


def _die(_job):
    import os

    os._exit(9)


def test_a_killed_worker_is_one_clear_error():
    with pytest.raises(WorkerDied, match="run the same command again"):
        list(Processes(2).map(_die, [1, 2]))


def test_progress_counts_models():
    seen = []
    run([Toy("first")], slots(), MemoryStore(), progress=lambda *a: seen.append(a))
    assert seen[0] == ("first", 0, 10)
    assert seen[-1] == ("first", 10, 10)


def test_one_worker_is_this_process():
    assert choose_executor(1) == Serial()
    assert choose_executor(3) == Processes(3)
    with pytest.raises(ConfigError, match="workers"):
        Processes(0)
