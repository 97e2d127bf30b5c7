"""The errors that Undertow raises on purpose.

AuditError
├── BadInput        signals or data that cannot be audited as given
├── ConfigError     a configuration that cannot mean anything
│   └── Diverged        training ended in NaN or infinite weights
├── MissingExtra    an optional dependency is not installed
├── StoreError      the run folder cannot be read or written
├── WorkerDied      a worker process ended before its work did
├── TrainingFailed  the user's own training function raised; its traceback is kept
├── UnsafeCheckpoint  a checkpoint that did not pass its scan
└── GateUndecided   a --fail-if condition this audit has too little data to decide
"""


class AuditError(Exception):
    """Root of everything this library raises on purpose."""


class BadInput(AuditError):
    """Signals or data that cannot be audited as given; the message says where and what to do."""


class ConfigError(AuditError):
    """A configuration that cannot mean anything; the message names the key."""


class Diverged(ConfigError):
    """Training ended in NaN or infinite weights; the message says of which model."""


class MissingExtra(AuditError):
    """An optional dependency is not installed; the message names the pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'undertow[{extra}]'")


class StoreError(AuditError):
    """The run folder cannot be read or written; what was finished is kept."""


class WorkerDied(AuditError):
    """A worker process ended before its work did; what was finished is kept."""


class TrainingFailed(AuditError):
    """A user's own training raised; the message says which one, the cause or a note holds its traceback."""


class UnsafeCheckpoint(AuditError):
    """A checkpoint whose scan is not safe; the message names the first reason."""


class GateUndecided(AuditError):
    """A --fail-if condition cannot be decided with the data at hand; unknown is never a pass."""
