"""Who signed a folder: OpenSSF model signatures (model.sig), checked by the model-signing library.

A signature says who vouches for the files and that they are unchanged. It says nothing of what is in them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undertow.scanner.findings import Finding
from undertow.types import BadInput, ConfigError, MissingExtra

SIGNATURE = "model.sig"
KIND = "signature"
UNREACHABLE = ("TUFError", "RootError", "NetworkError")  # of sigstore: nothing was learnt


@dataclass(frozen=True)
class Signer:
    """Who must have signed: the owner of a public key, or an identity that an OpenID issuer vouches for (Sigstore).

    ConfigError unless it is one of the two; BadInput where the key is no file.
    """

    public_key: Path | None = None
    identity: str = ""
    issuer: str = ""

    def __post_init__(self) -> None:
        if (self.public_key is None) == (not self.identity):
            raise ConfigError(
                "a signer is either a public key or an identity with its issuer (--public-key, --identity)"
            )
        if bool(self.identity) != bool(self.issuer):
            raise ConfigError(
                "--identity and --issuer belong together, such as me@org.com and https://accounts.google.com"
            )
        if self.public_key is not None and not self.public_key.is_file():
            raise BadInput(f"--public-key {self.public_key}: no such file")

    def __str__(self) -> str:
        return f"the owner of {self.public_key}" if self.public_key else f"{self.identity} ({self.issuer})"


def check_signature(folder: str | Path, signer: Signer) -> Finding:
    """Whether `signer` signed every file of `folder` as it is now: a critical finding if not, else an informing one.

    BadInput where `folder` is none, MissingExtra without model-signing.
    """
    place = Path(folder) / SIGNATURE
    if not Path(folder).is_dir():
        raise BadInput(f"{folder}: a signature covers a folder; scan the folder that holds {SIGNATURE}")
    if not place.is_file() or place.is_symlink():
        return Finding(
            KIND, "critical", f"there is no {SIGNATURE}, and a signature of {signer} was asked for", str(folder)
        )
    said = _refusal(Path(folder), place, signer)
    if said:
        return Finding(KIND, "critical", f"it is not what {signer} signed: {said}", str(place))
    return Finding(KIND, "info", f"signed by {signer}, and no file has changed since", str(place))


def _refusal(folder: Path, place: Path, signer: Signer) -> str:
    """What the library has against the signature, in one line; empty if it holds.

    Tried with what the signature says of how files were hashed, and with the usual way, the signature itself left out:
    signers differ in whether they did. BadInput where Sigstore's trust root cannot be had.
    """
    try:
        from model_signing import hashing, verifying
    except ImportError:
        raise MissingExtra("model-signing", "signing") from None
    said = ""
    for usual in (False, True):
        config = _fresh(verifying.Config)
        if usual:
            config.set_hashing_config(_fresh(hashing.Config).set_ignored_paths(paths=[place], ignore_git_paths=True))
        try:
            if signer.public_key:
                config.use_elliptic_key_verifier(public_key=signer.public_key)
            else:
                config.use_sigstore_verifier(identity=signer.identity, oidc_issuer=signer.issuer)
            config.verify(folder, place)
            return ""
        except Exception as error:  # whatever the bytes make the library raise, they are not verified
            said = _told(error)
            if type(error).__name__ in UNREACHABLE:
                raise BadInput(f"{place} was not checked, for want of Sigstore's trust root ({said})") from None
    return said


def _told(error: Exception) -> str:
    """The first line of an error, without digests."""
    if isinstance(error, KeyError):
        return f"the file is no signature: it has no {error.args[0]}"
    text = " ".join(str(error).split()).split(": Expected")[0].removeprefix("Signature mismatch: ")
    return (text.replace("\\'", "'").lstrip("['\"").rstrip(']"') or type(error).__name__)[:200]


def _fresh(kind: Any) -> Any:
    """An object of a library without types."""
    return kind()
