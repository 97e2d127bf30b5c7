"""What is visible is what is declared; importing is quick and drags nothing heavy in."""

import subprocess
import sys

import undertow

HEAVY = ("torch", "sklearn", "matplotlib", "pandas", "scipy.stats", "pyarrow", "transformers")


def loaded_by(code):
    report = f"import sys; {code}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_every_public_name_is_there():
    for name in undertow.__all__:
        assert getattr(undertow, name) is not None
    assert sorted(undertow.__all__) == undertow.__all__


def test_an_unknown_name_is_an_attribute_error():
    import pytest

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = undertow.nonsense


def test_import_loads_nothing_heavy():
    assert loaded_by("import undertow") == []


def test_the_command_line_loads_nothing_heavy():
    assert loaded_by("import undertow.cli") == []


def test_the_ground_floor_needs_no_torch():
    ground = "undertow.attacks.catalog, undertow.metrics, undertow.engine.play, undertow.signals, undertow.traps"
    assert "torch" not in loaded_by(f"import {ground}")


def test_score_and_report_need_no_torch():
    rooms = "undertow.audits.membership.score, undertow.storage.signals_file, undertow.storage.results"
    assert "torch" not in loaded_by(f"import {rooms}, undertow.report.html")


def test_one_model_is_audited_without_torch():
    rooms = "undertow.audit_model, undertow.cli.one_model, undertow.workflows.one_model, undertow.integrations"
    assert loaded_by(f"import undertow; undertow.audit_model; import {rooms.split(', ', 1)[1]}") in (
        [],
        ["scipy.stats"],
    )
