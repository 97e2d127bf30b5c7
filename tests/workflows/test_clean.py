"""What `undertow clean` says of its price."""

from dataclasses import replace

from undertow.scanner import ScanResult
from undertow.scanner.clean import Change
from undertow.workflows.clean import COSTLY, CleanReport, told

NORM = Change("vit.layers.0.layernorm_after.bias", "reinit", (3,))
REPORT = CleanReport("in", "out", "reinit", ScanResult("unsafe"), ScanResult("safe"), (NORM,))


def test_an_edited_norm_is_told_to_be_costly_unless_a_parent_gave_its_place():
    assert COSTLY in told(REPORT)
    assert COSTLY not in told(replace(REPORT, alone=False))


def test_edited_units_are_not():
    assert COSTLY not in told(replace(REPORT, changes=(replace(NORM, tensor="1.weight"),)))
