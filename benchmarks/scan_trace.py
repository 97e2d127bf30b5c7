"""System calls of `undertow scan` on hostile files and folders: what was started, sent, or written.

    python benchmarks/scan_trace.py

Needs strace. The corpus is that of `scan_peers.py`: each item would, when loaded, make a file `ran`, or run, fetch or
import something. All items are scanned in one command. Allowed are the reader's own processes (this Python, isolated,
and those that ask picklescan and fickling, where installed), ending one of them, nameless scratch files, and the one
file by which Python tries the temporary folder. No other program, no connection, no file made, changed, renamed or
removed. Ends with 1 where anything else was seen.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
CALLS = ("execve,execveat,connect,bind,sendto,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,link,linkat,"
         "symlink,symlinkat,chmod,fchmodat,creat,open,openat,truncate,ptrace,kill,tgkill,mount")  # fmt: skip
LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
TRIED = re.compile(rf'"{re.escape(tempfile.gettempdir())}/[a-z0-9_]{{8}}"')  # tempfile writes and removes one such file
WRITES = re.compile(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)")


def traced(command: list[str], log: Path) -> Iterator[tuple[str, str]]:
    """(call, arguments) of every call that went through."""
    places = {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    strace = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run([*strace, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                   env={**os.environ, **places})  # fmt: skip
    for line in log.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if found and int(found[3]) >= 0:
            yield found[1], found[2]


def kind(call: str, arguments: str) -> str:
    """What a call was; "" for reading a file, "!" in front of what must not be."""
    if call in ("open", "openat") and (not WRITES.search(arguments) or '"/dev/null"' in arguments):
        return ""
    if "O_TMPFILE" in arguments:
        return "nameless scratch file"
    if call in ("openat", "unlink") and TRIED.search(arguments):
        return "trial of the temporary folder"
    if call == "kill" and arguments.endswith("SIGKILL"):
        return "reader ended at its limit of time"
    if call == "execve":
        program = re.match(r'"([^"]*)"', arguments)
        if program is not None and os.path.realpath(program[1]) == os.path.realpath(sys.executable):
            return ("isolated reader" if '"-I", "-S"' in arguments else "second opinion" if '"-I"' in arguments
                    else "the command itself")  # fmt: skip
    return f"!{call}({arguments[:160]})"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from scan_peers import benign, hostile, traps

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "corpus"
        folder.mkdir()
        items = [*hostile(folder), *traps(folder), *benign(folder)]
        command = [sys.executable, "-m", "undertow", "scan", "-q", *(str(item.path) for item in items)]
        subprocess.run([*command[:5], str(items[0].path)], check=False)  # so that Python's compiled modules are there
        seen = Counter(kind(*one) for one in traced(command, Path(place) / "log"))
        print(f"{len(items)} items, {sum(item.hostile for item in items)} hostile:")
        for what, count in sorted(seen.items()):
            print(f"{count:6} {what or 'files opened to be read'}")
        bad = sum(count for what, count in seen.items() if what.startswith("!")) + ("the command itself" not in seen)
        ran = (folder / "ran").exists()
        print(f"payloads that ran: {int(ran)}; calls that must not be: {bad}")
    sys.exit(ran or bad > 0)


if __name__ == "__main__":
    main()
