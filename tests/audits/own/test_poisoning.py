"""A person's own finetuning from a suspect base and from a trusted one: what leaks more is found, and only that."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from toys import leaky

import undertow as ut
from undertow.rng import stream

pytest.importorskip("torch")
N = 80


def some(name):
    rng = stream(1, name)
    return rng.normal(size=(N, 4)).round(6), np.arange(N) % 3


def finetune(base, part, seed):
    return leaky(base)(part, seed)


def audited(suspect, reference, **more):
    given = {"records": some("mine"), "look_alikes": some("others"), "shadows": 16, **more}
    return ut.audit_poisoning(finetune=finetune, suspect=suspect, reference=reference, **given)


def test_a_base_that_makes_records_leak_more_is_suspicious(tmp_path):
    result = audited(4.0, 0.5, out=tmp_path / "run")
    assert result.verdict == "suspicious"
    row = result.find("lira", "auc_difference", group="suspect", points="targets")
    assert row.low > 0.1
    assert "suspicious" in ut.summary(result).lower()
    assert "Your own finetuning, 16 runs of it from each of the two bases" in " ".join(ut.summary(result).split())
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_same_base_twice_is_not_suspicious_and_never_called_safe():
    result = audited(1.0, 1.0)
    assert result.verdict == "unknown"
    row = result.find("lira", "auc_difference", group="suspect", points="targets")
    assert row.value == 0  # the same halves, seeds and base


def test_a_base_is_known_by_its_files(tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()

    def counted(base, part, seed):
        (calls / f"{Path(base).read_text()}-{seed}").touch()
        return leaky(1.0)(part, seed)

    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    given = {"records": some("mine"), "shadows": 4, "store": tmp_path / "store"}
    bases = {"suspect": str(tmp_path / "a"), "reference": str(tmp_path / "b")}
    ut.audit_poisoning(finetune=counted, **bases, **given)
    assert len(list(calls.iterdir())) == 8
    again = ut.audit_poisoning(finetune=counted, **bases, **given)
    assert any(line.startswith("8 of 8 answers were taken") for line in again.warnings)
    (tmp_path / "a").write_text("c")
    changed = ut.audit_poisoning(finetune=counted, **bases, **given)
    assert any(line.startswith("4 of 8 answers were taken") for line in changed.warnings)


def test_wrong_input_is_one_line():
    with pytest.raises(ut.ConfigError, match=r"finetune.*cannot be called as finetune\(base, records, seed\)"):
        ut.audit_poisoning(finetune=lambda base: None, suspect=1, reference=1, records=some("mine"))
    with pytest.raises(ut.BadInput, match="labels are there for one of records and look_alikes only"):
        audited(1.0, 1.0, look_alikes=some("others")[0])
