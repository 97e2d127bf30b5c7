"""Names that others add: found, refused in one line, and never imported before they are needed."""

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest

from undertow.registry import PluginWarning, Registry, check_named, imported, instance_of, no_plugins, unknown
from undertow.types import ConfigError

GROUP = "undertow.test_things"


@dataclass(frozen=True)
class Thing:
    name: str


def things():
    return Registry(GROUP, "thing", {"ours": Thing("ours"), "other": Thing("other")}, instance_of(Thing))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package (its name, its module's text, its entry points as name -> value) into a folder on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def do(package, text, points, group=GROUP):
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(text))
        info = tmp_path / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        lines = "".join(f"{name} = {module}:{value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        made.append(module)

    yield do
    for module in made:
        sys.modules.pop(module, None)


GOOD = """
    from tests.test_registry import Thing
    MINE = Thing("mine")
"""


def test_built_in_values_come_first_in_their_order_and_plugins_after_them(install):
    install("plug-a", GOOD, {"mine": "MINE"})
    found = things()
    assert list(found) == ["ours", "other", "mine"]
    assert len(found) == 3
    assert found["mine"] == Thing("mine")
    assert found.find("mine") is found["mine"]


def test_a_built_in_name_imports_no_plugin_and_a_plugins_name_only_that_one(install):
    install("plug-a", GOOD, {"mine": "MINE"})
    install("plug-b", "raise RuntimeError('imported')", {"bad": "X"})
    found = things()
    assert found["ours"] == Thing("ours")
    assert "plug_a" not in sys.modules
    assert found.find("mine") == Thing("mine")  # a warning would be an error here
    assert "plug_b" not in sys.modules


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise RuntimeError('no\\nluck')", "bad:X of bad cannot be imported: RuntimeError: no luck"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("import a_module_that_is_nowhere", "cannot be imported: ModuleNotFoundError"),
        ("Y = 1", "cannot be imported: AttributeError"),
        ("X = 1", "is of the type int, and must be of the type Thing"),
        ("from tests.test_registry import Thing\nX = Thing('elsewhere')", "calls itself 'elsewhere'"),
    ],
)
def test_a_broken_plugin_is_named_in_one_line_and_left_out(install, text, says):
    install("bad", text, {"broken": "X"})
    found = things()
    with pytest.warns(PluginWarning) as told:
        assert list(found) == ["ours", "other"]
    assert len(told) == 1
    line = str(told[0].message)
    assert line.startswith("thing 'broken' is left out: ")
    assert says in line
    assert "\n" not in line
    assert list(found) == ["ours", "other"]  # said once
    with pytest.raises(ConfigError, match=r"thing 'broken' cannot be used: .* of bad "):
        found.find("broken")


def test_two_packages_with_one_name_are_both_named_and_neither_is_used(install):
    install("plug-a", GOOD, {"mine": "MINE"})
    install("plug-b", GOOD, {"mine": "MINE"})
    found = things()
    with pytest.warns(PluginWarning, match="'mine' is left out: both plug-a and plug-b offer one of this name"):
        assert list(found) == ["ours", "other"]
    with pytest.raises(ConfigError, match="plug-a and plug-b"):
        found.find("mine")


def test_no_package_takes_a_name_of_ours(install):
    install("plug-a", GOOD, {"ours": "MINE"})
    found = things()
    with pytest.warns(PluginWarning, match="both undertow and plug-a"):
        assert list(found) == ["ours", "other"]
    assert found.find("ours") == Thing("ours")
    assert "plug_a" not in sys.modules


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no thing is called 'our'; did you mean 'ours'\? known: ours, other"):
        things().find("our")
    with pytest.raises(ConfigError, match=r"no thing is called 'xyz'; known: ours, other \(--list\)"):
        things().find("xyz", "--list")
    with pytest.raises(KeyError):
        things()["our"]
    assert "our" not in things()
    assert str(unknown("thing", "x", [])) == "no thing is called 'x'; known: none"


def test_check_named_takes_known_names():
    check_named("thing", ["a", "b"], ["a", "b", "c"])
    with pytest.raises(ConfigError, match="'d'"):
        check_named("thing", ["a", "d"], ["a", "b", "c"])


def test_a_reference_is_imported_and_known_by_its_own_name_from_then_on(install):
    install("plug-a", GOOD, {})
    found = things()
    assert found.name_of("plug_a:MINE") == "mine"
    assert found.find("plug_a:MINE") is found["mine"]
    assert list(found) == ["ours", "other", "mine"]


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nowhere.at_all:X", "nowhere.at_all cannot be imported .ModuleNotFoundError.*PYTHONPATH"),
        ("plug_a:MINF", "did you mean 'MINE'"),
        ("plug_a:Thing", "must be of the type Thing"),
        ("plug_a:", "written package.module:value"),
        (":MINE", "written package.module:value"),
        ("plug_a:OURS", "plug_a:OURS and undertow both offer the thing 'ours'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_one_line(install, reference, says):
    install("plug-a", GOOD + "    OURS = Thing('ours')\n", {})
    with pytest.raises(ConfigError, match=says) as raised:
        things().find(reference)
    assert "\n" not in str(raised.value)


def test_two_references_to_one_name_are_both_named(install):
    install("plug-a", GOOD, {})
    install("plug-b", GOOD, {})
    found = things()
    found.find("plug_a:MINE")
    with pytest.raises(ConfigError, match="plug_b:MINE and plug_a:MINE both offer the thing 'mine'"):
        found.find("plug_b:MINE")


def test_the_value_of_an_installed_plugin_may_be_referred_to(install):
    install("plug-a", GOOD, {"mine": "MINE"})
    assert things().name_of("plug_a:MINE") == "mine"


def test_imported_follows_dots():
    assert imported("os:path.join", "thing").__name__ == "join"


def test_inside_no_plugins_there_are_none(install):
    install("plug-a", GOOD, {"mine": "MINE"})
    found = things()
    with no_plugins():
        assert list(found) == ["ours", "other"]
        for name in ("mine", "plug_a:MINE"):
            with pytest.raises(ConfigError, match="no thing is called"):
                found.find(name)
    assert "plug_a" not in sys.modules
    assert list(found) == ["ours", "other", "mine"]


SPY = """
    from pathlib import Path
    Path(__file__).with_name("imported").touch()
    from undertow.attacks.attack import Attack, VALUES, field_of
    SPY = Attack("spy", "baseline", "the given signal, again", VALUES, field_of("values"))
"""


def shell(tmp_path, *arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "undertow", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)


@pytest.fixture
def leaky_file(tmp_path):
    import numpy as np

    from undertow.rng import stream

    rng = stream(0, "test")
    member = rng.random((8, 60)) < 0.5
    np.savez(tmp_path / "signals.npz", member=member, values=rng.normal(size=member.shape) + member)
    return tmp_path / "signals.npz"


def test_a_scan_imports_no_plugin_and_score_offers_it_unasked(install, tmp_path, leaky_file):
    import numpy as np
    from safetensors.numpy import save_file

    install("spy", SPY, {"spy": "SPY"}, "undertow.attacks")
    save_file({"weight": np.ones((2, 3), np.float32)}, tmp_path / "model.safetensors")
    scanned = shell(tmp_path, "scan", tmp_path / "model.safetensors")
    assert "VERDICT: " in scanned.stdout, scanned.stderr
    assert not (tmp_path / "imported").exists()
    scored = shell(tmp_path, "score", leaky_file)
    assert scored.returncode == 0, scored.stderr
    assert re.search(r"^\s*spy ", scored.stdout, re.MULTILINE), scored.stdout
    assert (tmp_path / "imported").exists()


def test_on_the_screen_a_broken_plugin_is_one_line(install, tmp_path, leaky_file):
    install("bad", "raise RuntimeError('luck')", {"broken": "X"}, "undertow.attacks")
    scored = shell(tmp_path, "score", leaky_file)
    assert scored.returncode == 0, scored.stderr
    why = "bad:X of bad cannot be imported: RuntimeError: luck"
    assert scored.stderr.splitlines() == [f"undertow: warning: attack 'broken' is left out: {why}"]


def test_an_attack_is_named_on_the_command_line_by_where_it_stands(tmp_path, leaky_file):
    (tmp_path / "mine.py").write_text(textwrap.dedent(SPY))
    scored = shell(tmp_path, "score", leaky_file, "--attack", "mine:SPY,lira")
    assert scored.returncode == 0, scored.stderr
    assert re.search(r"^\s*spy ", scored.stdout, re.MULTILINE), scored.stdout
    refused = shell(tmp_path, "score", leaky_file, "--attack", "mine:SPI")
    assert refused.returncode == 2
    assert "did you mean 'SPY'" in refused.stderr
