"""A stand-in for udevd: it says of devices what it is told to, in a namespace of networks that the caller has made.

Each line of standard input is a message: the action, the name of a block device or the path of another device below
/sys, and properties as KEY=VALUE, parted by tabs.  The device's file in /run/udev/data is written first, as udevd does.
``busy`` and ``idle`` make and remove the file that says so.  What is read is answered by a line ``done``.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

UDEV = Path("/run/udev")
NETLINK_KOBJECT_UEVENT = 15
GROUP = 2
MAGIC = 0xFEEDCAFE


def murmur(data: bytes) -> int:
    """MurmurHash2 with the seed 0, by which libudev's filters know a subsystem."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    value = len(data)
    whole = len(data) & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * multiplier & mask
        word ^= word >> 24
        value = (value * multiplier & mask) ^ (word * multiplier & mask)
    if len(data) > whole:
        value ^= int.from_bytes(data[whole:], "little")
        value = value * multiplier & mask
    value ^= value >> 13
    value = value * multiplier & mask
    return value ^ value >> 15


def message(properties: dict[str, str]) -> bytes:
    """A message to libudev's monitors."""
    body = b"".join(f"{key}={value}\0".encode() for key, value in properties.items())
    subsystem = murmur(properties["SUBSYSTEM"].encode())
    header = b"libudev\0" + struct.pack(">I", MAGIC) + struct.pack("=III", 40, 40, len(body))
    return header + struct.pack(">IIII", subsystem, 0, 0, 0) + body


def main() -> None:
    (UDEV / "data").mkdir(parents=True, exist_ok=True)
    (UDEV / "control").touch()
    sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
    sender.bind((0, 0))
    number = 0
    for line in sys.stdin:
        action, *words = line.rstrip("\n").split("\t")
        if action == "busy":
            (UDEV / "queue").touch()
        elif action == "idle":
            (UDEV / "queue").unlink()
        else:
            number += 1
            announce(sender, action, words[0], words[1:], number)
        print("done", flush=True)


def announce(sender: socket.socket, action: str, name: str, words: list[str], number: int) -> None:
    properties = {"ACTION": action, "SEQNUM": str(number), "USEC_INITIALIZED": "1"}
    if "/" in name:
        properties["DEVPATH"] = name
        properties.update(word.partition("=")[::2] for word in words)
    else:
        place = os.path.realpath(f"/sys/class/block/{name}")
        device = os.stat(f"/dev/{name}").st_rdev
        major, minor = os.major(device), os.minor(device)
        properties |= {"DEVPATH": place.removeprefix("/sys"), "SUBSYSTEM": "block", "DEVNAME": f"/dev/{name}",
                       "DEVTYPE": "disk", "MAJOR": str(major), "MINOR": str(minor)}  # fmt: skip
        own = dict(word.partition("=")[::2] for word in words)
        links = own.get("DEVLINKS", "").split()
        entry = [f"S:{link.removeprefix('/dev/')}" for link in links] + ["I:1"]
        entry += [f"E:{key}={value}" for key, value in own.items() if key != "DEVLINKS"]
        (UDEV / "data" / f"b{major}:{minor}").write_text("\n".join(entry) + "\n")
        properties.update(own)
    sender.sendto(message(properties), (0, GROUP))


if __name__ == "__main__":
    main()
