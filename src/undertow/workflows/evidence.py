"""What `undertow evidence` does, below the screen: read runs, write a pack, sign it, verify it. Nothing here prints."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files as shipped
from pathlib import Path
from typing import Any

from undertow.config import override
from undertow.opening.signature import SIGNATURE, Signer, check_signature
from undertow.report.evidence.document import evidence
from undertow.report.evidence.facts import Context, Made
from undertow.report.evidence.page import markdown, page
from undertow.scanner.findings import Finding
from undertow.storage.files import read_json, read_toml, storage_errors, write_atomic
from undertow.storage.runs import read_runs
from undertow.storage.shape import problems
from undertow.types import BadInput, MissingExtra, StoreError

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = "undertow.manifest/1"
PACK = ("evidence.json", "evidence.html", "evidence.md", "evidence.pdf")
LARGEST = 3_000_000  # bytes of a whole pack
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_PDF = "no evidence.pdf: there is no Chromium on the PATH; print evidence.html from a browser instead"


@dataclass(frozen=True)
class Pack:
    """A pack that was written: its folder, the document, and what could not be made."""

    out: Path
    document: Mapping[str, Any]
    notes: tuple[str, ...]


def make_pack(
    runs: Sequence[str | Path], out: str | Path, *, said: Mapping[str, Any] | None = None,
    details: str | Path | None = None, model: str | Path | None = None, key: str | Path | None = None, pdf: bool = True,
) -> Pack:  # fmt: skip
    """Write the evidence pack of finished runs into `out`: JSON, HTML, Markdown, PDF, manifest, and a signature.

    `said`: fields of Context, over those of the TOML file `details`. `key`: a private key (PEM) to sign with.
    Raises BadInput, ConfigError or StoreError in one line; nothing is written where a run cannot be read.
    """
    out = Path(out)
    context = override(override(Context(), read_toml(details) if details else {}), said or {})
    found = read_runs(runs)
    files, parameters = _model(Path(model)) if model else ((), 0)
    document = evidence(found, context, Made(_now(), _tool(), files, parameters))
    wrong = check_document(document)
    if wrong:
        raise StoreError(f"the evidence of these runs does not fit its schema ({wrong[0]}): a run is damaged")
    _prepare(out)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomic(out / "evidence.json", text.encode())
    write_atomic(out / "evidence.html", page(document).encode())
    write_atomic(out / "evidence.md", markdown(document).encode())
    notes = () if not pdf else print_pdf(out / "evidence.html", out / "evidence.pdf")
    write_manifest(out)
    if key is not None:
        sign(out, Path(key))
    return Pack(out, document, notes)


def check_document(document: Any) -> list[str]:
    """What is wrong with an evidence document, by the schema that is shipped."""
    schema = json.loads((shipped("undertow.storage") / "evidence.schema.json").read_text(encoding="utf8"))
    return problems(document, schema)


def verify_pack(pack: str | Path, signer: Signer | None = None, runs: Sequence[str | Path] = ()) -> list[str]:
    """What is wrong with a pack, one line each; empty where every file is as it was written (and signed).

    With `runs`, their hashes must be those that the evidence names. Without a signer only the manifest is checked:
    whoever can change a file can change the manifest too. BadInput where there is no pack.
    """
    folder = Path(pack)
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"{folder} is no evidence pack: there is no {MANIFEST} in it")
    listed = read_json(folder / MANIFEST)
    if listed.get("schema") != MANIFEST_SCHEMA or not isinstance(listed.get("files"), dict):
        raise BadInput(f"{folder / MANIFEST} is no manifest of an evidence pack")
    wrong = _changed(folder, listed["files"])
    document = None
    try:
        document = read_json(folder / "evidence.json")
        wrong += [f"evidence.json does not fit its schema: {text}" for text in check_document(document)[:3]]
    except BadInput as error:
        wrong.append(str(error))
    if runs and document is not None:
        wrong += _other_runs(document, runs)
    if signer is not None:
        found: Finding = check_signature(folder, signer)
        wrong += [f"signature: {found.explanation}"] if found.severity == "critical" else []
    return wrong


def sign(folder: Path, key: Path) -> Path:
    """Sign every file of a folder (a pack or a run) by a private key; returns the signature, model.sig."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: only a folder is signed")
    if not key.is_file():
        raise BadInput(f"--sign {key}: no such key")
    try:
        from model_signing import hashing, signing  # no types: what they make is Any
    except ImportError:
        raise MissingExtra("model-signing", "signing") from None
    place = folder / SIGNATURE
    place.unlink(missing_ok=True)
    try:
        made: Any = signing.Config
        hashed: Any = hashing.Config
        config = made().use_elliptic_key_signer(private_key=key)
        config.set_hashing_config(hashed().set_ignored_paths(paths=[place], ignore_git_paths=True))
        config.sign(folder, place)
    except (ValueError, TypeError, OSError) as error:
        raise BadInput(f"--sign {key}: {' '.join(str(error).split())[:160]}") from None
    return place


def write_manifest(out: Path) -> None:
    """manifest.json: the size and SHA-256 of every file of the pack."""
    named = {name: _entry(out / name) for name in PACK if (out / name).is_file()}
    body = {"schema": MANIFEST_SCHEMA, "files": named}
    write_atomic(out / MANIFEST, (json.dumps(body, indent=1) + "\n").encode())


def print_pdf(html: Path, pdf: Path) -> tuple[str, ...]:
    """Print a page to PDF with a headless Chromium; what could not be done, in words."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return (NO_PDF,)
    with tempfile.TemporaryDirectory() as home:
        made = Path(home) / "made.pdf"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}/profile"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={made}", html.resolve().as_uri()]
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, timeout=120, check=False)
        if not made.is_file():
            return ("no evidence.pdf: Chromium did not print; print evidence.html from a browser instead",)
        write_atomic(pdf, made.read_bytes())
    return ()


def _prepare(out: Path) -> None:
    """`out` is new, empty, or an earlier pack, whose files go; StoreError otherwise."""
    with storage_errors(out):
        if out.exists() and not out.is_dir():
            raise StoreError(f"{out} is a file; --out names a folder")
        if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
            raise StoreError(f"{out} is not empty and holds no evidence pack; choose another --out")
        out.mkdir(parents=True, exist_ok=True)
        for name in (*PACK, MANIFEST, SIGNATURE):
            (out / name).unlink(missing_ok=True)


def _changed(folder: Path, listed: Mapping[str, Any]) -> list[str]:
    wrong = []
    for name, entry in listed.items():
        if not (folder / name).is_file():
            wrong.append(f"{name} is missing")
        elif _entry(folder / name) != entry:
            wrong.append(f"{name} was changed after the pack was written")
    wrong += [f"{name} is not listed in {MANIFEST}" for name in ("evidence.json",) if name not in listed]
    extra = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {
        *listed,
        MANIFEST,
        SIGNATURE,
    }
    return wrong + [f"{name} was added after the pack was written" for name in sorted(extra)]


def _other_runs(document: Mapping[str, Any], runs: Sequence[str | Path]) -> list[str]:
    named = {run["name"]: run["sha256"] for run in document.get("runs", ())}
    wrong = []
    for run in read_runs(runs):
        if run.name not in named:
            wrong.append(f"run {run.name} is not in this pack")
        elif dict(run.sha256) != named[run.name]:
            wrong.append(f"run {run.name} is not the one that the pack names: its hashes differ")
    return wrong


def _entry(file: Path) -> dict[str, Any]:
    raw = file.read_bytes()
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _model(path: Path) -> tuple[tuple[dict[str, Any], ...], int]:
    """The files of a model with their hashes, and the parameters counted in its safetensors."""
    if not path.exists():
        raise BadInput(f"--model {path}: no such file or folder")
    every = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    files = []
    for p in every:
        with p.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        files.append({"path": p.relative_to(root).as_posix(), "sha256": digest})
    return tuple(files), sum(_parameters(p) for p in every if p.suffix == ".safetensors")


def _parameters(file: Path) -> int:
    """Numbers in a safetensors file, from its header alone; 0 where that cannot be read."""
    from math import prod

    with file.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        if size > 100_000_000:
            return 0
        try:
            header = json.loads(handle.read(size))
            return sum(prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError):
            return 0


def _tool() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    return {"name": "undertow", "version": version("undertow"), "python": platform.python_version()}


def _now() -> str:
    """This second, or that of SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/)."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    when = datetime.fromtimestamp(int(said), UTC) if said.isdecimal() else datetime.now(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
