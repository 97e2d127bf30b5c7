"""Run the command line as a user would, in a process of its own."""

import os
import subprocess
import sys

QUICK = """
shadows = 8
victims = 4
challenge = 40
views = 2
attacks = ["tmi-lda", "confidence"]
[data]
pool = 100
other = 300
draw = 100
[pretrain]
epochs = 10
[finetune]
epochs = 5
"""


def command(*arguments):
    return [sys.executable, "-m", "undertow", *map(str, arguments)]


def environment():
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    return {**os.environ, **one_thread}


def undertow(*arguments, cwd=None, env=None):
    """(exit code, stdout, stderr) of one command."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env={**environment(), **(env or {})}, timeout=600
    )
    return done.returncode, done.stdout, done.stderr
