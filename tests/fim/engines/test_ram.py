"""The memory that may be had: what `/proc` and control groups say, from trees of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from midfill.engines.ram import Ram, cpu_name, linux_ram, n_cores, ram

GIB = 2**30
MEMINFO = f"MemTotal: {16 * 2**20} kB\nMemFree: {2**20} kB\nMemAvailable: {10 * 2**20} kB\n"
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


def _group(folder: str, limit: object, used: int = 0, inactive: int = 0) -> dict[str, str]:
    if folder.startswith(V1):
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    else:
        names = ("memory.max", "memory.current", "inactive_file")
    return {
        f"{folder}/{names[0]}": f"{limit}\n",
        f"{folder}/{names[1]}": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\n{names[2]} {inactive}\nslab 7\n",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, Ram(16 * GIB, 10 * GIB), id="no groups"),
        pytest.param(
            {"proc/self/cgroup": "0::/user/a\n", **_group(f"{V2}/user/a", "max")},
            Ram(16 * GIB, 10 * GIB),
            id="no limit",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/user/a\n", **_group(f"{V2}/user/a", 4 * GIB, 3 * GIB, GIB)},
            Ram(4 * GIB, 2 * GIB, True),
            id="a limit; mapped files count as free",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/a\n",
                **_group(f"{V2}/user/a", 8 * GIB, 0),
                **_group(f"{V2}/user", 6 * GIB, 5 * GIB),
            },
            Ram(6 * GIB, GIB, True),
            id="the limit of the group above",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/docker/not-seen-here\n", **_group(V2, 2 * GIB, GIB)},
            Ram(2 * GIB, GIB, True),
            id="in a container only the root is seen",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu:/x\n2:memory:/y\n",
                **_group(f"{V1}/y", 3 * GIB, GIB),
            },
            Ram(3 * GIB, 2 * GIB, True),
            id="version 1",
        ),
        pytest.param(
            {"proc/self/cgroup": "2:memory:/y\n", **_group(f"{V1}/y", 2**63 - 4096)},
            Ram(16 * GIB, 10 * GIB),
            id="version 1 without a limit",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/a\n", **_group(f"{V2}/a", GIB, 2 * GIB)},
            Ram(GIB, 0, True),
            id="more used than allowed",
        ),
    ],
)
def test_memory_and_groups(tmp_path: Path, files: dict[str, str], expected: Ram) -> None:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert linux_ram(tmp_path) == expected


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert linux_ram(tmp_path) == Ram(0, 0)


def test_this_machine() -> None:
    here = ram()
    assert GIB // 4 < here.free <= here.total
    assert cpu_name()
    assert n_cores() >= 1
