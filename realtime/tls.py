"""TLS for the server: certificates from files, or one that the server signs itself."""

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from engines.strict_yaml import ConfigError

VALIDITY = timedelta(days=365)
RENEWAL = timedelta(days=30)
"""A certificate that ends sooner than this is replaced."""
MAX_NAMES = 64
"""Names in one certificate; beyond it, those of networks left long ago are dropped."""


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """A context that serves with the PEM certificate chain `cert` and its private `key`.

    Raises `ConfigError` saying which file is wrong. Blocks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _check_certificate(cert)
    _check_key(key)
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(str(key), None, f"is not the key of {cert}") from None
        raise ConfigError(str(cert), None, f"cannot be used for TLS ({reason})") from None
    return context


def self_signed(data_dir: Path, hosts: Sequence[str]) -> tuple[Path, Path]:
    """Paths of a certificate that this machine signed itself, and of its key (mode 0600).

    It names `hosts`, localhost, and this machine's name and addresses. It is reused while it is
    valid and names them all; a new one keeps the old names, so that a laptop that moves between
    two networks is not asked to be trusted again on each return. Raises `ConfigError`. Blocks.
    """
    directory = data_dir / "tls"
    cert, key = directory / "certificate.pem", directory / "key.pem"
    wanted = _unique([*hosts, *local_names()])
    now = datetime.now(UTC)
    try:
        current = _usable(cert, key, now)
        named = _names_of(current) if current else []
        if current is not None and set(wanted) <= set(named):
            return cert, key
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        certificate, private = _signed(_unique([*wanted, *named])[:MAX_NAMES], now)
        _write(key, private)
        _write(cert, certificate)
    except OSError as error:
        raise ConfigError(str(directory), None, f"cannot be written: {error.strerror}") from None
    return cert, key


def fingerprint(cert: Path) -> str:
    """The certificate's SHA-256, as browsers show it: `AB:CD:…`. Raises `ConfigError`; blocks."""
    return _check_certificate(cert).fingerprint(hashes.SHA256()).hex(":").upper()


def local_names() -> list[str]:
    """Names and addresses by which this machine and its network know it."""
    host = socket.gethostname()
    names = ["localhost", "127.0.0.1", "::1", host]
    if "." not in host:
        names.append(f"{host}.local")
    # Connecting a datagram socket sends nothing; it only picks the address packets would leave by.
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                names.append(probe.getsockname()[0])
        except OSError:
            continue
    return _unique(names)


def _unique(names: Iterable[str]) -> list[str]:
    """Valid names for a certificate, each once; no wildcards addresses such as 0.0.0.0."""
    kept: dict[str, None] = {}
    for name in names:
        bare = name.strip("[]").lower().rstrip(".")
        try:
            address = ipaddress.ip_address(bare.partition("%")[0])
        except ValueError:
            if bare and bare.isascii() and len(bare) <= 253:
                kept[bare] = None
        else:
            if not address.is_unspecified:
                kept[str(address)] = None
    return list(kept)


def _names_of(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return [*extension.value.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _usable(cert: Path, key: Path, now: datetime) -> x509.Certificate | None:
    """The certificate in `cert`, unless it ends soon or is not that of `key`."""
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    ends_soon = certificate.not_valid_after_utc - RENEWAL < now
    if ends_soon or certificate.not_valid_before_utc > now:
        return None
    return certificate if private.public_key() == certificate.public_key() else None


def _signed(names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    """A new certificate for `names` and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Antiphon on this machine")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of phones and computers differ.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes) -> None:
    """Replace `path` at once with a file that only its owner can read."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
    temporary.replace(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(str(path), None, f"cannot be read: {reason}") from None


def _check_certificate(cert: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(_read(cert))[0]
    except ValueError:
        raise ConfigError(str(cert), None, "is not a certificate in PEM format") from None


def _check_key(key: Path) -> None:
    try:
        serialization.load_pem_private_key(_read(key), None)
    except TypeError:
        raise ConfigError(
            str(key), None, f"is encrypted; decrypt it with: openssl pkey -in {key} -out plain.pem"
        ) from None
    except ValueError:
        raise ConfigError(str(key), None, "is not a private key in PEM format") from None
