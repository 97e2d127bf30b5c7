"""No malicious file is executed, none is called safe."""

import subprocess
import sys
import time

import pytest
from tests.opening.assembler import GOOD, NUMBERS, torch_file
from tests.opening.malicious import CASES, LIVE, two_faced

from undertow.opening import Limits, open_checkpoint, verdict_of

LIMITS = Limits(opcodes=200_000, nodes=50_000, seconds=20)
UNSAFE = (  # these hold code that was seen, so they must not be called merely unknown
    *(name for name in LIVE if name != "memo-of-text"),
    *(name for name in CASES if name.startswith(("gadget-", "extension-", "renamed-", "bytes-that-wait", "legacy-"))),
    *("torch", "torch-any-root", "torch-deflated", "torch-extra-pickle", "torch-after-stop", "torch-storage-class"),
    *("torch-hooks", "npz-of-objects", "npy-of-objects", "zip-of-a-pickle", "safetensors-and-pickle", "after-stop"),
    *("several", "torch-traversal", "torch-absolute", "torch-evil-wrong-crc", "torch-encrypted", "torch-prefixed"),
    *("torch-encrypted-in-directory", "torch-other-method"),
)


def verdict(path):
    with open_checkpoint(path, LIMITS, opinions=False) as opened:
        (file,) = opened.files
        return verdict_of(file, opened.findings), opened


def test_the_corpus_is_large():
    assert len(CASES) >= 200
    assert len(LIVE) >= 60


@pytest.mark.parametrize("name", CASES)
def test_no_malicious_file_is_executed_or_called_safe(tmp_path, name):
    marker = tmp_path / "ran"
    file, make = CASES[name]
    place = tmp_path / file
    place.write_bytes(make(str(marker)))
    found, opened = verdict(place)
    assert not marker.exists()
    assert found == ("unsafe" if name in UNSAFE else found)
    assert found in ("unsafe", "unknown")
    assert opened.findings
    assert all("\n" not in finding.explanation and finding.explanation.isprintable() for finding in opened.findings)


LOADER = """
import pickle, sys
for name in sys.argv[1:]:
    try:
        pickle.loads(open(name, "rb").read())
    except BaseException:
        pass
"""


def test_the_payloads_are_live(tmp_path):
    """A plain loader, in a process of its own, runs them: were they duds, the test above would show nothing."""
    cases = {**LIVE, "safetensors-and-pickle": two_faced}
    for name, make in cases.items():
        (tmp_path / name).write_bytes(make(str(tmp_path / f"ran-{name}")))
    files = [str(tmp_path / name) for name in cases]
    subprocess.run([sys.executable, "-I", "-S", "-c", LOADER, *files], check=False, capture_output=True)
    deadline = time.monotonic() + 20  # Popen does not wait
    dud = set(cases)
    while dud - {"eval-of-python-2"} and time.monotonic() < deadline:
        dud = {name for name in cases if not (tmp_path / f"ran-{name}").exists()}
        time.sleep(0.05)
    assert dud <= {"eval-of-python-2"}  # protocol 2 maps its name to that of Python 3, newer ones do not


def test_the_good_twin_is_safe(tmp_path):
    """The same assembler makes a file that is read: what is refused above is refused for its payload."""
    (tmp_path / "m.pt").write_bytes(torch_file(GOOD, {"0": NUMBERS}))
    found, opened = verdict(tmp_path / "m.pt")
    assert (found, opened.findings, opened.files[0].kind) == ("safe", (), "torch-zip")
