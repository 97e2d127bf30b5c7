"""Copies of this process: closures run there, order is kept, errors come back, deaths are noticed."""

import os
import signal

import pytest

from undertow.engine.forks import Forks
from undertow.types import BadInput, ConfigError, WorkerDied


def test_closures_run_in_copies_and_results_come_in_order():
    factor = 3
    found = list(Forks(3).map(lambda job: [job * factor, os.getpid()], range(20)))
    assert [value for value, _ in found] == [3 * i for i in range(20)]
    assert os.getpid() not in {pid for _, pid in found}


def test_an_error_comes_back_with_its_traceback():
    def work(job):
        raise BadInput(f"job {job} is bad")

    with pytest.raises(BadInput, match="job 0 is bad") as caught:
        list(Forks(1).map(work, [0, 1]))
    assert "in work" in "".join(caught.value.__notes__)


def test_a_killed_copy_is_noticed():
    with pytest.raises(WorkerDied, match="answers that were finished are kept"):
        list(Forks(2).map(lambda job: os.kill(os.getpid(), signal.SIGKILL), range(4)))


def test_workers_are_counted():
    with pytest.raises(ConfigError, match="at least 1"):
        Forks(0)
