"""What is visible is what is declared; importing is quick and drags nothing heavy in."""

import subprocess
import sys
from pathlib import Path

import pytest

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


AUDITS = ("mia", "tmi", "poisoning", "datatrap", "dp", "dp_pipeline", "model")


def test_every_audit_and_its_configuration_is_public():
    assert {f"audit_{name}" for name in AUDITS} <= set(undertow.__all__)
    verbs = {"score", "scan", "clean", "page", "summary", "load_result", "save_result"}
    configs = {"LeakageConfig", "PoisoningConfig", "DataTrapConfig", "DpConfig", "DpClaim", "Mechanism"}
    seams = {"Attack", "Audit", "Architecture", "Executor", "Progress", "Stage", "Store"}
    assert verbs | configs | seams <= set(undertow.__all__)


@pytest.mark.parametrize(
    ("old", "new"), [("audit_score", "score"), ("scan_checkpoint", "scan"), ("clean_checkpoint", "clean")]
)
def test_an_old_name_is_the_new_one_and_says_so(old, new):
    with pytest.warns(DeprecationWarning, match=rf"undertow\.{old} is called undertow\.{new} now") as told:
        assert getattr(undertow, old) is getattr(undertow, new)
    assert told[0].filename == __file__
    assert old not in undertow.__all__


def test_no_submodule_hides_a_public_name():
    """Importing `undertow.scan`, were there such a module, would put it in the place of the function."""
    folder = Path(undertow.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {"cli", "scanner", "testing"} <= modules
    assert not modules & set(undertow.__all__)
    code = "import undertow, undertow.cli, undertow.cli.scan; print(undertow.scan.__name__, undertow.score.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["scan_checkpoint", "audit_score"]


def test_an_unknown_name_is_an_attribute_error():
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
