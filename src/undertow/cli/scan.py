"""undertow scan and undertow clean."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from undertow.cli import options as opt
from undertow.cli.screen import errors, progress
from undertow.types import ConfigError

if TYPE_CHECKING:
    from undertow.scanner import Verdict
    from undertow.storage.baseline import Baseline
    from undertow.workflows.scan import Scan

NOTHING = 3
EXIT: "dict[Verdict, int]" = {"safe": 0, "unsafe": 1, "unknown": 4}
FORMATS = ("text", "json", "sarif", "html", "cyclonedx")
How = Literal["reinit", "rescale", "clip", "prune", "noise", "average"]

Paths = Annotated[list[str], typer.Argument(help="Files, folders, or Hugging Face repository ids.")]
Parent = Annotated[str | None, typer.Option(help="A trusted checkpoint of the same kind, to compare with.")]
Prove = Annotated[bool, typer.Option("--prove", help="Finetune briefly on public records and see what is copied.")]
Public = Annotated[Path | None, typer.Option("--data", help="--prove: records nobody minds (.npz with x, or .jsonl).")]
Builder = Annotated[str | None, typer.Option("--factory", help="--prove: builds the model, package.module:function.")]
Format = Annotated[str, typer.Option("--format", help="text, json, sarif, html or cyclonedx.")]
File = Annotated[Path | None, typer.Option("--out", help="Write there instead of the screen.")]
Key = Annotated[Path | None, typer.Option(help="The folder must be signed (model.sig) by this key's owner.")]
Identity = Annotated[str | None, typer.Option(help="Or signed through Sigstore by this identity, of --issuer.")]
Issuer = Annotated[str | None, typer.Option(help="The OpenID issuer that vouches for --identity.")]
Ignore = Annotated[
    list[str] | None, typer.Option(help="Rules that do not count, comma-separated (docs/scan_rules.md).")
]
Rules = Annotated[Path | None, typer.Option("--rules", help="TOML file: ignore = [...], severities by code.")]
Known = Annotated[Path | None, typer.Option("--baseline", help="Findings of an earlier scan, which do not count.")]
Remember = Annotated[Path | None, typer.Option("--write-baseline", help="Write the findings of this scan there.")]
NoHash = Annotated[bool, typer.Option("--no-hash", help="Without the SHA-256 of the files: faster.")]
Allow = Annotated[list[str] | None, typer.Option(help="Kinds of findings about weights to accept, comma-separated.")]
Share = Annotated[float, typer.Option(min=0, max=1, help="Share of the parameters that safe asks to be examined.")]


def scan(
    paths: Paths, parent: Parent = None, prove: Prove = False, data: Public = None, factory: Builder = None,
    format: Format = "text", out: File = None, allow: Allow = None, public_key: Key = None,
    identity: Identity = None, issuer: Issuer = None, ignore: Ignore = None, rules: Rules = None,
    baseline: Known = None, write_baseline: Remember = None, no_hash: NoHash = False,
    coverage: Share = 0.95, seed: opt.Seed = None, quiet: opt.Quiet = False,
) -> None:  # fmt: skip
    """Is it safe to finetune from these files? Exit 0 safe, 1 unsafe, 2 error, 3 nothing scanned, 4 unknown."""
    from undertow.opening import Limits, Signer
    from undertow.opening.loaders.policy import policy
    from undertow.workflows.scan import ScanRequest, scan_paths

    with errors():
        if format not in FORMATS:
            raise ConfigError(f"--format {format}: there are {', '.join(FORMATS)}")
        if no_hash and (baseline or write_baseline):
            raise ConfigError("--no-hash: a baseline is about the hashes of files; leave one of them out")
        if (data or factory) and not prove:
            raise ConfigError("--data and --factory are for --prove")
        proving = _proving(data, factory, seed) if prove else None
        accepted = [name for part in allow or [] for name in opt.names(part)]
        asked = public_key or identity or issuer
        signer = Signer(public_key, identity or "", issuer or "") if asked else None
        with progress(quiet) as told:
            pictures = format == "html"
            counted = policy([name for part in ignore or [] for name in opt.names(part)], rules)
            request = ScanRequest(
                parent, proving, accepted, pictures=pictures, progress=told, signer=signer, policy=counted,
                baseline=_baseline(baseline, write_baseline, paths), remember=write_baseline is not None,
                limits=Limits(hashes=not no_hash), coverage=coverage,
            )  # fmt: skip
            found = scan_paths(paths, request)
        _write(found, format, out, quiet)
        _remember(found, write_baseline, quiet)
    raise typer.Exit(EXIT[found.result.verdict] if found.weights else NOTHING)


def clean(
    source: Annotated[Path, typer.Argument(help="File or folder with safetensors.")],
    out: Annotated[Path, typer.Option(help="A new .safetensors file (or folder, for a folder).")],
    parent: Parent = None,
    how: Annotated[How, typer.Option(help="What is done to what the scan names.")] = "reinit",
    data: Annotated[Path | None, typer.Option(help="Public records to fit norms on (.npz with x, or .jsonl).")] = None,
    seed: opt.Seed = None, quiet: opt.Quiet = False,
) -> None:  # fmt: skip
    """Neutralise what a scan finds, scan again, and write a new checkpoint. Exit code of the second scan."""
    from undertow.workflows.clean import clean_checkpoint, told

    with errors():
        report = clean_checkpoint(source, out, parent=parent, how=how, seed=seed or 0, data=data)
        if not quiet:
            typer.echo(told(report))
    raise typer.Exit(EXIT[report.after.verdict])


def _baseline(known: Path | None, new: Path | None, paths: list[str]) -> "Baseline | None":
    """The baseline to compare with; ConfigError or BadInput before anything is scanned."""
    if not (known or new):
        return None
    from undertow.storage.baseline import outside, read_baseline

    if known and new:
        raise ConfigError("--baseline and --write-baseline: give one; a new baseline holds all that the scan finds")
    for place in (known, new):
        if place:
            outside(place, paths)
    return read_baseline(known) if known else None


def _remember(found: "Scan", path: Path | None, quiet: bool) -> None:
    """Write the baseline of a scan; what cannot be in it is counted, on the error stream."""
    if path is None:
        return
    from undertow.storage.baseline import write_baseline

    write_baseline(path, found.entries, _environment()["undertow"])
    if not quiet:
        left = f"; {found.lasting} cannot be known and will count" if found.lasting else ""
        typer.echo(f"{path}: {len(found.entries)} findings are known from now on{left}", err=True)


def _proving(data: Path | None, factory: str | None, seed: int | None) -> Any:
    from undertow.workflows.audit import need_torch
    from undertow.workflows.prove import Proving

    need_torch()
    return Proving(data, factory, seed or 0)


def _write(found: "Scan", format: str, out: Path | None, quiet: bool) -> None:
    """The result to a file or the screen; of formats for machines, nothing else is printed."""
    text = _rendered(found, format, colour=out is None and _colour())
    if out is not None:
        from undertow.storage.files import write_atomic

        write_atomic(out, (text + "\n").encode())
        if not quiet:
            typer.echo(f"{found.result.verdict}: {out}")
    elif not (quiet and format == "text"):
        sys.stdout.write(text + "\n")


def _rendered(found: "Scan", format: str, colour: bool) -> str:
    if format == "text":
        from undertow.report.scan.text import NOTHING_SCANNED, summary

        return summary(found.result, colour, found.weights) if found.weights else NOTHING_SCANNED
    if format == "html":
        from undertow.report.scan.page import page

        return page(found.result, found.norms, _environment())
    if format == "cyclonedx":
        from undertow.report.scan.cyclonedx import to_cyclonedx

        return to_cyclonedx(found.result, _environment()["undertow"], _now())
    from undertow.report.scan.document import to_json, to_sarif

    return to_json(found.result) if format == "json" else to_sarif(found.result, _environment()["undertow"])


def _now() -> str:
    """This second, or that of SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/)."""
    from datetime import UTC, datetime

    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    when = datetime.fromtimestamp(int(said), UTC) if said.isdecimal() else datetime.now(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _environment() -> dict[str, str]:
    import platform

    import undertow

    return {"undertow": undertow.__version__, "python": platform.python_version()}


def _colour() -> bool:
    """On a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
