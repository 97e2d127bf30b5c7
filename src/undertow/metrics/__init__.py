"""Scores -> Measurement."""

from undertow.metrics.band import tpr_band
from undertow.metrics.exposure import exposure
from undertow.metrics.gate import Gate, VerdictGate, apply_gate, parse_gate
from undertow.metrics.interval import FPRS, measure
from undertow.metrics.limits import lower_limit, upper_limit
from undertow.metrics.roc import allowed, auc, roc_curve, threshold_at, tpr_at
from undertow.metrics.several import difference, mean_over_runs

__all__ = [
    "FPRS",
    "Gate",
    "VerdictGate",
    "allowed",
    "apply_gate",
    "auc",
    "difference",
    "exposure",
    "lower_limit",
    "mean_over_runs",
    "measure",
    "parse_gate",
    "roc_curve",
    "threshold_at",
    "tpr_at",
    "tpr_band",
    "upper_limit",
]
