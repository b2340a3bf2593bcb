"""Certificates made on the spot: an authority, and what it signs for one address."""

from __future__ import annotations

import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY: Final = datetime.timedelta(days=1)


class Certificate:
    """A certificate and its key as PEM files; `serial` is how peers tell it from another."""

    def __init__(self, directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey):
        self.serial = certificate.serial_number
        self.certificate_path = directory / f"{name}.pem"
        self.key_path = directory / f"{name}.key"
        self.certificate_path.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.path = Certificate(directory, name, builder.sign(self._key, SHA256()), self._key).certificate_path

    def issue(self, name: str, host: str) -> Certificate:
        """A certificate for the address `host`, for servers and clients alike."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        builder = _builder(subject, self._name, key.public_key()).add_extension(alternative, critical=False)
        return Certificate(self._directory, name, builder.sign(self._key, SHA256()), key)

    def client_context(self, certificate: Certificate | None = None) -> ssl.SSLContext:
        """Trusts this authority and nobody else; shows `certificate` where asked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.path)
        if certificate is not None:
            context.load_cert_chain(certificate.certificate_path, certificate.key_path)
        return context

    def server_context(self, certificate: Certificate) -> ssl.SSLContext:
        """Shows `certificate`; whoever connects must show one of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate_path, certificate.key_path)
        context.load_verify_locations(self.path)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def serial_of(der: bytes) -> int:
    """The serial number of a certificate as TLS carries it."""
    return x509.load_der_x509_certificate(der).serial_number


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _DAY).not_valid_after(now + _DAY)
