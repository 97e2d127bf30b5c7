"""`undertow audit dp` as a user runs it."""

import json
import re

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("dp_accounting")
pytest.importorskip("opacus")

from typer.testing import CliRunner

from undertow.cli import app

QUICK = """
hidden = [8]
[data]
records = 60
auxiliary = 50
[recipe]
steps = 6
"""


def call(*arguments):
    return CliRunner().invoke(app, ["audit", "dp", *map(str, arguments)])


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "quick.toml").write_text(QUICK)
    return folder


@pytest.fixture(scope="module")
def finished(quick):
    done = call("--config", quick / "quick.toml", "--runs", 60, "--epsilon", 3, "--out", quick / "out", "--seed", 3)
    assert done.exit_code == 0, done.output
    return quick / "out", done.output


def test_it_says_what_is_claimed_and_what_was_shown(finished):
    out, said = finished
    assert re.search(r"VERDICT: The claim stands", said)
    assert "> lower bound, 95%" in said
    result = json.loads((out / "result.json").read_text())
    assert result["audit"] == "dp"
    main = [row for row in result["measurements"] if row.get("headline")]
    assert len(main) == 1
    assert {"confidence", "bound", "assumes", "n", "unit", "delta", "view"} <= main[0].keys()
    assert (out / "scores.npz").is_file()


def test_the_page_has_both_pictures_and_the_table(finished):
    out, _ = finished
    page = (out / "report.html").read_text()
    assert page.count("<figure>") == 2
    for word in ("Side by side", "privacy loss distribution", "clopper-pearson", "gdp-accuracy", "iterates"):
        assert word in page
    assert not re.search(r"\b(nan|None|undefined)\b", re.sub(r"<svg.*?</svg>", "", page, flags=re.S))
    assert "<script" not in page


def test_the_report_is_drawn_again_to_the_same_bytes(finished):
    out, _ = finished
    before = (out / "report.html").read_bytes()
    assert CliRunner().invoke(app, ["report", str(out)]).exit_code == 0
    assert (out / "report.html").read_bytes() == before


def test_gates_decide_on_the_headline(finished, quick):
    out, _ = finished
    same = ["--config", quick / "quick.toml", "--runs", 60, "--epsilon", 3, "--out", out, "--seed", 3, "-q"]
    assert call(*same, "--fail-if", "epsilon_lower>3").exit_code == 0
    over = call(*same, "--fail-if", "epsilon_lower>0")
    assert over.exit_code == 1
    assert "gdp" not in over.output.split("epsilon_lower")[0]
    assert call(*same, "--fail-if", "epsilon_lower<3").exit_code == 2


def test_noise_that_is_too_small_is_found(quick):
    (quick / "weak.toml").write_text(QUICK + "noise = 1.5\n")
    done = call("--config", quick / "weak.toml", "--runs", 60, "--epsilon", 1, "--out", quick / "weak",
                "--fail-if", "epsilon_lower>1")  # fmt: skip
    assert done.exit_code == 1
    assert "VERDICT: The claim is refuted" in done.output


def test_one_run(quick):
    done = call("--config", quick / "quick.toml", "--one-run", "--out", quick / "one")
    assert done.exit_code == 0, done.output
    assert "1 run of 400 canaries" in done.output
    assert "one-run-gdp" in done.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--epsilon", "-1"], "epsilon"),
        (["--access", "everything"], "access"),
        (["--canary", "gradient", "--access", "black-box"], "no record"),
        (["--preset", "digit"], "digits"),
        (["--fail-if", "epsilon_lower@1%>8"], "no FPR"),
    ],
)
def test_what_is_refused_is_one_line_and_leaves_nothing(arguments, why, tmp_path):
    done = call(*arguments, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert why in done.output
    assert not (tmp_path / "run").exists()


def test_a_configuration_can_be_written_and_read(tmp_path):
    done = CliRunner().invoke(app, ["init-config", "dp"])
    assert done.exit_code == 0
    assert 'canary = "trap"' in done.output
    import tomllib

    from undertow.audits.dp.settings import DpConfig
    from undertow.config import override

    assert override(DpConfig(), tomllib.loads(done.output)) == DpConfig()


def test_presets_are_listed():
    done = call("--list-presets")
    assert done.exit_code == 0
    assert "dp  digits-one-run" in done.output
