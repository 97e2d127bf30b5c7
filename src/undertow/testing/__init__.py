"""Contract tests: what an attack, a store, an executor and an audit must keep, whoever wrote it.

A package that adds one inherits the suite and names what it tests (pytest collects classes called Test...):

    import pytest

    from undertow.testing import AttackContract
    from my_package.gap import GAP

    class TestGap(AttackContract):
        @pytest.fixture
        def attack(self):
            return GAP

Undertow's own attacks, stores and executors are tested by the same classes. Needs pytest.
"""

from undertow.testing.attacks import AttackContract, Game, game
from undertow.testing.audits import AuditContract
from undertow.testing.executors import ExecutorContract
from undertow.testing.stores import StoreContract

__all__ = ["AttackContract", "AuditContract", "ExecutorContract", "Game", "StoreContract", "game"]
