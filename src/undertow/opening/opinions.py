"""Second opinions on pickles: picklescan and fickling, where they are installed. They may warn, never acquit.

They run in a process of their own with limits, too: a file may be built against them.
"""

import json
import subprocess
import sys
from importlib.util import find_spec

from undertow.opening.opened import Clock
from undertow.opening.reading import Reading
from undertow.opening.source import Refused, Source

LARGEST = 64 << 20  # bytes of a file they are shown: both read it whole
SECONDS, MEMORY = 20, 2 << 30
ASK = {
    "picklescan": """
from picklescan.scanner import SafetyLevel, scan_bytes
found = scan_bytes(io.BytesIO(raw), "file")
said = ", ".join(sorted(f"{g.module}.{g.name}" for g in found.globals if g.safety == SafetyLevel.Dangerous)[:5])
""",
    "fickling": """
from fickling.analysis import Severity, check_safety
from fickling.fickle import Pickled
severity = Severity.LIKELY_SAFE if raw[:2] == b"PK" else check_safety(Pickled.load(io.BytesIO(raw))).severity
said = f"a pickle that is {severity.name}" if severity > Severity.SUSPICIOUS else ""
""",
}
BEGIN = """
import io, json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.path[:] = {path!r}
raw = sys.stdin.buffer.read()
"""


def second_opinions(reading: Reading, source: Source, notes: list[str], clock: Clock) -> None:
    """Add what other scanners of pickles say as warnings; what they choke on, or their absence, as a note."""
    if any(found.severity == "critical" for found in reading.findings):
        return  # they could add nothing to that
    for name in ASK:
        if find_spec(name) is None:
            note = f"second opinion of {name}: not installed (pip install 'undertow[scan]')"
            notes.extend([note] * (note not in notes))
        elif source.size > LARGEST:
            notes.append(f"second opinion of {name} on {reading.path.name}: longer than {LARGEST >> 20} MiB")
        elif (said := _ask(name, source, clock)) is None:
            notes.append(f"second opinion of {name} on {reading.path.name}: it failed")
        elif said:
            reading.say("second-opinion", "warning", f"{name} warns of {ascii(said)[1:-1][:200]}")


def _ask(name: str, source: Source, clock: Clock) -> str | None:
    """What one scanner warns of, "" for nothing; None where it failed."""
    code = BEGIN.format(memory=MEMORY, path=sys.path) + ASK[name] + "\nprint('\\n' + json.dumps(said))"
    try:
        seconds = min(SECONDS, clock.left(source))
        with clock.running():
            done = subprocess.run(
                [sys.executable, "-I", "-c", code],
                input=source.read(0, source.size),
                capture_output=True,
                timeout=seconds,
                check=True,
                env={"LC_ALL": "C.UTF-8"},
            )
        said = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError, Refused):
        return None
    return said if isinstance(said, str) else None
