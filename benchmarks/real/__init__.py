"""The parts of benchmarks/real_signals.py."""
