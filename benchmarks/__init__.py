"""Measurements behind the tables of the docs: `python -m benchmarks list`."""
