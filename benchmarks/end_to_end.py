"""The `end-to-end` table: what the embedded audits cost as commands, start-up, page and all.

    python -m benchmarks run end-to-end [--json OUT] [--rounds 3] [--jobs mia tmi ...]

One thread; the median over interleaved runs, each with a store of its own.
"""

from command_cost import report

AUDITS = ("mia", "tmi", "poisoning", "datatrap", "dp")
JOBS = {name: lambda _, name=name: ("audit", name, "--seed", "0", "--quiet", "--out", "run") for name in AUDITS}

if __name__ == "__main__":
    report(__doc__, JOBS)
