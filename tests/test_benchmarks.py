"""The benchmarks are run by hand; what they import must exist all the same."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parents[1].glob("benchmarks/*.py"))


def test_there_are_benchmarks():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_benchmark_imports_exists(file):
    missing = []
    for node in ast.walk(ast.parse(file.read_text("utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("undertow"):
            module = import_module(node.module)
            missing += [f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name)]
    assert not missing
