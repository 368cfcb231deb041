"""Tells what udevd would tell, in the network namespace that this runs in: one message for each line of its input.

A line is an action, a path below /sys, a subsystem, and properties KEY=VALUE, as words of Python literals in a list.
"""

from __future__ import annotations

import ast
import socket
import struct
import sys

NETLINK_KOBJECT_UEVENT = 15
UDEV_GROUP = 2
MAGIC = 0xFEEDCAFE


def hash_of(data: bytes) -> int:
    """MurmurHash2 with the seed 0, by which the kernel's filter knows a subsystem."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = len(data)
    while len(data) >= 4:
        (k,) = struct.unpack("<I", data[:4])
        k = k * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
        data = data[4:]
    if data:
        h = (h ^ int.from_bytes(data, "little")) * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15


def message(action: str, path: str, subsystem: str, properties: list[bytes | str], number: int) -> bytes:
    words = [f"ACTION={action}", f"DEVPATH={path}", f"SUBSYSTEM={subsystem}", *properties, f"SEQNUM={number}"]
    body = b"".join((word if isinstance(word, bytes) else word.encode("latin-1")) + b"\0" for word in words)
    header = b"libudev\0" + struct.pack(">I", MAGIC) + struct.pack("=III", 40, 40, len(body))
    return header + struct.pack(">IIII", hash_of(subsystem.encode()), 0, 0, 0) + body


def main() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as sock:
        for number, line in enumerate(sys.stdin, 1):
            action, path, subsystem, *properties = ast.literal_eval(line)
            sock.sendto(message(action, path, subsystem, properties, number), (0, UDEV_GROUP))


main()
