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
    Executor,
    GateUndecided,
    Measurement,
    MissingExtra,
    Progress,
    Scores,
    Signals,
    Slot,
    Stage,
    Store,
    StoreError,
    TrainingFailed,
    UnsafeCheckpoint,
    WorkerDied,
)

__version__: str

# Loaded when first used, so that `import undertow` is quick and needs neither torch nor matplotlib; "module", or
# "module:name" where the name there is another.
_LAZY = {
    "Architecture": "undertow.models.architecture",
    "Attack": "undertow.attacks.attack",
    "Audit": "undertow.workflows.audit",
    "DataSettings": "undertow.audits.settings",
    "DataTrapConfig": "undertow.audits.datatrap.settings",
    "DiskStore": "undertow.storage.store",
    "DpClaim": "undertow.audits.dp.claim",
    "DpConfig": "undertow.audits.dp.settings",
    "EngineSettings": "undertow.audits.settings",
    "Finding": "undertow.scanner",
    "Fit": "undertow.training.schedule",
    "Forks": "undertow.engine.forks",
    "Host": "undertow.audits.chain",
    "LeakageConfig": "undertow.audits.settings",
    "Mechanism": "undertow.audits.dp.pipeline",
    "MemoryStore": "undertow.storage.store",
    "ModelSettings": "undertow.audits.settings",
    "PoisoningConfig": "undertow.audits.poisoning.settings",
    "Processes": "undertow.engine.executor",
    "Reading": "undertow.report.reading",
    "Request": "undertow.workflows.audit",
    "ScanResult": "undertow.scanner",
    "Serial": "undertow.engine.executor",
    "Signer": "undertow.opening",
    "Supply": "undertow.audits.supply",
    "audit_datatrap": "undertow.audits.datatrap.game",
    "audit_dp": "undertow.audits.dp.game",
    "audit_dp_pipeline": "undertow.audits.dp.pipeline",
    "audit_mia": "undertow.workflows.own",
    "audit_model": "undertow.workflows.one_model",
    "audit_named": "undertow.workflows.audits",
    "audit_poisoning": "undertow.workflows.own_poisoning",
    "audit_tmi": "undertow.workflows.own",
    "check_pipeline": "undertow.audits.dp.conformance",
    "clean": "undertow.workflows.clean:clean_checkpoint",
    "compare": "undertow.workflows.compare:compare_runs",
    "evidence": "undertow.workflows.evidence:make_pack",
    "inspect_module": "undertow.audits.dp.inspect",
    "load_result": "undertow.storage.results",
    "measure": "undertow.metrics",
    "page": "undertow.report.reading:page_of",
    "preset": "undertow.audits.membership.presets",
    "read_signals": "undertow.storage.signals_file",
    "require_safe": "undertow.workflows.scan",
    "run_audit": "undertow.workflows.audit",
    "save_result": "undertow.storage.results",
    "scan": "undertow.workflows.scan:scan_checkpoint",
    "score": "undertow.audits.membership.score:audit_score",
    "stream": "undertow.rng",
    "summary": "undertow.report.text",
}
_DEPRECATED = {"audit_score": "score", "clean_checkpoint": "clean", "scan_checkpoint": "scan"}

__all__ = [
    "Architecture",
    "Attack",
    "Audit",
    "AuditError",
    "AuditResult",
    "BadInput",
    "ConfigError",
    "DataSettings",
    "DataTrapConfig",
    "DiskStore",
    "DpClaim",
    "DpConfig",
    "EngineSettings",
    "Evidence",
    "Examples",
    "Executor",
    "Finding",
    "Fit",
    "Forks",
    "GateUndecided",
    "Host",
    "LeakageConfig",
    "Measurement",
    "Mechanism",
    "MemoryStore",
    "MissingExtra",
    "ModelSettings",
    "PoisoningConfig",
    "Processes",
    "Progress",
    "Reading",
    "Request",
    "ScanResult",
    "Scores",
    "Serial",
    "Signals",
    "Signer",
    "Slot",
    "Stage",
    "Store",
    "StoreError",
    "Supply",
    "TrainingFailed",
    "UnsafeCheckpoint",
    "WorkerDied",
    "__version__",
    "audit_datatrap",
    "audit_dp",
    "audit_dp_pipeline",
    "audit_mia",
    "audit_model",
    "audit_named",
    "audit_poisoning",
    "audit_tmi",
    "check_pipeline",
    "clean",
    "compare",
    "evidence",
    "inspect_module",
    "load_result",
    "measure",
    "page",
    "preset",
    "read_signals",
    "require_safe",
    "run_audit",
    "save_result",
    "scan",
    "score",
    "stream",
    "summary",
]


def __getattr__(name: str) -> Any:
    if name in _DEPRECATED:
        import warnings

        new = _DEPRECATED[name]
        warnings.warn(f"undertow.{name} is called undertow.{new} now", DeprecationWarning, stacklevel=2)
        return __getattr__(new)
    if name in _LAZY:
        module, _, there = _LAZY[name].partition(":")
        return getattr(import_module(module), there or name)
    if name == "__version__":  # asking for it reads the files of the installation, a tenth of a scan's start-up
        return import_module("importlib.metadata").version("undertow")
    raise AttributeError(f"module 'undertow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
