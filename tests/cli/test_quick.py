"""What is read without typer is what typer reads; whatever it may say something about is left to it."""

from pathlib import Path
from typing import Annotated

import pytest
import typer
from tests.e2e import commands

from undertow.cli import app
from undertow.cli.quick import arguments_of
from undertow.cli.scan import scan

PLAIN = [
    "a",
    "a b",
    "-q a",
    "a -q --format json",
    "--format=sarif --out=x.sarif a b",
    "--parent p --prove --data d.npz --factory m:f a",
    "a --allow x --allow y,z --ignore UT202 --rules r.toml",
    "--public-key k --identity i --issuer j a",
    "a --seed 3 --format json --format html",
    "--baseline b.json a",
    "--write-baseline b.json -- -odd name",
]
LEFT = [
    "", "-h", "--help", "a --help", "--nonsense a", "a --format", "--seed x a", "-qq a", "a --quiet=1", "--form json a",
    "--out -q a", "--", "a --no-prove", "-q", "--format= a",
]  # fmt: skip


def by_typer(arguments):
    command = typer.main.get_command(app).commands["scan"]
    return command.make_context("scan", list(arguments)).params


@pytest.mark.parametrize("text", PLAIN)
def test_plain_arguments_are_read_as_typer_reads_them(text):
    defaults, wanted = by_typer(["a"]), by_typer(text.split())
    found = {**defaults, "paths": [], **arguments_of(scan, text.split())}
    assert {key: value or None for key, value in found.items()} == {key: value or None for key, value in wanted.items()}


@pytest.mark.parametrize("text", LEFT)
def test_everything_else_is_left_to_typer(text):
    assert arguments_of(scan, text.split()) is None


def test_parameters_that_are_not_known_are_left_to_typer():
    def bounded(paths: Annotated[list[str], typer.Argument()],
                share: Annotated[float, typer.Option(min=0, max=1)] = 0.5) -> None: ...  # fmt: skip

    def odd(paths: Annotated[list[str], typer.Argument()],
            when: Annotated[dict | None, typer.Option()] = None) -> None: ...  # fmt: skip

    assert arguments_of(bounded, ["a"]) == {"paths": ["a"]}
    assert arguments_of(bounded, ["a", "--share", "2"]) is None
    assert arguments_of(odd, ["a"]) is None


def test_a_plain_scan_loads_no_reader_of_values(tmp_path):
    import subprocess
    import sys

    from safetensors.numpy import save_file
    from tests.scanner.perceptrons import benign

    path: Path = tmp_path / "m.safetensors"
    save_file(benign(), path)
    code = (
        "import sys; from undertow.cli import main\n"
        f"sys.argv = ['undertow', 'scan', '-q', {str(path)!r}]\n"
        "try: main()\nexcept SystemExit as ended: print(ended.code, 'pydantic' in sys.modules, "
        "'importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=commands.environment())
    assert done.stdout.strip() == "0 False False", done.stderr
