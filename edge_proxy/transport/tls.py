"""TLS contexts of one listener, made again from their files whenever those change, without dropping a connection.

The context that the server socket holds never changes; each handshake is switched to the newest one as it begins. A
connection keeps the context that it began with, so a new certificate costs nobody a call.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, NamedTuple

from edge_proxy.errors import ConfigError


class TlsFiles(NamedTuple):
    """What a listener's TLS is made of; `ca` is also what targets are checked against when we connect."""

    certificate: Path
    key: Path
    ca: Path | None
    client_certificate: Literal["none", "optional", "required"]


class TlsIdentity:
    """The server and client contexts of one listener."""

    def __init__(self, files: TlsFiles) -> None:
        """Load at once. Raises ConfigError naming the file that cannot be used."""
        self._files = files
        self._stamp: tuple[int, ...] = ()
        self._current = self._load_server()
        self._stamp = self._stamps()
        self.server_context = self._load_server()
        self.server_context.sni_callback = self._switch
        self.client_context = self._load_client()

    def refresh(self) -> bool:
        """Load the files again when they have changed; True when they had. Raises ConfigError and keeps the old."""
        stamp = self._stamps()
        if stamp == self._stamp:
            return False
        self._current = self._load_server()
        client = self._load_client()
        # Connections of ours read this attribute of the port when they begin; see StreamPort.
        self.client_context = client
        self._stamp = stamp
        return True

    def _switch(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _base: ssl.SSLContext) -> None:
        connection.context = self._current

    def _stamps(self) -> tuple[int, ...]:
        paths = (self._files.certificate, self._files.key, self._files.ca)
        try:
            return tuple(path.stat().st_mtime_ns for path in paths if path is not None)
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error

    def _load_server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load_files(context)
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
        self._load_files(context)
        if self._files.ca is None:
            context.load_default_certs()
        return context

    def _load_files(self, context: ssl.SSLContext) -> None:
        files = self._files
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(files.certificate, files.key)
        except (OSError, ssl.SSLError) as error:
            text = f"cannot use certificate {files.certificate} with key {files.key}: {_why(error)}"
            raise ConfigError(f"{text}; name a PEM chain and the key that belongs to it") from error
        if files.ca is not None:
            try:
                context.load_verify_locations(files.ca)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"cannot use {files.ca}: {_why(error)}; name a PEM file of authorities") from error


def _why(error: OSError) -> str:
    return error.strerror or str(error)
