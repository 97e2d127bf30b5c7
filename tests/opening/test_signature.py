"""OpenSSF signatures, made and checked by the real library."""

import pytest

import undertow
from undertow.opening import Signer, check_signature
from undertow.rng import stream
from undertow.types import BadInput, ConfigError

pytest.importorskip("model_signing", reason="needs undertow[signing]")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def key_pair(folder):
    """Paths of a new private key and its public key."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key", folder / "key.pub"
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    spki = form.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, spki))
    return private, public


@pytest.fixture
def signed(tmp_path):
    """A signed folder with weights, and the public key of its signer."""
    from model_signing.signing import Config
    from safetensors.numpy import save_file

    model = tmp_path / "model"
    model.mkdir()
    save_file({"w": stream(0, "w").normal(size=(64, 32)).astype("float32")}, model / "model.safetensors")
    (model / "config.json").write_text("{}")
    private, public = key_pair(tmp_path)
    Config().use_elliptic_key_signer(private_key=private).sign(model, model / "model.sig")
    return model, public


def test_what_the_named_signer_signed_is_safe_and_says_so(signed):
    folder, public = signed
    result = undertow.scan(folder, signer=Signer(public))
    assert result.verdict == "safe"
    assert [found.severity for found in result.findings if found.kind == "signature"] == ["info"]
    assert not [note for note in result.not_tested if note.startswith("signature")]


def test_a_changed_file_is_unsafe_and_named(signed):
    folder, public = signed
    (folder / "config.json").write_text("{ }")
    assert "config.json" in check_signature(folder, Signer(public)).explanation
    assert undertow.scan(folder, signer=Signer(public)).verdict == "unsafe"


def test_a_file_more_is_unsafe_and_named(signed):
    folder, public = signed
    (folder / "modeling.py").write_text("")
    found = check_signature(folder, Signer(public))
    assert found.severity == "critical"
    assert "modeling.py" in found.explanation


def test_another_signer_is_refused(signed, tmp_path):
    folder, _ = signed
    (tmp_path / "other").mkdir()
    assert check_signature(folder, Signer(key_pair(tmp_path / "other")[1])).severity == "critical"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\x00", b'{"dsseEnvelope": 3}'])
def test_what_is_no_signature_is_refused_in_one_line(signed, content):
    folder, public = signed
    (folder / "model.sig").write_bytes(content)
    found = check_signature(folder, Signer(public))
    assert found.severity == "critical"
    assert "\n" not in found.explanation


def test_no_signature_where_one_was_asked_for_is_unsafe(signed):
    folder, public = signed
    (folder / "model.sig").unlink()
    assert undertow.scan(folder, signer=Signer(public)).verdict == "unsafe"


def test_only_folders_are_signed(signed):
    folder, public = signed
    with pytest.raises(BadInput, match="a signature covers a folder"):
        undertow.scan(folder / "model.safetensors", signer=Signer(public))
    with pytest.raises(ConfigError, match="in memory"):
        undertow.scan({"w": stream(0, "w").normal(size=(8, 8))}, signer=Signer(public))


@pytest.mark.parametrize("fields", [{}, {"identity": "me@org.com"}, {"issuer": "https://x"}])
def test_a_signer_is_a_key_or_an_identity_with_its_issuer(fields):
    with pytest.raises(ConfigError):
        Signer(**fields)


def test_an_absent_key_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        Signer(tmp_path / "absent.pub")
