"""/metrics, /healthz and /readyz on one small HTTP server, in threads of their own beside the event loop."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry

from edge_proxy.addr import Address
from edge_proxy.resting import Pace
from edge_proxy.telemetry.page import CONTENT_TYPE, page_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_LOOK_S: Final = 0.5
"""How often a server that nobody asks looks whether it is to stop."""
_SLOW_CLIENT_S: Final = 5.0
_MAX_CLIENTS: Final = 8
_GZIP_LEVEL: Final = 1
_PLAIN: Final = "text/plain; charset=utf-8"


class _Server(WSGIServer):
    """One thread per request, a bounded number of them, each with a deadline."""

    daemon_threads = True
    request_queue_size = 16
    allow_reuse_address = True

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._places = threading.BoundedSemaphore(_MAX_CLIENTS)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on to the base as make_server gives them

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)  # noqa: S101 - TCP servers hand over sockets
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        request.settimeout(_SLOW_CLIENT_S)
        threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()

    def _serve(self, request: socket.socket, client_address: object) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away or was too slow; it will scrape again
        finally:
            self.shutdown_request(request)
            self._places.release()


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Scrapes are not news."""


def open_telemetry_socket(listen: Address) -> socket.socket:
    """A socket that listens, for a server in a process that is yet to be made. Raises OSError."""
    server_class = _ServerV6 if ":" in listen.host else _Server
    server = server_class((listen.host, listen.port), _Handler)
    return server.socket


def _take_over(listening: socket.socket) -> WSGIServer:
    """A server on a socket that listens already."""
    host, port = listening.getsockname()[:2]
    server = _Server((host, port), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = host, port
    server.setup_environ()
    return server


class TelemetryServer:
    """Serves a registry and the two health questions until stopped."""

    def __init__(
        self,
        listen: Address | socket.socket,
        registry: CollectorRegistry,
        is_ready: Callable[[], bool],
        pace: Callable[[], Pace] | None = None,
    ) -> None:
        """`listen` may be a socket that listens already (see `open_telemetry_socket`). Pages are made at this pace;
        None where there are no calls."""
        self._listen = listen
        self._registry = registry
        self._one_at_a_time = threading.Lock()
        self._is_ready = is_ready
        self._pace = pace
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Address:
        """Bind and serve; returns the bound address. Raises OSError when the address cannot be had."""
        if isinstance(self._listen, Address):
            listen = self._listen
            server_class = _ServerV6 if ":" in listen.host else _Server
            self._server = make_server(
                listen.host, listen.port, self._answer, server_class=server_class, handler_class=_Handler
            )
        else:
            listen = Address(*self._listen.getsockname()[:2])
            self._server = _take_over(self._listen)
            self._server.set_app(self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_S,), name="telemetry", daemon=True
        )
        self._thread.start()
        return Address(listen.host, self._server.server_port)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            pace = nullcontext() if self._pace is None else self._pace().kept()
            with self._one_at_a_time, pace:  # however many ask: writers would slow down each other and the calls
                page = page_of(self._registry)
            if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
                packed = gzip.compress(page, _GZIP_LEVEL)
                return _answer(start_response, "200 OK", packed, CONTENT_TYPE, ("Content-Encoding", "gzip"))
            return _answer(start_response, "200 OK", page, CONTENT_TYPE)
        if path == "/healthz":
            return _answer(start_response, "200 OK", b"alive\n")
        if path == "/readyz":
            if self._is_ready():
                return _answer(start_response, "200 OK", b"ready\n")
            return _answer(start_response, "503 Service Unavailable", b"not ready\n")
        return _answer(start_response, "404 Not Found", b"try /metrics, /healthz or /readyz\n")


def _answer(
    start_response: StartResponse, status: str, body: bytes, content_type: str = _PLAIN, *headers: tuple[str, str]
) -> list[bytes]:
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers])
    return [body]
