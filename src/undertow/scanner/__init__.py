"""Reading weights for signs of tampering: NumPy only, block by block, nothing executed."""

from undertow.scanner.coverage import ENOUGH, Coverage
from undertow.scanner.findings import Finding, ScannedFile, ScanResult, Severity, Verdict, worst
from undertow.scanner.inspection import Inspection, inspect
from undertow.scanner.tensors import Tensor, of_arrays

__all__ = [
    "ENOUGH", "Coverage", "Finding",
    "Inspection", "ScanResult", "ScannedFile", "Severity", "Tensor", "Verdict", "inspect", "of_arrays",
    "worst",
]  # fmt: skip
