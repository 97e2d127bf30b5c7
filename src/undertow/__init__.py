"""Undertow audits the privacy of the pretrain -> finetune supply chain.

The public names; what is visible here is what is declared (tests/test_public.py). Nothing here imports torch.
"""

from importlib import import_module
from typing import Any

from undertow.types import (
    AuditError,
    AuditResult,
    BadInput,
    ConfigError,
    Evidence,
    Examples,
    GateUndecided,
    Measurement,
    MissingExtra,
    Scores,
    Signals,
    StoreError,
    TrainingFailed,
    UnsafeCheckpoint,
    WorkerDied,
)

__version__: str

# Loaded when first used, so that `import undertow` is quick and needs neither torch nor matplotlib.
_LAZY = {
    "DataSettings": "undertow.audits.settings",
    "DiskStore": "undertow.storage.store",
    "DpClaim": "undertow.audits.dp.claim",
    "EngineSettings": "undertow.audits.settings",
    "Finding": "undertow.scanner",
    "Fit": "undertow.training.schedule",
    "Host": "undertow.audits.chain",
    "LeakageConfig": "undertow.audits.settings",
    "MemoryStore": "undertow.storage.store",
    "ModelSettings": "undertow.audits.settings",
    "Processes": "undertow.engine.executor",
    "ScanResult": "undertow.scanner",
    "Signer": "undertow.opening",
    "Serial": "undertow.engine.executor",
    "Supply": "undertow.audits.supply",
    "audit_dp_pipeline": "undertow.audits.dp.pipeline",
    "audit_mia": "undertow.workflows.own",
    "audit_model": "undertow.workflows.one_model",
    "audit_poisoning": "undertow.workflows.own_poisoning",
    "audit_score": "undertow.audits.membership.score",
    "audit_tmi": "undertow.workflows.own",
    "check_pipeline": "undertow.audits.dp.conformance",
    "compare": "undertow.workflows.compare:compare_runs",
    "evidence": "undertow.workflows.evidence:make_pack",
    "inspect_module": "undertow.audits.dp.inspect",
    "load_result": "undertow.storage.results",
    "measure": "undertow.metrics",
    "preset": "undertow.audits.membership.presets",
    "read_signals": "undertow.storage.signals_file",
    "require_safe": "undertow.workflows.scan",
    "save_result": "undertow.storage.results",
    "scan_checkpoint": "undertow.workflows.scan",
    "stream": "undertow.rng",
    "summary": "undertow.report.text",
}

__all__ = [
    "AuditError",
    "AuditResult",
    "BadInput",
    "ConfigError",
    "DataSettings",
    "DiskStore",
    "DpClaim",
    "EngineSettings",
    "Evidence",
    "Examples",
    "Finding",
    "Fit",
    "GateUndecided",
    "Host",
    "LeakageConfig",
    "Measurement",
    "MemoryStore",
    "MissingExtra",
    "ModelSettings",
    "Processes",
    "ScanResult",
    "Scores",
    "Serial",
    "Signals",
    "StoreError",
    "Supply",
    "TrainingFailed",
    "UnsafeCheckpoint",
    "WorkerDied",
    "__version__",
    "audit_dp_pipeline",
    "audit_mia",
    "audit_model",
    "audit_poisoning",
    "audit_score",
    "audit_tmi",
    "check_pipeline",
    "compare",
    "evidence",
    "inspect_module",
    "load_result",
    "measure",
    "preset",
    "read_signals",
    "require_safe",
    "save_result",
    "scan_checkpoint",
    "stream",
    "summary",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, _, called = _LAZY[name].partition(":")
        return getattr(import_module(module), called or name)
    if name == "__version__":  # asking for it reads the files of the installation, a tenth of a scan's start-up
        return import_module("importlib.metadata").version("undertow")
    raise AttributeError(f"module 'undertow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
