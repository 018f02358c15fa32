"""`make test-offload`: the engine with layers on a GPU, where there is none.

Builds llama.cpp with Vulkan into `.cache/offload` and runs `tests/offload` on Mesa's software device, which
computes on the CPU but is driven, filled and refused as a GPU is. The first run compiles for 10 to 30 minutes
and translates shaders for some more; later ones take a minute or two. VK_DRIVER_FILES in the environment names
another device than Mesa's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache" / "offload"
HEADERS = HOME / "headers" / "usr" / "include"

_DRIVERS = (Path("/usr/share/vulkan/icd.d"), Path("/usr/local/share/vulkan/icd.d"))
_NEW_ENOUGH = "VK_EXT_layer_settings"
"""An extension that llama.cpp's sources use, and that the headers before 1.3.268 lack."""


def main() -> None:
    missing = list(_missing())
    if missing:
        sys.exit(
            "make test-offload cannot run, NOTHING WAS TESTED:\n"
            + "".join(f"* {sentence}\n" for sentence in missing)
            + "On Debian and Ubuntu: apt-get install mesa-vulkan-drivers libvulkan-dev glslc spirv-headers cmake g++"
        )
    site = HOME / "site"
    if not (site / "llama_cpp").is_dir():
        _build(site)
    driver = os.environ.get("VK_DRIVER_FILES") or str(_driver())
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))),
        "VK_DRIVER_FILES": driver,
        "VK_ICD_FILENAMES": driver,  # the same, for older loaders
        "GGML_VK_VISIBLE_DEVICES": os.environ.get("GGML_VK_VISIBLE_DEVICES", "0"),
        "MESA_SHADER_CACHE_DIR": str(HOME / "shaders"),
        "MIDFILL_OFFLOAD_REQUIRED": "1",
    }
    tests = [sys.executable, "-m", "pytest", "tests/offload", "--durations=5", *sys.argv[1:]]
    sys.exit(subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode)


def _missing() -> Iterator[str]:
    if _driver() is None and "VK_DRIVER_FILES" not in os.environ:
        yield "There is no Mesa software device (lvp_icd*.json of mesa-vulkan-drivers)."
    if (HOME / "site" / "llama_cpp").is_dir():
        return
    for program, package in (("glslc", "glslc"), ("c++", "g++")):
        if shutil.which(program) is None:
            yield f"There is no {program} (package {package})."
    header = _headers() / "vulkan" / "vulkan_core.h"
    if not header.is_file():
        yield "There are no Vulkan headers (package libvulkan-dev)."
    elif _NEW_ENOUGH not in header.read_text("utf-8", "replace"):
        yield (
            f"The Vulkan headers in {_headers()} are older than 1.3.268. Take those of a newer release, such as "
            f"Debian 13's libvulkan-dev: dpkg -x libvulkan-dev_*.deb {HOME / 'headers'}"
        )


def _driver() -> Path | None:
    return next((path for folder in _DRIVERS for path in folder.glob("lvp_icd*.json")), None)


def _headers() -> Path:
    sdk = os.environ.get("VULKAN_SDK")
    folders = (HEADERS, *([Path(sdk) / "include"] if sdk else []), Path("/usr/include"))
    return next((folder for folder in folders if (folder / "vulkan").is_dir()), folders[-1])


def _build(site: Path) -> None:
    """From sources that stay, so that a build that was broken off goes on."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    sources = HOME / "sources"
    if not sources.is_dir():
        HOME.mkdir(parents=True, exist_ok=True)
        fetched = HOME / "fetched"
        match = re.search(
            r'"(llama-cpp-python==[^"]+)"', (ROOT / "pyproject.toml").read_text("utf-8")
        )
        assert match, "pyproject.toml pins llama-cpp-python"
        wanted = ["--no-deps", "--no-binary", "llama-cpp-python", "-d", str(fetched), match[1]]
        _run([*pip, "-q", "download", *wanted])
        with tarfile.open(next(fetched.glob("*.tar.gz"))) as archive:
            archive.extractall(fetched)
        next(path for path in fetched.iterdir() if path.is_dir()).rename(sources)
        shutil.rmtree(fetched)
    print("Building llama.cpp with Vulkan: this takes 10 to 30 minutes, once.", flush=True)
    options = f"-DGGML_VULKAN=on -DLLAVA_BUILD=OFF -DVulkan_INCLUDE_DIR={_headers()}"
    wheels = HOME / "wheels"
    _run(
        [
            *(*pip, "wheel", "--no-deps", "-C", f"build-dir={HOME / 'build'}"),
            *("-w", str(wheels), str(sources)),
        ],
        {**os.environ, "CMAKE_ARGS": options},
    )
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(site)


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        sys.exit("llama.cpp could not be built with Vulkan; see above.")


if __name__ == "__main__":
    main()
