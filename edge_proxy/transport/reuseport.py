"""One address, one UDP socket for each worker: the group, and the filter that steers a call's messages to its owner.

The filter is a classic BPF program on the SO_REUSEPORT group, which needs no privilege. It looks for `-ID:` at every
offset of the first 750 bytes, sees that it ends `\\nCall-ID:` in whatever letters, and takes the hash of
pipeline/steering.py of the value; the result is the place of a socket in the group, which is the order they were bound
in. Where it finds nothing (compact `i:`, a later offset, a message that ends) it names no socket, and the kernel
spreads by address as without it. A wrong or a missing guess costs a hand-over (transport/mesh.py) and nothing else.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from edge_proxy.addr import Address
from edge_proxy.pipeline.steering import FACTOR, FIRST_SHIFT, HASHED_BYTES, MIX_FACTOR, SECOND_SHIFT
from edge_proxy.transport.udp import open_udp_socket

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_NO_SOCKET: Final = 0xFFFFFFFF
_MOST_INSTRUCTIONS: Final = 4096

_FIRST_OFFSET: Final = 18
"""Where `-ID:` may stand at the earliest: behind `SIP/2.0 200 ` CRLF `Call`."""
_BLOCK: Final = 32
_BLOCKS: Final = 23
SEARCHED_BYTES: Final = _FIRST_OFFSET + _BLOCK * _BLOCKS

# Operation codes of the classic filter machine: A is the accumulator, X the index, M the scratch memory.
_LD_WORD: Final = 0x20  # A = 4 bytes at k
_LD_WORD_AT: Final = 0x40  # A = 4 bytes at X + k
_LD_BYTE_AT: Final = 0x50
_LD_LENGTH: Final = 0x80
_LD_CONSTANT: Final = 0x00
_LD_MEMORY: Final = 0x60
_LDX_CONSTANT: Final = 0x01
_LDX_MEMORY: Final = 0x61
_ST: Final = 0x02
_STX: Final = 0x03
_ADD: Final = 0x04
_ADD_X: Final = 0x0C
_MUL: Final = 0x24
_OR: Final = 0x44
_RSH: Final = 0x74
_MOD: Final = 0x94
_XOR_X: Final = 0xAC
_JUMP: Final = 0x05
_JUMP_EQUAL: Final = 0x15
_JUMP_NOT_LESS: Final = 0x35
_RETURN: Final = 0x06
_RETURN_A: Final = 0x16
_TAX: Final = 0x07
_TXA: Final = 0x87


class Instruction(NamedTuple):
    """One of `struct sock_filter`."""

    code: int
    if_true: int = 0
    if_false: int = 0
    k: int = 0


def open_group(bind: Address, count: int) -> list[socket.socket]:
    """So many sockets on one address, in the order of the group. Raises OSError when the address cannot be had."""
    group: list[socket.socket] = []
    try:
        for _ in range(count):
            opened = open_udp_socket(bind, is_shared=True)
            group.append(opened)
            name = opened.getsockname()
            bind = Address(name[0], name[1])
    except OSError:
        for opened in group:
            opened.close()
        raise
    return group


def steer(group: list[socket.socket]) -> bool:
    """Have the kernel steer by Call-ID; False when this system does not offer it."""
    program = b"".join(struct.pack("=HBBI", *one) for one in steering_program(len(group)))
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    try:
        group[0].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, head)
    except OSError:
        return False
    return True


def steering_program(workers: int) -> list[Instruction]:
    """The filter for so many sockets."""
    search_length = _BLOCKS * (3 + 5 * _BLOCK) + 1
    program: list[Instruction] = []
    for block in range(_BLOCKS):
        start = _FIRST_OFFSET + block * _BLOCK
        # A load behind the end of the datagram would end the program with 0, which is a worker's place.
        program.append(Instruction(_LD_LENGTH))
        program.append(Instruction(_JUMP_NOT_LESS, 1, 0, start + _BLOCK + 3))
        program.append(Instruction(_RETURN, k=_NO_SOCKET))
        for offset in range(start, start + _BLOCK):
            program.append(Instruction(_LD_WORD, k=offset))
            program.append(Instruction(_OR, k=0x00202000))
            program.append(Instruction(_JUMP_EQUAL, 0, 2, int.from_bytes(b"-id:")))
            program.append(Instruction(_LDX_CONSTANT, k=offset - 5))
            program.append(Instruction(_JUMP, k=search_length - len(program) - 1))
    program.append(Instruction(_RETURN, k=_NO_SOCKET))
    program.extend(_found(workers))
    assert len(program) <= _MOST_INSTRUCTIONS  # noqa: S101 - the kernel's bound; a test holds it too
    return program


def _found(workers: int) -> Iterator[Instruction]:
    """X stands where the line feed before `Call-ID:` should be: check that, then hash the value up to its end."""
    yield Instruction(_LD_WORD_AT)
    yield Instruction(_OR, k=0x00202020)
    yield Instruction(_JUMP_EQUAL, 1, 0, int.from_bytes(b"\ncal"))
    yield Instruction(_RETURN, k=_NO_SOCKET)
    yield Instruction(_LD_BYTE_AT, k=4)
    yield Instruction(_OR, k=0x20)
    yield Instruction(_JUMP_EQUAL, 1, 0, ord("l"))
    yield Instruction(_RETURN, k=_NO_SOCKET)
    yield Instruction(_TXA)
    yield Instruction(_ADD, k=9)
    yield Instruction(_TAX)
    yield Instruction(_LD_BYTE_AT)
    yield Instruction(_JUMP_EQUAL, 0, 3, ord(" "))
    yield Instruction(_TXA)
    yield Instruction(_ADD, k=1)
    yield Instruction(_TAX)
    yield Instruction(_STX, k=1)
    yield Instruction(_LD_CONSTANT)
    yield Instruction(_ST)
    for index in range(HASHED_BYTES):
        yield Instruction(_LD_BYTE_AT, k=index)
        yield Instruction(_JUMP_EQUAL, (HASHED_BYTES - index) * 8 - 2, 0, ord("\r"))
        yield Instruction(_TAX)
        yield Instruction(_LD_MEMORY)
        yield Instruction(_MUL, k=FACTOR)
        yield Instruction(_ADD_X)
        yield Instruction(_ST)
        yield Instruction(_LDX_MEMORY, k=1)
    yield Instruction(_LD_MEMORY)
    yield Instruction(_TAX)
    yield Instruction(_RSH, k=FIRST_SHIFT)
    yield Instruction(_XOR_X)
    yield Instruction(_MUL, k=MIX_FACTOR)
    yield Instruction(_TAX)
    yield Instruction(_RSH, k=SECOND_SHIFT)
    yield Instruction(_XOR_X)
    yield Instruction(_MOD, k=workers)
    yield Instruction(_RETURN_A)
