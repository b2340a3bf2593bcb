"""TLS over real sockets: who is let in, which certificate is shown, and certificates that change while calls are up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_proxy.addr import Address
from edge_proxy.errors import ConfigError
from edge_proxy.sip.limits import Limits
from edge_proxy.transport.port import Received
from edge_proxy.transport.stream import CloseCause, StreamPort, StreamSettings
from edge_proxy.transport.tls import NamedCertificate, TlsFiles, TlsIdentity

HERE = "127.0.0.1"
MESSAGE = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"
DAY = datetime.timedelta(days=1)


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """Signs certificates into files of one directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self.certificate = directory / f"{name}.pem"
        self._name = named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        mine = self._build(self._name, self._key, [], is_authority=True)
        self.certificate.write_bytes(mine.public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, common_name: str, *names: str, passphrase: bytes | None = None) -> tuple[Path, Path]:
        """Write FILE.pem and FILE.key; what was in them is replaced as a renewal does it."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(HERE))]
        alternatives += [x509.DNSName(name) for name in names]
        issued = self._build(named(common_name), key, alternatives)
        secret = (
            serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
        )
        return (
            self._replace(f"{file}.pem", issued.public_bytes(serialization.Encoding.PEM)),
            self._replace(
                f"{file}.key",
                key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret),
            ),
        )

    def _replace(self, file: str, data: bytes) -> Path:
        fresh = self.directory / f"{file}.new"
        fresh.write_bytes(data)
        return fresh.rename(self.directory / file)

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        alternatives: list[x509.GeneralName],
        *,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files(
    authority: Authority,
    client_certificate: Literal["none", "optional", "required"] = "none",
    by_name: tuple[NamedCertificate, ...] = (),
) -> TlsFiles:
    certificate, key = authority.issue("edge", "first")
    return TlsFiles(certificate, key, authority.certificate, client_certificate, by_name)


def trusting(authority: Authority, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client that trusts the authority, and shows a certificate when it has one."""
    context = ssl.create_default_context(cafile=authority.certificate)
    context.check_hostname = False
    if own is not None:
        context.load_cert_chain(*own)
    return context


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - it watches counters, which tell nobody
            await asyncio.sleep(0.005)


class Served:
    def __init__(self, port: StreamPort) -> None:
        self.port = port
        self.received: list[Received] = []
        self.lost: list[tuple[Address, list[bytes]]] = []
        port.on_unreachable = lambda address, messages: self.lost.append((address, messages))


@contextlib.asynccontextmanager
async def serving(identity: TlsIdentity, settings: StreamSettings | None = None) -> AsyncIterator[Served]:
    served = Served(StreamPort(Address(HERE, 0), Limits(), settings or StreamSettings(), identity))
    await served.port.start(asyncio.get_running_loop(), served.received.extend)
    try:
        yield served
    finally:
        served.port.stop()
        await until(lambda: len(served.port) == 0)
        served.port.close()


class Far:
    """A client's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def address(self) -> Address:
        return Address(*self.writer.get_extra_info("sockname"))

    @property
    def shown(self) -> str:
        """The common name of the certificate that the other end showed."""
        subject = self.writer.get_extra_info("peercert")["subject"]
        return str(dict(part[0] for part in subject)["commonName"])


@contextlib.asynccontextmanager
async def connected(served: Served, context: ssl.SSLContext, name: str = "") -> AsyncIterator[Far]:
    far = Far(*await asyncio.open_connection(*served.port.bound, ssl=context, server_hostname=name or HERE))
    try:
        yield far
    finally:
        far.writer.close()
        with contextlib.suppress(OSError):
            await far.writer.wait_closed()


async def exchange(served: Served, far: Far) -> None:
    """A message there and one back."""
    count = len(served.received)
    far.writer.write(MESSAGE)
    await until(lambda: len(served.received) > count)
    assert served.received[-1] == (MESSAGE, far.address)
    served.port.send(b"back", far.address)
    async with asyncio.timeout(20):
        assert await far.reader.readexactly(4) == b"back"


@pytest.mark.asyncio
async def test_message_passes_both_ways_over_tls(authority: Authority) -> None:
    """A client that trusts our authority is served, and an answer goes back the same way."""
    async with serving(TlsIdentity(files(authority))) as served, connected(served, trusting(authority)) as far:
        assert far.shown == "first"
        assert far.writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        await exchange(served, far)


@pytest.mark.asyncio
async def test_client_certificate_of_the_authority_is_let_in(authority: Authority) -> None:
    """Mutual TLS: who shows a certificate that the authority signed is served."""
    own = authority.issue("client", "client")
    async with (
        serving(TlsIdentity(files(authority, "required"))) as served,
        connected(served, trusting(authority, own)) as far,
    ):
        await exchange(served, far)
        assert served.port.accepted == 1


@pytest.mark.parametrize("shows", ["nothing", "another authority's"])
@pytest.mark.asyncio
async def test_client_without_the_right_certificate_is_refused(
    authority: Authority, tmp_path: Path, shows: str
) -> None:
    """Mutual TLS: no certificate, or one that somebody else signed, and nothing of it is delivered."""
    own = None if shows == "nothing" else Authority(tmp_path, "stranger").issue("client", "client")
    async with serving(TlsIdentity(files(authority, "required"))) as served:
        with contextlib.suppress(OSError):  # with TLS 1.3 a client learns of it only when it reads
            async with connected(served, trusting(authority, own)) as far:
                far.writer.write(MESSAGE)
                async with asyncio.timeout(20):
                    assert await far.reader.read() == b""
        assert served.received == []
        assert served.port.accepted == len(served.port) == 0


@pytest.mark.asyncio
async def test_optional_client_certificate_lets_in_who_has_none(authority: Authority) -> None:
    """`optional` asks, and goes on without."""
    async with (
        serving(TlsIdentity(files(authority, "optional"))) as served,
        connected(served, trusting(authority)) as far,
    ):
        await exchange(served, far)


@pytest.mark.asyncio
async def test_new_connection_gets_the_new_certificate_and_the_old_one_lives_on(authority: Authority) -> None:
    """A renewal costs nobody a call."""
    identity = TlsIdentity(files(authority))
    client = trusting(authority)
    async with serving(identity) as served, connected(served, client) as old:
        await exchange(served, old)
        assert not identity.refresh()
        authority.issue("edge", "second")
        assert identity.refresh()
        assert not identity.refresh()
        async with connected(served, client) as new:
            assert (old.shown, new.shown) == ("first", "second")
            await exchange(served, new)
            await exchange(served, old)


@pytest.mark.asyncio
async def test_authority_that_changed_decides_about_new_clients(authority: Authority, tmp_path: Path) -> None:
    """The file of authorities is read again like the certificate; mutual TLS stays mutual."""
    identity = TlsIdentity(files(authority, "required"))
    other = Authority(tmp_path, "other")
    own = other.issue("client", "client")
    async with serving(identity) as served:
        other.certificate.rename(authority.certificate)
        assert identity.refresh()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # what is proven here is whom the server lets in
        with contextlib.suppress(OSError):
            async with connected(served, context) as stranger, asyncio.timeout(20):
                assert await stranger.reader.read() == b""
        assert served.port.accepted == 0
        context.load_cert_chain(*own)
        async with connected(served, context) as far:
            await exchange(served, far)


@pytest.mark.parametrize("broken", ["edge.pem", "edge.key", "authority.pem", "sip.pem", "sip.key"])
@pytest.mark.parametrize("how", ["garbage", "gone"])
@pytest.mark.asyncio
async def test_broken_file_is_named_and_the_old_certificate_stays(
    authority: Authority, tmp_path: Path, broken: str, how: str
) -> None:
    """A renewal that went wrong halfway is refused whole; the next good one is taken."""
    sip = NamedCertificate("sip.test", *authority.issue("sip", "sip"))
    identity = TlsIdentity(files(authority, by_name=(sip,)))
    client = trusting(authority)
    good = (tmp_path / broken).read_bytes()
    async with serving(identity) as served:
        authority.issue("edge" if broken.startswith("sip") else "sip", "second")
        if how == "gone":
            (tmp_path / broken).unlink()
        else:
            (tmp_path / broken).write_bytes(b"no PEM")
        with pytest.raises(ConfigError, match=str(tmp_path / broken)):
            identity.refresh()
        async with connected(served, client) as far, connected(served, client, "sip.test") as by_name:
            assert (far.shown, by_name.shown) == ("first", "sip")
        (tmp_path / broken).write_bytes(good)
        assert identity.refresh()


def test_identity_that_cannot_be_loaded_names_the_file(authority: Authority, tmp_path: Path) -> None:
    """At the start as at a reload: which file, and what would be right."""
    good = files(authority)
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path}/none.key: No such file"):
        TlsIdentity(good._replace(key=tmp_path / "none.key"))
    _, other_key = authority.issue("other", "other")
    with pytest.raises(ConfigError, match=f"certificate {good.certificate} with key {other_key}: .*name a PEM chain"):
        TlsIdentity(good._replace(key=other_key))


def test_key_with_a_passphrase_is_refused_without_asking(authority: Authority) -> None:
    """Nobody sits at the terminal of a service: OpenSSL must not wait there for a passphrase."""
    certificate, key = authority.issue("edge", "edge", passphrase=b"secret")
    with pytest.raises(ConfigError, match="without a passphrase"):
        TlsIdentity(TlsFiles(certificate, key, None, "none"))


@pytest.mark.asyncio
async def test_certificate_goes_by_the_name_that_the_client_asks_for(authority: Authority) -> None:
    """Several names on one address (RFC 6066 §3); the base certificate is for all others, and each is renewed."""
    one = NamedCertificate("sip.example.net", *authority.issue("one", "one", "sip.example.net"))
    two = NamedCertificate("voice.example.org", *authority.issue("two", "two", "voice.example.org"))
    identity = TlsIdentity(files(authority, by_name=(one, two)))
    client = trusting(authority)

    async def shown_for(name: str) -> str:
        async with connected(served, client, name) as far:
            await exchange(served, far)
            return far.shown

    async with serving(identity) as served:
        asked = ("sip.example.net", "SIP.Example.NET", "voice.example.org", "other.example.net", "")
        assert [await shown_for(name) for name in asked] == ["one", "one", "two", "first", "first"]
        authority.issue("two", "newer", "voice.example.org")
        assert identity.refresh()
        assert [await shown_for(name) for name in asked] == ["one", "one", "newer", "first", "first"]


@pytest.mark.asyncio
async def test_client_certificate_is_required_under_every_name(authority: Authority) -> None:
    """Asking for a name is no way around mutual TLS."""
    one = NamedCertificate("sip.example.net", *authority.issue("one", "one"))
    async with serving(TlsIdentity(files(authority, "required", (one,)))) as served:
        with contextlib.suppress(OSError):
            async with connected(served, trusting(authority), one.name) as far, asyncio.timeout(20):
                assert await far.reader.read() == b""
        assert served.port.accepted == 0


@pytest.mark.asyncio
async def test_target_must_prove_its_name(authority: Authority) -> None:
    """We connect to a target under the name it was configured by, and to nobody else; both ends show certificates."""
    server = TlsIdentity(files(authority, "required"))
    async with serving(server) as target, serving(server) as served:
        served.port.send(MESSAGE, target.port.bound)  # by its address, which the certificate names
        await until(lambda: len(target.received) == 1)
    async with serving(server) as target, serving(server) as served:
        served.port.server_names = {target.port.bound: "elsewhere.test"}
        served.port.send(MESSAGE, target.port.bound)
        await until(lambda: served.lost == [(target.port.bound, [MESSAGE])])
        assert target.received == []


@pytest.mark.asyncio
async def test_name_that_tls_cannot_ask_for_makes_its_target_unreachable_only(authority: Authority) -> None:
    """DNS may hold names that are no host names; the messages are reported and the next try is made."""
    async with serving(TlsIdentity(files(authority))) as served:
        nowhere = served.port.bound
        served.port.server_names = {nowhere: "x" * 64 + ".test"}
        for turn in (1, 2):
            served.port.send(MESSAGE, nowhere)
            await until(lambda turn=turn: len(served.lost) == turn)  # type: ignore[misc]
        assert served.lost == [(nowhere, [MESSAGE])] * 2


@pytest.mark.asyncio
async def test_handshake_that_is_not_finished_is_given_up(authority: Authority) -> None:
    """A connection that never says hello costs a socket for a short time only."""
    async with serving(TlsIdentity(files(authority)), StreamSettings(handshake_s=0.05)) as served:
        reader, writer = await asyncio.open_connection(*served.port.bound)
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.asyncio
async def test_refused_connection_delivers_nothing(authority: Authority) -> None:
    """What TLS had read already when the connection was one too many is not served."""
    async with (
        serving(TlsIdentity(files(authority)), StreamSettings(max_connections=1)) as served,
        connected(served, trusting(authority)),
        connected(served, trusting(authority)) as second,
    ):
        with contextlib.suppress(OSError):
            second.writer.write(MESSAGE * 3)
            async with asyncio.timeout(20):
                assert await second.reader.read() == b""
        await until(lambda: served.port.closed[CloseCause.TOO_MANY] == 1)
        assert served.received == []
