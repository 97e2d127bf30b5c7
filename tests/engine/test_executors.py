"""Executors by name."""

import pytest

from undertow.engine.executor import Processes, Serial, choose_executor
from undertow.engine.forks import Forks
from undertow.types import ConfigError


def test_executors_by_name():
    assert choose_executor(1) == choose_executor(1, "serial") == Serial()
    assert choose_executor(3) == Processes(3)
    assert choose_executor(1, "processes") == Processes(1)
    assert choose_executor(2, "forks") == Forks(2)


def test_what_no_executor_can_do_is_refused():
    with pytest.raises(ConfigError, match="'serial' has 1"):
        choose_executor(2, "serial")
    with pytest.raises(ConfigError, match="did you mean 'processes'"):
        choose_executor(2, "proceses")
