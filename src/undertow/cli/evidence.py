"""undertow evidence: make a pack of finished runs, sign it, verify it."""

from pathlib import Path
from typing import Annotated

import typer

from undertow.cli import options as opt
from undertow.cli.screen import OVER, errors

VERIFY, SIGN = "verify", "sign"


def evidence(
    runs: Annotated[list[Path], typer.Argument(help="RUN... to pack; or: verify PACK [RUN...]; or: sign FOLDER.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the pack.")] = None,
    subject: Annotated[str | None, typer.Option(help="Name and version of the model that is released.")] = None,
    by: Annotated[str | None, typer.Option(help="Who ran the audits, or answers for them.")] = None,
    context: Annotated[str | None, typer.Option(help="Release context: to whom, with which access.")] = None,
    attacker: Annotated[str | None, typer.Option(help="The adversary that is realistic for this release.")] = None,
    details: Annotated[Path | None, typer.Option(help="TOML file with these and more: docs/evidence_pack.md.")] = None,
    model: Annotated[Path | None, typer.Option(help="The released model: hashed, its parameters counted.")] = None,
    key: Annotated[Path | None, typer.Option("--sign", help="Private key (PEM) to sign with.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="verify: the signer's public key.")] = None,
    identity: Annotated[str | None, typer.Option(help="verify: or the signer's Sigstore identity.")] = None,
    issuer: Annotated[str | None, typer.Option(help="verify: the OpenID issuer of --identity.")] = None,
    pdf: Annotated[bool, typer.Option(help="Print a PDF, where there is a Chromium.")] = True, quiet: opt.Quiet = False,
) -> None:  # fmt: skip
    """File finished runs as evidence, each attack class measured or not run. verify: exit 1 where a pack changed."""
    from undertow.types import ConfigError

    said = {"subject": subject, "by": by, "context": context, "attacker": attacker}
    first, rest = str(runs[0]), runs[1:]
    with errors():
        if first in (VERIFY, SIGN) and not rest:
            raise ConfigError(f"undertow evidence {first} needs a folder")
        if first == VERIFY:
            _verify(rest[0], rest[1:], public_key, identity, issuer, quiet)
        elif first == SIGN:
            from undertow.workflows.evidence import sign

            if key is None:
                raise ConfigError("undertow evidence sign FOLDER needs --sign KEY, a private key")
            typer.echo(f"signature: {sign(rest[0], key)}")
        else:
            from undertow.workflows.evidence import make_pack

            if out is None:
                raise ConfigError("--out is missing: name a folder for the pack")
            given = {name: text for name, text in said.items() if text is not None}
            made = make_pack(runs, out, said=given, details=details, model=model, key=key, pdf=pdf)
            if not quiet:
                for one in made.document["classes"]:
                    typer.echo(f"{one['name']:<30}{one['status'].replace('_', ' ')}")
                for note in made.notes:
                    typer.echo(note)
                typer.echo(f"pack: {made.out}")


def _verify(
    pack: Path, runs: list[Path], public_key: Path | None, identity: str | None, issuer: str | None, quiet: bool
) -> None:
    from undertow.opening import Signer
    from undertow.workflows.evidence import verify_pack

    signer = Signer(public_key, identity or "", issuer or "") if public_key or identity or issuer else None
    wrong = verify_pack(pack, signer, runs)
    for text in wrong:
        typer.echo(text, err=True)
    if wrong:
        raise typer.Exit(OVER)
    if not quiet:
        typer.echo("unchanged since it was written" + (", and signed by " + str(signer) if signer else "; not signed"))
