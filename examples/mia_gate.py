"""A gate for continuous integration: fail the build when finetuning leaks more membership than agreed.

    python examples/mia_gate.py

The same as `undertow audit mia --shadows 16 --fail-if 'auc>0.95'`, run as a build would run it, into a folder that
a second run resumes. Exit code 0: within; 1: over; 2: something could not be decided.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as scratch:
    command = [sys.executable, "-m", "undertow", "audit", "mia", "--shadows", "16", "--out", Path(scratch) / "run"]
    code = subprocess.run([*command, "--fail-if", "auc>0.95"], check=False).returncode
    print(f"exit code {code}: the gate auc>0.95 {'holds' if code == 0 else 'does not hold'}")
    sys.exit(code)
