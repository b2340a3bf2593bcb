"""How the command reaches the running proxy: a Unix socket in the data directory, for its owner alone (mode 0600).

One question is one line of JSON, `{"ask": "scanners", ...}`, and its answer another, `{"error": "..."}` where there is
none. A thread of its own answers one after the other, beside the loop of the calls; a client has two seconds to ask and
to take the answer, and a question has a bounded length.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from edge_proxy.errors import EdgeProxyError

SOCKET_NAME: Final = "control.sock"

Answer = Mapping[str, object]

_LONGEST_QUESTION_BYTES: Final = 4096
_LONGEST_ANSWER_BYTES: Final = 16 << 20
_CLIENT_S: Final = 2.0
_PAUSE_S: Final = 0.1
_ANSWER_S: Final = 5.0
_WAITING_CLIENTS: Final = 16


class ControlError(EdgeProxyError):
    """The running proxy could not be asked, or did not do as it was asked."""


def open_control_socket(data_dir: Path) -> socket.socket:
    """A socket that listens. Raises OSError, also when another process listens there."""
    with _address(data_dir) as address:
        with _new_socket() as probe:
            try:
                probe.connect(address)
            except FileNotFoundError:
                pass
            except ConnectionRefusedError:
                (data_dir / SOCKET_NAME).unlink()  # of a process that was killed
            else:
                raise OSError(f"another process serves {data_dir / SOCKET_NAME}")
        listening = _new_socket()
        try:
            os.fchmod(listening.fileno(), 0o600)  # before there is a name by which others could come
            listening.bind(address)
            listening.listen(_WAITING_CLIENTS)
        except OSError:
            listening.close()
            raise
    return listening


def close_control_socket(listening: socket.socket, data_dir: Path) -> None:
    """Take back its name, and close it."""
    with suppress(OSError):
        (data_dir / SOCKET_NAME).unlink()
    with suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


class ControlServer:
    """Answers until the process ends, or the socket is closed. `answer` may raise ControlError."""

    def __init__(self, listening: socket.socket, answer: Callable[[Mapping[str, object]], Answer]) -> None:
        self._listening = listening
        self._answer = answer

    def start(self) -> None:
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def _serve(self) -> None:
        while self._listening.fileno() >= 0:
            try:
                client, _ = self._listening.accept()
            except OSError:  # it is being closed, or there are too many open files
                time.sleep(_PAUSE_S)
                continue
            with client, suppress(OSError):
                answer = self._answered(client)
                client.settimeout(_CLIENT_S)
                client.sendall(json.dumps(answer).encode() + b"\n")

    def _answered(self, client: socket.socket) -> Answer:
        line, until = b"", time.monotonic() + _CLIENT_S
        while not line.endswith(b"\n"):
            client.settimeout(max(until - time.monotonic(), 0.001))
            read = client.recv(_LONGEST_QUESTION_BYTES)
            line += read
            if not read or len(line) > _LONGEST_QUESTION_BYTES:
                return {"error": "that is no question: write one line of JSON"}
        try:
            question = json.loads(line)
        except (ValueError, RecursionError):
            question = None
        if not isinstance(question, dict):
            return {"error": "that is no question: write one line of JSON"}
        try:
            return self._answer(question)
        except ControlError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - a bug here must not end the thread that all later clients need
            return {"error": f"bug: {error!r}"}


class Control:
    """What a proxy has of all this. Where the directory can hold no socket it serves without, and says so."""

    def __init__(self, data_dir: Path) -> None:
        self.sockets: list[socket.socket] = []
        """The one that listens, if it could be had."""
        self._data_dir = data_dir
        try:
            self.sockets.append(open_control_socket(data_dir))
        except OSError as error:
            where, why = str(data_dir / SOCKET_NAME), error.strerror or str(error)
            structlog.get_logger().warning("this proxy cannot be asked", socket=where, error=why)

    def serve(self, answer: Callable[[Mapping[str, object]], Answer]) -> None:
        for listening in self.sockets:
            ControlServer(listening, answer).start()

    def close(self) -> None:
        for listening in self.sockets:
            close_control_socket(listening, self._data_dir)


def ask(data_dir: Path, question: Mapping[str, object]) -> dict[str, object]:
    """What the proxy that runs in this data directory answers. Raises ControlError."""
    path = data_dir / SOCKET_NAME
    try:
        with _address(data_dir) as address, _new_socket() as client:
            client.settimeout(_ANSWER_S)
            client.connect(address)
            client.sendall(json.dumps(question).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n") and len(data) < _LONGEST_ANSWER_BYTES:
                read = client.recv(65_536)
                if not read:
                    break
                data += read
    except OSError as error:
        hint = "is the proxy running, with this configuration, and as this user?"
        raise ControlError(f"cannot ask at {path}: {error.strerror or error}; {hint}") from error
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise ControlError(f"what answers at {path} is no edge-proxy") from error
    if not isinstance(answer, dict):
        raise ControlError(f"what answers at {path} is no edge-proxy")
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


@contextmanager
def _address(data_dir: Path) -> Iterator[str]:
    """The socket's path by an open directory: a path itself must not be longer than 107 bytes."""
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET_NAME}"
    finally:
        os.close(directory)
