"""The Unix socket on which a running proxy is asked: for its owner alone, and not to be held up or brought down."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from edge_proxy.admin.control import (
    SOCKET_NAME,
    Answer,
    ControlError,
    ControlServer,
    ask,
    close_control_socket,
    open_control_socket,
)


def echo(question: Mapping[str, object]) -> Answer:
    if question.get("ask") == "wrong":
        raise ControlError("no such thing")
    if question.get("ask") == "bug":
        raise KeyError("x")
    return {"asked": question}


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A directory with a longer path than a socket's address can hold."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    listening = open_control_socket(directory)
    ControlServer(listening, echo).start()
    yield directory
    close_control_socket(listening, directory)


def test_question_is_answered(data_dir: Path) -> None:
    for n in range(3):
        assert ask(data_dir, {"ask": "x", "n": n}) == {"asked": {"ask": "x", "n": n}}


def test_socket_is_its_owners(data_dir: Path) -> None:
    mode = (data_dir / SOCKET_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(("asked", "told"), [("wrong", "no such thing"), ("bug", "bug: KeyError('x')")])
def test_error_is_told_and_the_next_question_answered(data_dir: Path, asked: str, told: str) -> None:
    with pytest.raises(ControlError) as error:
        ask(data_dir, {"ask": asked})
    assert str(error.value) == told
    assert ask(data_dir, {}) == {"asked": {}}


def say(data_dir: Path, data: bytes, *, ends: bool = True) -> bytes:
    """What is answered to these bytes."""
    directory = os.open(data_dir, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
            try:
                client.sendall(data)
                if ends:
                    client.shutdown(socket.SHUT_WR)
                return client.recv(65_536)
            except ConnectionError:
                return b""
    finally:
        os.close(directory)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\0" * 100 + b"\n",
        b"[1]\n",
        b'"ask"\n',
        b"\xff\xfe\n",
        b"{" * 4000 + b"\n",
        b"[" * 4000 + b"\n",
        b'{"ask": "x"',
        b"x" * 100_000,
        b"9" * 4090 + b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_question_is_answered_so_and_harms_nobody(data_dir: Path, data: bytes) -> None:
    answer = say(data_dir, data)
    assert not answer or "error" in json.loads(answer)
    assert ask(data_dir, {"ask": "x"}) == {"asked": {"ask": "x"}}


def test_silent_client_is_given_up(data_dir: Path) -> None:
    """It costs the others two seconds, once."""
    began = time.monotonic()
    assert say(data_dir, b'{"ask"', ends=False) == b""
    assert time.monotonic() - began < 5
    assert ask(data_dir, {}) == {"asked": {}}


def test_socket_of_a_killed_process_is_taken_over_and_one_in_use_is_not(tmp_path: Path) -> None:
    left = open_control_socket(tmp_path)
    with pytest.raises(OSError, match="another process serves"):
        open_control_socket(tmp_path)
    left.close()  # its name stays, as after kill -9
    assert (tmp_path / SOCKET_NAME).exists()
    again = open_control_socket(tmp_path)
    close_control_socket(again, tmp_path)
    assert not (tmp_path / SOCKET_NAME).exists()


@pytest.mark.parametrize("kind", ["none", "file", "stale", "no directory"])
def test_nobody_to_ask_is_an_error_with_a_hint(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "nowhere" if kind == "no directory" else tmp_path
    if kind == "file":
        (tmp_path / SOCKET_NAME).write_text("x")
    if kind == "stale":
        open_control_socket(tmp_path).close()
    with pytest.raises(ControlError, match="is the proxy running"):
        ask(directory, {"ask": "scanners"})


@pytest.mark.parametrize("said", [b"", b"hello\n", b"[]\n", b"{"])
def test_answer_of_something_else_is_an_error(tmp_path: Path, said: bytes) -> None:
    listening = open_control_socket(tmp_path)
    pid = os.fork()
    if not pid:
        client, _ = listening.accept()
        client.recv(100)
        client.sendall(said)
        client.close()
        os._exit(0)
    with pytest.raises(ControlError, match="is no edge-proxy"):
        ask(tmp_path, {"ask": "scanners"})
    os.waitpid(pid, 0)
    close_control_socket(listening, tmp_path)
