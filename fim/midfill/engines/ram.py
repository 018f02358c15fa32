"""The main memory that this process may use, and the processor it runs on, as the operating system tells.

llama.cpp's CPU device does not tell what is free, and neither it nor most programs look at the limit of a
container's control group, beyond which a process is killed without a word.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ram:
    """Main memory in bytes."""

    total: int
    """All that this process can ever get."""
    free: int
    """What may be had now without swapping; what the system only keeps files in counts as free."""
    limited: bool = False
    """Whether a control group's limit lies below the machine's memory."""


def ram() -> Ram:
    """What this system tells; 0 where it tells nothing."""
    if sys.platform == "win32":
        return _windows()
    if sys.platform == "darwin":
        return _macos()
    return linux_ram(Path("/"))


def linux_ram(root: Path) -> Ram:
    """From `/proc` and `/sys` below `root`; control groups of both versions."""
    lines = _text(root / "proc/meminfo")
    kib = {name: int(number) for name, number in re.findall(r"^(\w+):\s+(\d+)", lines, re.M)}
    total = kib.get("MemTotal", 0) * 1024
    free = kib.get("MemAvailable", kib.get("MemFree", 0)) * 1024
    machine_total = total
    for folder, limit_name, usage_name, inactive_name in _groups(root):
        limit = _number(folder / limit_name)
        if limit is None or limit >= machine_total > 0:
            continue
        # Mapped files and the like count as used, but go as soon as the memory is wanted.
        inactive = re.search(rf"^{inactive_name} (\d+)$", _text(folder / "memory.stat"), re.M)
        used = (_number(folder / usage_name) or 0) - (int(inactive[1]) if inactive else 0)
        total, free = min(total, limit), min(free, max(0, limit - used))
    return Ram(total, free, total < machine_total)


def cpu_name() -> str:
    """The processor's model, such as `AMD EPYC 9B14`."""
    if sys.platform == "darwin":
        return _sysctl_text("machdep.cpu.brand_string") or platform.machine()
    name = re.search(r"^model name\s*: (.+)$", _text(Path("/proc/cpuinfo")), re.M)
    return name[1] if name else platform.processor() or platform.machine()


def n_cores() -> int:
    """Processors that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _groups(root: Path) -> list[tuple[Path, str, str, str]]:
    """The control groups that this process is in, with the names of the files that tell of memory."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, names = (
                root / "sys/fs/cgroup",
                ("memory.max", "memory.current", "inactive_file"),
            )
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # A limit holds for all below it. In a container the path may be the machine's, and only the root be seen.
        folder = base / path.strip("/")
        for group in (folder, *folder.parents):
            if group == base.parent:
                break
            found.append((group, *names))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _windows() -> Ram:
    class Status(ctypes.Structure):
        _fields_ = [
            ("dwLength", ctypes.c_uint32),
            ("dwMemoryLoad", ctypes.c_uint32),
            ("ullTotalPhys", ctypes.c_uint64),
            ("ullAvailPhys", ctypes.c_uint64),
            ("ullTotalPageFile", ctypes.c_uint64),
            ("ullAvailPageFile", ctypes.c_uint64),
            ("ullTotalVirtual", ctypes.c_uint64),
            ("ullAvailVirtual", ctypes.c_uint64),
            ("ullAvailExtendedVirtual", ctypes.c_uint64),
        ]

    status = Status(dwLength=ctypes.sizeof(Status))
    kernel32 = ctypes.CDLL("kernel32")
    if not kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return Ram(0, 0)
    return Ram(status.ullTotalPhys, status.ullAvailPhys)


def _macos() -> Ram:
    total = int.from_bytes(_sysctl("hw.memsize"), "little")
    # The share in percent that the system itself calls available, as `memory_pressure` prints it.
    level = int.from_bytes(_sysctl("kern.memorystatus_level"), "little")
    return Ram(total, total * level // 100 if 0 < level <= 100 else total // 2)


def _sysctl(name: str) -> bytes:
    libc = ctypes.CDLL(None)
    buffer, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    if libc.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return b""
    return buffer.raw[: size.value]


def _sysctl_text(name: str) -> str:
    return _sysctl(name).rstrip(b"\0").decode("utf-8", "replace")
