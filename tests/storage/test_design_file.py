"""Designs for trainings that are run elsewhere: dealt, read back, and held against the signals that come of them."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from commands import undertow

from undertow.audits.membership.score import audit_score
from undertow.engine.pairs import misfit, pairs
from undertow.rng import stream
from undertow.storage.design_file import fitted, read_design, read_groups, write_design
from undertow.storage.signals_file import read_signals
from undertow.types import AuditError, BadInput


@pytest.fixture
def dealt(tmp_path):
    return write_design(tmp_path / "design.npz", 40, 16, 3, None)


def signals(path, truth, **more):
    values = stream(0, "signals").normal(size=truth.shape) + 2 * truth
    np.savez(path, values=values, **more)
    return read_signals(path)


def test_a_design_is_read_back_as_it_was_dealt(tmp_path, dealt):
    assert np.array_equal(read_design(tmp_path / "design.npz").member, pairs(3, 40, 16))
    with np.load(tmp_path / "design.npz") as file:
        assert len(set(file["seeds"].tolist())) == 16
    write_design(tmp_path / "design.npz", 40, 16, 3, None)  # the same again
    with pytest.raises(BadInput, match="not overwritten"):
        write_design(tmp_path / "design.npz", 40, 16, 4, None)


def test_signals_need_no_membership_where_the_design_has_it(tmp_path, dealt):
    found = fitted(signals(tmp_path / "s.npz", dealt.member), dealt)
    result = audit_score(found, ["lira"])
    assert result.find("lira", "auc").low > 0.8
    assert any("The membership is that of design.npz: 16 of its 16 models." in w for w in result.warnings)


def test_the_first_models_of_a_design_fit_it(tmp_path, dealt):
    assert fitted(signals(tmp_path / "s.npz", dealt.member[:8]), dealt).arrays["member"].shape == (8, 40)
    assert misfit(dealt.member[:8], dealt.member) is None


def flipped(member):
    wrong = member.copy()
    wrong[2, 5] = ~wrong[2, 5]
    return wrong


MISFITS = {
    "swapped axes": (lambda m: m.T, r"swap the axes"),
    "fewer records": (lambda m: m[:, 1:], "is of 39 records, the design of 40"),
    "more models": (lambda m: np.r_[m, m[:2]], "is of 18 models, the design of 16"),
    "opposite": (lambda m: ~m, "is the opposite"),
    "models in another order": (lambda m: np.roll(m, 2, 0), "models of the design in another order"),
    "records in another order": (lambda m: np.roll(m, 1, 1), "records of the design in another order"),
    "another draw": (lambda m: pairs(9, 40, 16), "in 16 of 16 models"),
    "one entry": (flipped, r"in 1 of 16 models, first in model 2 \(1 of 40 records\)"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_one_line(case, tmp_path, dealt):
    change, said = MISFITS[case]
    member = change(dealt.member)
    with pytest.raises(BadInput, match=said) as caught:
        fitted(signals(tmp_path / "s.npz", member, member=member), dealt)
    assert "\n" not in str(caught.value)


def test_signals_may_name_their_design(tmp_path, dealt):
    with np.load(tmp_path / "design.npz") as file:
        name = file["design"]
    audit_score(signals(tmp_path / "s.npz", dealt.member, member=dealt.member, design=name), ["lira"])
    other = flipped(dealt.member)
    with pytest.raises(BadInput, match="member is not that of the design"):
        audit_score(signals(tmp_path / "s.npz", other, member=other, design=name), ["lira"])
    with pytest.raises(BadInput, match="it is the text `design`"):
        audit_score(signals(tmp_path / "s.npz", dealt.member, member=dealt.member, design=np.eye(2)), ["lira"])


def test_what_is_no_design_is_refused(tmp_path, dealt):
    np.savez(tmp_path / "other.npz", member=dealt.member)
    with pytest.raises(BadInput, match="is no design"):
        read_design(tmp_path / "other.npz")
    with np.load(tmp_path / "design.npz") as file:
        np.savez(tmp_path / "changed.npz", **{**file, "member": flipped(file["member"])})
    with pytest.raises(BadInput, match="its checksum differs"):
        read_design(tmp_path / "changed.npz")


def test_groups_are_read_from_lines_csv_and_npz(tmp_path):
    names = [f"p{i // 3}" for i in range(12)]
    (tmp_path / "g.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "g.csv").write_text("id,group\n" + "".join(f"{i},{g}\n" for i, g in enumerate(names)))
    np.savez(tmp_path / "g.npz", group=names)
    for name in ("g.txt", "g.csv", "g.npz"):
        assert read_groups(tmp_path / name).tolist() == names
    dealt = write_design(tmp_path / "design.npz", None, 8, 0, tmp_path / "g.csv")
    assert (dealt.member[:, ::3] == dealt.member[:, 2::3]).all()
    with pytest.raises(BadInput, match="12 groups for 13 records"):
        write_design(tmp_path / "d.npz", 13, 8, 0, tmp_path / "g.csv")
    with pytest.raises(AuditError, match="--records is missing"):
        write_design(tmp_path / "d.npz", None, 8, 0, None)
    with pytest.raises(AuditError, match="the design is an npz"):
        write_design(tmp_path / "d.csv", 12, 8, 0, None)


def test_the_commands(tmp_path):
    code, said, wrong = undertow("design", "--records", 40, "--shadows", 8, cwd=tmp_path)
    assert code == 0, wrong
    assert "8 models in 4 complementary pairs, 40 records" in said
    signals(tmp_path / "s.npz", pairs(0, 40, 8))
    code, said, wrong = undertow("score", "s.npz", "--design", "design.npz", "--attack", "lira", cwd=tmp_path)
    assert code == 0, wrong
    assert "8 models in 4 complementary pairs" in said
    code, _, wrong = undertow("design", "--records", 40, "--shadows", 7, "--out", "d.npz", cwd=tmp_path)
    assert (code, len(wrong.splitlines())) == (2, 1)
