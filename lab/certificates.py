"""A certificate authority of the lab's own, and server certificates signed by it.

The product verifies them with the authority's file, exactly as it does with a company's own authority.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Long enough for any rehearsal, short enough that a forgotten lab authority is worth nothing.
_VALID_FOR = timedelta(days=7)
# Clocks of virtual machines jump back a little after a resume.
_VALID_SINCE = timedelta(hours=1)


@dataclass(frozen=True)
class ServerCertificate:
    """A server's certificate and key in one PEM file (the layout HAProxy's `crt` wants)."""

    pem: Path
    certificate: x509.Certificate

    def server_context(self) -> ssl.SSLContext:
        """A TLS context for a server that presents this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem)
        return context

    def endpoint_binding(self) -> bytes:
        """Channel binding data of type tls-server-end-point (RFC 5929, section 4.1)."""
        return b"tls-server-end-point:" + self.certificate.fingerprint(hashes.SHA256())


class CertificateAuthority:
    """Signs server certificates. Its key lives in memory only; `ca_file` is what clients verify with."""

    def __init__(self, directory: Path, name: str = "Simulated lab authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._self_signed()
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, address: str, *, name: str | None = None) -> ServerCertificate:
        """Issue a certificate for an IP address, and a DNS name if given, into `<directory>/<address>.pem`.

        Raises:
            ValueError: `address` is no IP address.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign_server(key.public_key(), address, name)
        pem = self._directory / f"{address}.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return ServerCertificate(pem=pem, certificate=certificate)

    def _self_signed(self) -> x509.Certificate:
        key_usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _sign_server(self, key: ec.EllipticCurvePublicKey, address: str, name: str | None) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or address)])
        names: list[x509.GeneralName] = [x509.IPAddress(ip_address(address))]
        if name is not None:
            names.append(x509.DNSName(name))
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            self._builder(subject, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _VALID_SINCE)
            .not_valid_after(now + _VALID_FOR)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
