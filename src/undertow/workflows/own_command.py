"""A training that is a command, in any language: 'python train.py --rows {rows} --out {out} --seed {seed}'.

{rows} becomes a text file with one row number per line, counted from 0, ascending: the records to train on. {out} is
where the command writes its answers for all records, in their order: as a .npy, .npz or .csv, by this name with or
without that ending. {seed} is a whole number below 2**31. The command is run without a shell, in this folder.
"""

import csv
import hashlib
import io
import re
import shlex
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from undertow.audits.own.answers import Kind, checked
from undertow.audits.own.identity import Identity
from undertow.audits.own.pool import Pool
from undertow.audits.own.training import Training
from undertow.engine.key import digest
from undertow.types import Array, BadInput, ConfigError

PLACES = ("rows", "out", "seed")
NEEDED = ("rows", "out")
ENDINGS = ("", ".npy", ".npz", ".csv")
TAIL = 20  # lines of the command's own words that are kept with an error


class CommandFailed(RuntimeError):
    """The command ended with another exit code than 0; the last lines that it wrote are a note."""


@dataclass(frozen=True, eq=False)
class Command:
    """One training by a command: writes the rows, runs it, reads the answers."""

    template: str
    pool: Pool
    answers: Kind = "auto"

    def __post_init__(self) -> None:
        words(self.template)

    def __call__(self, training: Training) -> Array:
        with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
            rows, out = Path(scratch) / "rows.txt", Path(scratch) / "answers"
            own = self.pool.rows
            numbers = training.rows if own is None else own[np.asarray(training.rows)]
            rows.write_text("".join(f"{row}\n" for row in numbers))
            given = {"{rows}": str(rows), "{out}": str(out), "{seed}": str(training.seed)}
            _run([_filled(word, given) for word in words(self.template)])
            answers = _read(out)
            if own is not None and len(answers) == self.pool.given:
                answers = answers[own]
            elif own is not None:
                raise BadInput(
                    f"the command answered {len(answers)} records; the file has {self.pool.given}, of which copies are "
                    "left out of the trainings: answer all of them, in their order"
                )
            return checked(answers, self.pool, self.answers)


def words(template: str) -> list[str]:
    """The words of the command; ConfigError where it is empty, or its places are not those that there are."""
    try:
        found = shlex.split(template)
    except ValueError as error:
        raise ConfigError(f"--train-cmd {template!r}: {error}") from error
    if not found:
        raise ConfigError("--train-cmd is empty; write 'python train.py --rows {rows} --out {out} --seed {seed}'")
    there = re.findall(r"\{(\w+)\}", template)
    for name in there:
        if name not in PLACES:
            near = get_close_matches(name, PLACES, 1)
            hint = f"did you mean {{{near[0]}}}?" if near else "there are {rows}, {out} and {seed}"
            raise ConfigError(f"--train-cmd: no place {{{name}}}; {hint}")
    for name in NEEDED:
        if name not in there:
            raise ConfigError(f"--train-cmd: {{{name}}} is missing; write 'COMMAND --rows {{rows}} --out {{out}}'")
    return found


def identity_of(template: str, name: str | None) -> Identity:
    """A command is known by its text and the files it names; what those read and import is not seen."""
    files = {word: Path(word) for word in words(template) if Path(word).is_file()}
    parts = {word: hashlib.sha256(path.read_bytes()).hexdigest() for word, path in files.items()}
    own = [word for word in files if word != words(template)[0]] or list(files)
    unread = () if name else (f"what {', '.join(own) or 'the command'} reads and imports",)
    return Identity(digest([template, parts, name or ""]), parts, unread)


def _filled(word: str, given: dict[str, str]) -> str:
    for place, value in given.items():
        word = word.replace(place, value)
    return word


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError as error:
        raise ConfigError(f"--train-cmd: there is no command {command[0]!r}") from error
    except OSError as error:
        raise ConfigError(f"--train-cmd: {command[0]!r} cannot be run: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        failed = CommandFailed(f"exit code {done.returncode}{': ' + lines[-1].strip() if lines else ''}")
        failed.add_note("\n".join(lines[-TAIL:]))
        raise failed


def _read(out: Path) -> Array:
    """The answers a command wrote; the content decides the format, never a pickle."""
    there = [path for ending in ENDINGS if (path := out.with_name(out.name + ending)).is_file()]
    if not there:
        raise BadInput("the command wrote no answers; it must write {out} (or {out}.npy, .npz, .csv)")
    if len(there) > 1:
        raise BadInput(f"the command wrote {', '.join(f'{{out}}{path.suffix}' for path in there)}; one file is wanted")
    raw = there[0].read_bytes()
    try:
        if raw.startswith(b"\x93NUMPY"):
            return np.asarray(np.load(io.BytesIO(raw), allow_pickle=False))
        if raw.startswith(b"PK"):
            with np.load(io.BytesIO(raw), allow_pickle=False) as file:
                if len(file.files) != 1:
                    raise BadInput(f"the command's npz holds {', '.join(file.files) or 'nothing'}; one array is wanted")
                return np.asarray(file[file.files[0]])
        return _csv(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadInput("the command's answers are neither npy, npz nor csv") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"the command's answers cannot be read without unpickling: {error}") from error


def _csv(text: str) -> Array:
    lines = text.splitlines()
    mark = max(",;\t ", key=(lines or [""])[0].count)
    table = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if any(map(str.strip, row))]
    if table and not _all_numbers(table[0]):
        index = table[0][0].strip() == ""  # pandas writes the row numbers first, without a name
        table = [row[index:] for row in table[1:]]
    if not table or len({len(row) for row in table}) != 1:
        raise BadInput("the command's csv has no rows, or rows of different length; one row of numbers per record")
    odd = next((i for i, row in enumerate(table) if not _all_numbers(row)), None)
    if odd is not None:
        raise BadInput(f"the command's csv: row {odd} holds {', '.join(table[odd][:4])}, which are no numbers")
    found = np.array([[float(cell) for cell in row] for row in table])
    return found[:, 0] if found.shape[1] == 1 else found


def _all_numbers(row: Sequence[str]) -> bool:
    try:
        for cell in row:
            float(cell)
    except ValueError:
        return False
    return True
