"""Our own audits, by the contract that any audit is tested by."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from undertow.testing.audits import AuditContract
from undertow.workflows.audits import audit_named

SEQUENTIAL = {"engine": {"name": "sequential"}}
FEW = {"shadows": 4, "victims": 1, "challenge": 40, "views": 1, "view_jitter": 0.0,
       "attacks": ["loss", "rmia-offline"], **SEQUENTIAL}  # fmt: skip


class TestMia(AuditContract):
    small = {**FEW, "data": {"pool": 80, "other": 60, "draw": 0}, "pretrain": {"epochs": 2}, "finetune": {"epochs": 1}}
    refused = {"data": {"pool": 100_000}}
    presets = ("digits",)

    @pytest.fixture
    def audit(self):
        return audit_named("mia")


class TestTmi(AuditContract):
    small = {**FEW, "attacks": ["tmi-default", "confidence"], "data": {"pool": 80, "other": 60, "draw": 40},
             "pretrain": {"epochs": 2}, "finetune": {"epochs": 1}}  # fmt: skip
    refused = {"data": {"pool": 100_000}}
    presets = ("digits",)

    @pytest.fixture
    def audit(self):
        return audit_named("tmi")


class TestDatatrap(AuditContract):
    small = {"model": {"hidden": [256, 64]}, "pretrain": {"epochs": 6}, "finetune": {"epochs": 2},
             "traps": {"count": 16}}  # fmt: skip
    refused = {"data": {"source": "/nowhere/at/all"}}
    presets = ("digits-mlp", "vit")

    @pytest.fixture
    def audit(self):
        return audit_named("datatrap")


class TestPoisoning(AuditContract):
    small = {"models": 6, "data": {"source": "digits", "points": 24, "targets": 12, "noise": 0.25},
             "model": {"kind": "mlp", "hidden": [16]}, "pretrain": {"epochs": 1, "batch": 64},
             "poison": {"direction": "max", "steps": 6, "batch": 16}, "finetune": {"epochs": 2, "batch": 6},
             **SEQUENTIAL}  # fmt: skip
    refused = {"data": {"points": 10_000_000}}
    presets = ("digits",)

    @pytest.fixture
    def audit(self):
        return audit_named("poisoning")


class TestDp(AuditContract):
    small = {"runs": 20, "hidden": [8], "data": {"records": 60, "auxiliary": 50}, "recipe": {"steps": 8}}
    refused = {"data": {"source": "/nowhere/at/all.npz"}}
    presets = ("digits",)

    @pytest.fixture
    def audit(self):
        return audit_named("dp")
