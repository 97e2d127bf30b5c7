"""Undertow audits the privacy of the pretrain -> finetune supply chain.

The public names; what is visible here is what is declared (tests/test_public.py). Nothing here imports torch.
"""

from importlib import import_module
from importlib.metadata import version
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
    WorkerDied,
)

__version__ = version("undertow")

# Loaded when first used, so that `import undertow` is quick and needs neither torch nor matplotlib.
_LAZY = {
    "load_result": "undertow.storage.results",
    "save_result": "undertow.storage.results",
    "read_signals": "undertow.storage.signals_file",
    "audit_score": "undertow.audits.score",
    "audit_mia": "undertow.audits.mia",
    "audit_tmi": "undertow.audits.tmi",
    "measure": "undertow.metrics",
}

__all__ = [
    "AuditError",
    "AuditResult",
    "BadInput",
    "ConfigError",
    "Evidence",
    "Examples",
    "GateUndecided",
    "Measurement",
    "MissingExtra",
    "Scores",
    "Signals",
    "StoreError",
    "WorkerDied",
    "__version__",
    "audit_mia",
    "audit_score",
    "audit_tmi",
    "load_result",
    "measure",
    "read_signals",
    "save_result",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'undertow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
