import hashlib
import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from engines.strict_yaml import ConfigError
from realtime import tls


def refusal(cert: Path, key: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        tls.server_context(cert, key)
    message = str(caught.value)
    assert "\n" not in message
    return message


def shake_hands(cert: Path, key: Path, name: str) -> str:
    """The TLS version that a client that trusts only `cert` agrees on, asking for `name`."""
    server, client = socket.socketpair()
    served: list[str | None] = []

    def serve() -> None:
        try:
            with tls.server_context(cert, key).wrap_socket(server, server_side=True) as wrapped:
                served.append(wrapped.version())
        except OSError:
            server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ssl.create_default_context(cafile=str(cert)).wrap_socket(
            client, server_hostname=name
        ) as wrapped:
            version = wrapped.version()
    finally:
        client.close()
        thread.join()
    assert version == served[0]
    return version or ""


def test_a_client_that_trusts_the_certificate_can_connect_by_every_name(tmp_path: Path) -> None:
    cert, key = tls.self_signed(tmp_path, ["192.168.7.7", "My-Computer.lan."])
    for name in ("localhost", "127.0.0.1", "::1", "192.168.7.7", "my-computer.lan"):
        assert shake_hands(cert, key, name) == "TLSv1.3"
    assert shake_hands(cert, key, tls.local_names()[-1]) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(cert, key, "elsewhere.example")


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    cert, key = tls.self_signed(tmp_path, [])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in cert.parent.iterdir()) == ["certificate.pem", "key.pem"]


def test_the_certificate_is_reused_while_it_serves(tmp_path: Path) -> None:
    first = tls.fingerprint(tls.self_signed(tmp_path, ["a.example"])[0])
    assert tls.fingerprint(tls.self_signed(tmp_path, ["a.example"])[0]) == first
    assert tls.fingerprint(tls.self_signed(tmp_path, ["0.0.0.0", "::", ""])[0]) == first


def test_a_new_name_brings_a_new_certificate_that_keeps_the_old_names(tmp_path: Path) -> None:
    first = tls.fingerprint(tls.self_signed(tmp_path, ["10.0.0.1"])[0])
    cert, key = tls.self_signed(tmp_path, ["10.0.0.2"])
    second = tls.fingerprint(cert)
    assert second != first
    assert tls.fingerprint(tls.self_signed(tmp_path, ["10.0.0.1"])[0]) == second
    assert shake_hands(cert, key, "10.0.0.1")
    assert shake_hands(cert, key, "10.0.0.2")


def test_the_names_of_a_certificate_are_bounded(tmp_path: Path) -> None:
    tls.self_signed(tmp_path, [f"10.1.0.{n}" for n in range(50)])
    cert, key = tls.self_signed(tmp_path, [f"10.2.0.{n}" for n in range(50)])
    assert shake_hands(cert, key, "10.2.0.49")
    certificate = x509.load_pem_x509_certificate(cert.read_bytes())
    assert len(tls._names_of(certificate)) == tls.MAX_NAMES


def test_a_certificate_that_ends_soon_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tls, "VALIDITY", timedelta(days=29))
        first = tls.fingerprint(tls.self_signed(tmp_path, [])[0])
    cert, _ = tls.self_signed(tmp_path, [])
    assert tls.fingerprint(cert) != first
    ends = x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc
    assert ends > datetime.now(UTC) + timedelta(days=300)


@pytest.mark.parametrize("damaged", ["certificate.pem", "key.pem"])
@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_damaged_files_are_replaced(tmp_path: Path, damaged: str, content: bytes | None) -> None:
    cert, key = tls.self_signed(tmp_path, [])
    path = cert.with_name(damaged)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert tls.self_signed(tmp_path, []) == (cert, key)
    assert shake_hands(cert, key, "localhost")


def test_a_key_of_another_certificate_is_replaced(tmp_path: Path) -> None:
    cert, key = tls.self_signed(tmp_path / "a", [])
    _, other = tls.self_signed(tmp_path / "b", [])
    key.write_bytes(other.read_bytes())
    assert refusal(cert, key) == f"{key}: is not the key of {cert}"
    tls.self_signed(tmp_path / "a", [])
    assert shake_hands(cert, key, "localhost")


def test_a_data_directory_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file in the way")
    with pytest.raises(ConfigError, match=r"tls: cannot be written: "):
        tls.self_signed(tmp_path, [])


def test_wrong_files_are_named(tmp_path: Path) -> None:
    cert, key = tls.self_signed(tmp_path, [])
    none, rubbish = tmp_path / "none.pem", tmp_path / "rubbish.pem"
    rubbish.write_bytes(b"\xffrubbish")
    assert refusal(none, key) == f"{none}: cannot be read: no such file or directory"
    assert refusal(cert, none) == f"{none}: cannot be read: no such file or directory"
    assert refusal(tmp_path, key) == f"{tmp_path}: cannot be read: is a directory"
    assert refusal(rubbish, key) == f"{rubbish}: is not a certificate in PEM format"
    assert refusal(key, key) == f"{key}: is not a certificate in PEM format"
    assert refusal(cert, rubbish) == f"{rubbish}: is not a private key in PEM format"
    assert refusal(cert, cert) == f"{cert}: is not a private key in PEM format"
    with pytest.raises(ConfigError, match="is not a certificate in PEM format"):
        tls.fingerprint(rubbish)


def test_an_encrypted_key_does_not_ask_for_a_password(tmp_path: Path) -> None:
    cert, _ = tls.self_signed(tmp_path, [])
    key = tmp_path / "locked.pem"
    key.write_bytes(
        rsa.generate_private_key(65537, 1024).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert refusal(cert, key).startswith(f"{key}: is encrypted; decrypt it with: openssl pkey -in")


def test_a_fingerprint_reads_as_browsers_show_it(tmp_path: Path) -> None:
    cert, _ = tls.self_signed(tmp_path, [])
    parts = tls.fingerprint(cert).split(":")
    assert len(parts) == 32
    assert all(len(part) == 2 and part == part.upper() for part in parts)
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    assert bytes.fromhex("".join(parts)) == hashlib.sha256(der).digest()
