"""`python -m bench.gpu`: what a CUDA machine makes of the engine, on a machine that reaches no network.

Everything that machine lacks is carried in a folder that a connected one of the same processor makes:

    python -m bench.gpu carry --to carried --python 3.12

The target needs Python of that version, a C++ compiler and the CUDA toolkit (nvcc). What it has besides need not
be carried: `--have cmake --have ninja --have numpy` brings the folder from 56 MiB to 11. There, in this
repository or in `carried/midfill`:

    python -m bench.gpu run --carried carried --work WORK

That is the same as these, one after the other. Each keeps what it has done in `--work` and goes on from there when
it is called again, so that a limit on the time of one command loses no more than the step it stops:

    python -m bench.gpu build --carried carried --work WORK     # llama.cpp with CUDA: the longest
    python -m bench.gpu models --work WORK                      # 32 layers in three types, 25 GiB
    python -m bench.gpu measure --work WORK                     # a process for each figure
    python -m bench.gpu report --work WORK --machine "1x H200"  # report.json, report.md

Where commands end after ten minutes and the machine is lent for thirty, as on a rented one, call `build` in the first,
with `--jobs` as many as there are cores, and the others together in the second; `build` again if it was not done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

TYPES = ("q4_k_m", "q8_0", "f16")
MEASURES = ("offload", "speed", "llama_bench", "typing", "cancels", "drafting", "both_roles", "fallback")  # fmt: skip
"""In the order of the report. All but llama-bench, which is a program, are functions of `bench.gpu_measures`."""

BACKENDS = {"cuda": "-DGGML_CUDA=on", "vulkan": "-DGGML_VULKAN=on", "cpu": ""}
_MEASURE_LIMIT_S = 420

_BUILD_NEEDS = ("scikit-build-core[pyproject]", "cmake", "ninja")
_RUN_NEEDS = ("numpy", "jinja2", "diskcache", "typing-extensions", "gguf")

_LEFT_OUT = (
    ".git",
    *(
        f"vendor/llama.cpp/{part}"
        for part in (
            "docs",
            "tests",
            "benches",
            "examples",
            "media",
            "models",
            "tools/ui",
            "gguf-py",
        )
    ),
)
"""What no library or llama-bench is made of: nine tenths of the source distribution."""
_VOCABULARY = "vendor/llama.cpp/models/ggml-vocab-llama-spm.gguf"


# On the connected machine


def carry(to: Path, sdist: Path | None, python: str, have: list[str]) -> None:
    """Collect what the target lacks."""
    to.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download"]
    if sdist is None:
        print(f"Fetching the sources of {requirement()}", flush=True)
        source = to / "whole"
        _run(
            [*pip, "--no-deps", "--no-binary", "llama-cpp-python", "-d", str(source), requirement()]
        )
        (sdist,) = source.glob("*.tar.gz")
    slim_sdist(sdist, to / sdist.name)
    shutil.rmtree(to / "whole", ignore_errors=True)
    print(f"Fetching wheels for Python {python}", flush=True)
    wheels = to / "wheels"
    tags = [f"manylinux_2_{minor}_{platform.machine()}" for minor in range(39, 16, -1)]
    tags += [f"manylinux2014_{platform.machine()}", f"manylinux1_{platform.machine()}"]
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    target += [part for tag in tags for part in ("--platform", tag)]
    _run([*pip, *target, "-d", str(wheels), *_BUILD_NEEDS, *_RUN_NEEDS])
    for wheel in wheels.glob("*.whl"):
        if wheel.name.split("-")[0].lower().replace("_", "-") in have:
            wheel.unlink()
    midfill = to / "midfill"
    shutil.rmtree(midfill, ignore_errors=True)
    not_needed = shutil.ignore_patterns("__pycache__", "results")
    for part in ("fim", "bench"):
        shutil.copytree(ROOT / part, midfill / part, ignore=not_needed)
    shutil.copy(ROOT / "pyproject.toml", midfill)
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    print(f"{to}: {size / 2**20:.1f} MiB")


def slim_sdist(sdist: Path, slim: Path) -> None:
    """The same source distribution without `_LEFT_OUT`, but with the vocabulary that `bench.shapes` reads."""
    with tarfile.open(sdist) as whole, tarfile.open(slim, "w:gz") as out:
        for member in whole:
            inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if str(inside) == _VOCABULARY or not any(
                inside.is_relative_to(part) for part in _LEFT_OUT
            ):
                out.addfile(member, whole.extractfile(member) if member.isfile() else None)


def requirement() -> str:
    """What Midfill pins."""
    match = re.search(r'"(llama-cpp-python==[^"]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert match, "pyproject.toml pins llama-cpp-python"
    return match[1]


# On the target


def build(carried: Path, work: Path, backend: str, jobs: int, cmake_args: str) -> None:
    """llama-cpp-python and llama-bench from the carried sources, into `work/site` and `work/llama-bench`."""
    done = work / "built"
    if done.exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    site, sources, binaries = work / "site", work / "sources", work / "build"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = ["--no-index", "--no-deps"]
    install = [*pip, "install", *offline, "--upgrade", "--target", str(site)]
    wheels = sorted(map(str, (carried / "wheels").glob("*.whl")))
    if wheels and not site.exists():
        _run([*install, *wheels])
    if not sources.exists():
        # In one place, so that a second call compiles only what is left.
        (sdist,) = carried.glob("llama_cpp_python-*.tar.gz")
        unpacked = work / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked)
        (root,) = unpacked.iterdir()
        root.rename(sources)
    environment = _environment(work) | {
        "CMAKE_ARGS": f"-DLLAVA_BUILD=OFF {BACKENDS[backend]} {cmake_args}",
        "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
    }
    _run(
        [
            *(*pip, "wheel", "-v", *offline, "--no-build-isolation"),
            *("-C", f"build-dir={binaries}", "-w", str(work / "wheel"), str(sources)),
        ],
        environment,
        work / "build.log",
    )
    (wheel,) = (work / "wheel").glob("*.whl")
    _run([*install, str(wheel)])
    _build_llama_bench(work, environment)
    done.touch()


def _build_llama_bench(work: Path, environment: Mapping[str, str]) -> None:
    """Its two files against the libraries that are there: the wheel's build makes no programs."""
    llama = work / "sources" / "vendor" / "llama.cpp"
    libraries = work / "site" / "llama_cpp" / "lib"
    command = ["c++", "-O2", "-std=c++17", "-pthread", "-o", str(work / "llama-bench")]
    for folder in ("include", "ggml/include", "common", "vendor", "tools/llama-bench"):
        command += ["-I", str(llama / folder)]
    command += [
        str(llama / "tools" / "llama-bench" / name) for name in ("llama-bench.cpp", "main.cpp")
    ]
    common = [*work.glob("build/**/libllama-common*.a"), *work.glob("build/**/libllama-common*.so")]
    # The libraries of the wheel are found before those of the build, which are the same.
    command += [f"-L{libraries}", *dict.fromkeys(map(str, sorted(common)))]
    command += ["-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{libraries}"]
    command += [f"-Wl,-rpath,{folder}" for folder in sorted({str(path.parent) for path in common})]
    command += ["-Wl,--allow-shlib-undefined"]
    _run(command, environment, work / "build.log")


def models(work: Path, n_layers: int, types: list[str]) -> None:
    """Make the models, with Llama's own vocabulary."""
    vocabulary = work / "sources" / _VOCABULARY
    for weights in types:
        path = model_path(work, weights, n_layers)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "bench.shapes", str(path), "--type", weights]
            command += ["--layers", str(n_layers), "--vocab", str(vocabulary)]
            _run(command, _environment(work))


def model_path(work: Path, weights: str, n_layers: int) -> Path:
    """Where a model lies."""
    return work / "models" / f"shape-{n_layers}-{weights}.gguf"


def measure(work: Path, names: list[str], n_gpu_layers: int, sizes: str) -> None:
    """Each figure of each model that is not there yet, in a process of its own: a crash costs one figure."""
    for path in sorted((work / "models").glob("*.gguf")):
        for name in names:
            out = work / "results" / f"{path.stem}.{name}.json"
            if out.exists():
                continue
            print(f"{path.stem}: {name}", flush=True)
            out.parent.mkdir(exist_ok=True)
            command = [sys.executable, "-m", "bench.gpu", "one", name, str(path)]
            command += ["--work", str(work), "--gpu-layers", str(n_gpu_layers), "--sizes", sizes]
            with (work / "measure.log").open("ab") as log:
                try:
                    done = subprocess.run(
                        command,
                        cwd=ROOT,
                        env=_environment(work),
                        stdout=subprocess.PIPE,
                        stderr=log,
                        timeout=_MEASURE_LIMIT_S,
                        check=False,
                    )
                except subprocess.TimeoutExpired:
                    out.write_text(json.dumps({"error": f"not done in {_MEASURE_LIMIT_S} s"}))
                    continue
            found = done.stdout if done.returncode == 0 else b""
            error = {"error": f"status {done.returncode}; see measure.log"}
            out.write_bytes(found or json.dumps(error).encode())


def one(name: str, path: Path, work: Path, n_gpu_layers: int, sizes_text: str) -> None:
    """One figure, as JSON."""
    # Only here is llama.cpp loaded, in an environment that finds it.
    from bench.gpu_measures import Sizes, figures, llama_bench  # noqa: PLC0415

    from midfill.settings import EngineSettings  # noqa: PLC0415

    sizes = Sizes(*map(int, sizes_text.split(","))) if sizes_text else Sizes()
    settings = EngineSettings(n_gpu_layers=n_gpu_layers)
    if name == "llama_bench":
        n_layers = 999 if n_gpu_layers < 0 else n_gpu_layers
        n_threads = max(1, (os.cpu_count() or 2) - 1)
        found: dict[str, Any] = {
            label: llama_bench(work / "llama-bench", path, n_layers, n_threads, sizes, *extra)
            for label, extra in {
                "as llama-bench does": (),
                "in our batches": ("-b", "256", "-ub", "256"),
            }.items()
        }
    else:
        found = figures(name, path, settings, sizes)
    print(json.dumps(found))


def report(work: Path, machine: str) -> str:
    """All figures as `report.json`, and as a table in `report.md`, which is also returned."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((work / "results").glob("*.json")):
        model, name = path.name.removesuffix(".json").split(".", 1)
        found.setdefault(model, {})[name] = json.loads(path.read_bytes())
    whole = {"machine": machine or platform.platform(), "models": found}
    (work / "report.json").write_text(json.dumps(whole, indent=1) + "\n")
    names = list(dict.fromkeys(row for model in found.values() for row, _ in _rows(model)))
    cells = {model: dict(_rows(figures_)) for model, figures_ in found.items()}
    lines = [
        f"Midfill on {whole['machine']}; prompts and texts of `bench.gpu_measures`.",
        "",
        "| | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
        *(
            f"| {name} | " + " | ".join(str(cells[model].get(name, "")) for model in found) + " |"
            for name in names
        ),
    ]
    text = "\n".join(lines) + "\n"
    (work / "report.md").write_text(text)
    return text


def _rows(model: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The table's rows: every figure by the path of its names, and how our speed compares."""
    for name in sorted(model, key=lambda name: MEASURES.index(name) if name in MEASURES else 99):
        yield from _flat(name, model[name])
    ours = model.get("speed", {})
    for label, theirs in model.get("llama_bench", {}).items():
        for figure in ("prefill_tokens_per_s", "decode_tokens_per_s"):
            if isinstance(theirs, dict) and figure in ours and theirs.get(figure):
                yield f"{figure}: of llama-bench, {label}", round(ours[figure] / theirs[figure], 3)


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}: {key}", inner)
    elif isinstance(value, list):
        yield name, "; ".join(map(str, value))
    elif isinstance(value, bool):
        yield name, "yes" if value else "**no**"
    else:
        yield name, value


def _environment(work: Path) -> dict[str, str]:
    site = work / "site"
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    paths = [str(site), str(ROOT / "fim"), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    programs = [str(site / "bin"), os.environ.get("PATH", "")]
    cuda = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    if cuda.is_dir():
        programs.append(str(cuda / "bin"))
        libraries = [os.environ.get("LD_LIBRARY_PATH", ""), str(cuda / "lib64")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    environment["PATH"] = os.pathsep.join(programs)
    return environment


def _run(
    command: list[str], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> None:
    """Run it, with its output in `log` if there is one; where it fails, say so and end."""
    out = log.open("ab") if log else None
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=out, stderr=out, check=False
    ).returncode
    if out:
        out.close()
    if done:
        seen = f"; the end of {log}:\n{log.read_text('utf-8', 'replace')[-3000:]}" if log else ""
        sys.exit(f"{' '.join(command[:6])} … failed{seen}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)

    def step(name: str, *groups: str) -> argparse.ArgumentParser:
        added = steps.add_parser(name)
        if "build" in groups:
            added.add_argument("--carried", type=Path, required=True)
            added.add_argument("--backend", choices=BACKENDS, default="cuda")
            added.add_argument("--jobs", type=int, default=os.cpu_count())
            added.add_argument("--cmake-args", default="", help="more for CMake")
        if "work" in groups:
            added.add_argument("--work", type=Path, required=True)
        if "models" in groups:
            added.add_argument("--layers", type=int, default=32)
            added.add_argument("--type", action="append", dest="types", choices=(*TYPES, "q4_0"))
        if "measure" in groups:
            added.add_argument("--only", action="append", dest="names", choices=MEASURES)
        if groups and {"measure", "one"} & set(groups):
            added.add_argument("--gpu-layers", type=int, default=-1)
            added.add_argument("--sizes", default="", help="prompt, generated, rounds: 2048,128,5")
        if "report" in groups:
            added.add_argument("--machine", default="", help="for the report")
        return added

    carrying = step("carry")
    carrying.add_argument("--to", type=Path, required=True)
    carrying.add_argument("--sdist", type=Path, help="of llama-cpp-python, if it is at hand")
    carrying.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}")
    carrying.add_argument("--have", action="append", default=[], help="a package not to carry")
    step("build", "work", "build")
    step("models", "work", "models")
    step("measure", "work", "measure")
    step("report", "work", "report")
    step("run", "work", "build", "models", "measure", "report")
    single = step("one", "work", "one")
    single.add_argument("name", choices=MEASURES)
    single.add_argument("path", type=Path)
    return parser


def main() -> None:
    wanted = _parser().parse_args()
    if wanted.step == "carry":
        carry(wanted.to, wanted.sdist, wanted.python, wanted.have)
    if wanted.step == "one":
        one(wanted.name, wanted.path, wanted.work.resolve(), wanted.gpu_layers, wanted.sizes)
    if wanted.step in ("build", "run"):
        jobs, more = wanted.jobs, wanted.cmake_args
        build(wanted.carried.resolve(), wanted.work.resolve(), wanted.backend, jobs, more)
    if wanted.step in ("models", "run"):
        models(wanted.work.resolve(), wanted.layers, wanted.types or list(TYPES))
    if wanted.step in ("measure", "run"):
        names = wanted.names or list(MEASURES)
        measure(wanted.work.resolve(), names, wanted.gpu_layers, wanted.sizes)
    if wanted.step in ("report", "run"):
        print(report(wanted.work.resolve(), wanted.machine))


if __name__ == "__main__":
    main()
