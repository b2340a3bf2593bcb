"""TLS contexts of one listener, made again from their files whenever those change, without dropping a connection.

The context that the server socket holds never changes; each handshake is switched to the newest one as it begins, by
the name that the client asked for (RFC 6066 §3). A connection keeps the context that it began with, so a new
certificate costs nobody a call. What decides whether a client may connect is the same under every name.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, NamedTuple

from edge_proxy.errors import ConfigError


class NamedCertificate(NamedTuple):
    """What clients see that ask for `name`, a host name in lower case."""

    name: str
    certificate: Path
    key: Path


class TlsFiles(NamedTuple):
    """What a listener's TLS is made of; `ca` is also what targets are checked against when we connect."""

    certificate: Path
    key: Path
    ca: Path | None
    client_certificate: Literal["none", "optional", "required"]
    by_name: tuple[NamedCertificate, ...] = ()
    """Certificates for some names; `certificate` is for all others, and what we show where we connect."""


class TlsIdentity:
    """The server and client contexts of one listener."""

    def __init__(self, files: TlsFiles) -> None:
        """Load at once. Raises ConfigError naming the file that cannot be used."""
        self._files = files
        self._stamp = self._stamps()  # before loading: what changes meanwhile is loaded again
        self._current = self._load_server(files.certificate, files.key)
        self._by_name = self._load_names()
        self.server_context = self._load_server(files.certificate, files.key)
        self.server_context.sni_callback = self._switch
        self.client_context = self._load_client()

    def refresh(self) -> bool:
        """Load the files again when they have changed; True when they had. Raises ConfigError and keeps the old."""
        stamp = self._stamps()
        if stamp == self._stamp:
            return False
        current = self._load_server(self._files.certificate, self._files.key)
        by_name = self._load_names()
        client = self._load_client()
        self._current, self._by_name = current, by_name
        # Connections of ours read this attribute of the port when they begin; see StreamPort.
        self.client_context = client
        self._stamp = stamp
        return True

    def _switch(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _base: ssl.SSLContext) -> None:
        named = None if name is None else self._by_name.get(name.lower())
        connection.context = named or self._current

    def _stamps(self) -> tuple[int, ...]:
        files = self._files
        paths = [files.certificate, files.key, files.ca]
        for named in files.by_name:
            paths += (named.certificate, named.key)
        stamps: list[int] = []
        try:
            for path in paths:
                if path is not None:
                    # Files that were made at one time and take each other's place differ in inode only.
                    status = path.stat()
                    stamps += (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError as error:
            text = f"cannot read {error.filename}: {error.strerror}; name a PEM file that this process may read"
            raise ConfigError(text) from error
        return tuple(stamps)

    def _load_names(self) -> dict[str, ssl.SSLContext]:
        return {named.name: self._load_server(named.certificate, named.key) for named in self._files.by_name}

    def _load_server(self, certificate: Path, key: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load_files(context, certificate, key)
        match self._files.client_certificate:
            case "required":
                context.verify_mode = ssl.CERT_REQUIRED
            case "optional":
                context.verify_mode = ssl.CERT_OPTIONAL
            case "none":
                context.verify_mode = ssl.CERT_NONE
        return context

    def _load_client(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._load_files(context, self._files.certificate, self._files.key)
        if self._files.ca is None:
            context.load_default_certs()
        return context

    def _load_files(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Asked for a passphrase, OpenSSL would wait at a terminal; nobody is there.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError) as error:
            text = f"cannot use certificate {certificate} with key {key}: {_why(error)}"
            raise ConfigError(
                f"{text}; name a PEM chain and the key that belongs to it, without a passphrase"
            ) from error
        ca = self._files.ca
        if ca is not None:
            try:
                context.load_verify_locations(ca)
            except (OSError, ValueError) as error:
                raise ConfigError(f"cannot use {ca}: {_why(error)}; name a PEM file of authorities") from error


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
