"""What a start can fail of, told at the line of the setting: an address, a certificate, the data directory.

A `check`, a worker and the supervisor of several ask here, so that each says the same. Binds nothing.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from edge_proxy.addr import Side
from edge_proxy.config import ConfigErrors, ListenerSettings, Settings, settings_error
from edge_proxy.errors import ConfigError
from edge_proxy.transport.tls import NamedCertificate, TlsFiles, TlsIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_proxy.addr import Address

_ADVICE: Final = {
    errno.EADDRINUSE: "stop what uses it, or write another",
    errno.EADDRNOTAVAIL: "write an address of this machine",
    errno.EACCES: "write a port from 1024 on, or give the process CAP_NET_BIND_SERVICE",
}


def sides_of(settings: Settings) -> Iterator[tuple[Side, ListenerSettings]]:
    """Both listeners, customers' first."""
    yield Side.CUSTOMERS, settings.listeners.customers
    yield Side.CARRIERS, settings.listeners.carriers


def bind_error(settings: Settings, key: str, where: Address, error: OSError) -> ConfigError:
    """Why the address that `key` names could not be bound."""
    advice = _ADVICE.get(error.errno or 0, "write another")
    return settings_error(settings, key, f"cannot bind {where}: {error.strerror or error}; {advice}")


def tls_files(listener: ListenerSettings) -> TlsFiles | None:
    """The files of a listener's TLS; None where it has none."""
    tls = listener.tls
    if tls is None:
        return None
    by_name = tuple(NamedCertificate(one.name, one.certificate, one.key) for one in tls.certificates_by_name)
    return TlsFiles(tls.certificate, tls.key, tls.ca, tls.client_certificate, by_name)


def check_certificates(settings: Settings) -> None:
    """Load every certificate, key and authority once and let go of it. Raises ConfigErrors with all that is wrong."""
    errors: list[ConfigError] = []
    for side, listener in sides_of(settings):
        files = tls_files(listener)
        if files is not None:
            try:
                TlsIdentity(files)
            except ConfigError as error:
                errors.append(_tls_error(settings, side, error))
    if errors:
        raise ConfigErrors(errors)


def make_data_dir(settings: Settings) -> None:
    """The directory for evidence and keys, made unless it is there. Raises ConfigErrors when it cannot be used."""
    path = settings.data_dir
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.R_OK | os.W_OK | os.X_OK):
            return
        why = os.strerror(errno.EACCES)
    except OSError as error:
        why = error.strerror or str(error)
    text = f"cannot keep evidence in {path}: {why}; name a directory that this process may write"
    raise ConfigErrors([settings_error(settings, "data_dir", text)])


def refresh(settings: Settings, side: Side, identity: TlsIdentity) -> bool:
    """Load a listener's files again when they have changed; True when they had. Raises ConfigErrors, keeps the old."""
    try:
        return identity.refresh()
    except ConfigError as error:
        raise ConfigErrors([_tls_error(settings, side, error)]) from error


def _tls_error(settings: Settings, side: Side, error: ConfigError) -> ConfigError:
    return settings_error(settings, f"listeners.{side}.tls", str(error))
