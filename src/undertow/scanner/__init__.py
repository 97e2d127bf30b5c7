"""Reading weights for signs of tampering: NumPy only, block by block, nothing executed."""

from undertow.scanner.findings import Finding, ScannedFile, ScanResult, Severity, Verdict, worst
from undertow.scanner.tensors import Tensor, of_arrays

__all__ = ["Finding", "ScanResult", "ScannedFile", "Severity", "Tensor", "Verdict", "of_arrays", "worst"]
