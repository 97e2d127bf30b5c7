"""What `undertow scan` does, below the screen: open without executing, read the weights, say one verdict."""

from undertow.workflows.scan.checkpoints import Checkpoint, arrays_of, checkpoints_of
from undertow.workflows.scan.request import Scan, ScanRequest
from undertow.workflows.scan.run import require_safe, scan, scan_checkpoint, scan_paths

__all__ = [
    "Checkpoint",
    "Scan",
    "ScanRequest",
    "arrays_of",
    "checkpoints_of",
    "require_safe",
    "scan",
    "scan_checkpoint",
    "scan_paths",
]
