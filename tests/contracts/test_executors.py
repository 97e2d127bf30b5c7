"""Our own executors, by the contract that any executor is tested by."""

import pytest

from undertow.engine.executor import Processes, Serial
from undertow.engine.forks import Forks
from undertow.testing.executors import ExecutorContract

POOL = Processes(2)


class TestSerial(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return Serial()


class TestProcesses(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return POOL  # its processes stay for the next test: importing takes a second


class TestForks(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return Forks(3)
