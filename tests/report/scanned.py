"""A scan whose names are as long as names get."""

import numpy as np

from undertow.report.scan.page import page
from undertow.scanner import Finding, ScannedFile, ScanResult


def long_names():
    """The page of a scan of two files."""
    path, tensor = "folder/" * 12 + "x" * 90 + ".safetensors", "encoder.layers.10.self_attention.output_projection" * 3
    found = Finding("data-trap", "critical", "rows 40 times as long", path, tensor, tuple(range(0, 600, 3)), 1.8)
    files = (ScannedFile(path, "ab" * 32, "unsafe"), ScannedFile("half.pt", "", "unknown"))
    settings = {"limits": {f"test {i}": 1.234 for i in range(12)}, "false_alarm_rate": 0.01}
    result = ScanResult("unsafe", (found, found), ("loss poisoning: needs a parent",), files, settings)
    lengths = np.where(np.arange(600) % 3 == 0, 40.0, 1.0)
    return page(result, {(path, tensor): lengths}, {"undertow": "0.1.0"})
