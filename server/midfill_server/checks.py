"""What `midfill doctor` looks at: each check is a function that answers with findings, and changes nothing.

llama.cpp is asked in a process of its own (`midfill.engines.llama_report`), which it may end.
"""

from __future__ import annotations

import hmac
import json
import os
import platform
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from midfill.abilities import chat_refusal
from midfill.engines.gguf_header import read_header
from midfill.engines.gguf_info import read_model
from midfill.engines.model_files import installed, located, models_folder
from midfill.engines.spawning import BUILD_ANEW
from midfill.engines.state import HostFiles, proof, state_folder
from midfill.errors import ModelError
from midfill.languages import grammar, languages
from midfill.settings import EngineSettings
from midfill.version import __version__
from midfill_models import embedded_model

Level = Literal["ok", "warning", "problem"]

REPORT_S = 20.0
"""For llama.cpp to tell about itself: half a second as a rule, more when a driver starts."""
_ANSWER_S = 1.0
_OLDEST_PYTHON = (3, 10)
_SLOW_GIB = 3
"""Weights of a model that a processor alone runs too slowly: a 7B model reads 20 to 40 tokens a second (measured)."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str
    level: Level = "ok"
    remedy: str = ""
    """A sentence, for all that is not ok."""
    details: tuple[str, ...] = ()


def run_checks(settings: EngineSettings) -> list[Finding]:
    """All of them. llama.cpp's own come last and run beside the others."""
    asking = None if settings.urls else _ask_llama(settings)
    found = [*check_python(), *check_grammars(), *check_folder(state_folder())]
    found += check_hosts(state_folder())
    found += check_models(models_folder(), settings)
    if asking is None:
        return [*found, *(finding for url in settings.urls for finding in check_server(url))]
    answer, status, error = _answered(asking)
    if answer is None:
        return [*found, llama_died(status, error)]
    found += [*check_llama(answer), *check_memory(answer), *check_model(answer)]
    return [*found, *check_purpose(settings.model)]


def check_python() -> list[Finding]:
    """The interpreter, the platform, and Midfill itself."""
    bits = "64" if sys.maxsize > 2**32 else "32"
    text = f"Python {platform.python_version()} ({bits} bits) on {platform.platform()}"
    old = sys.version_info[:2] < _OLDEST_PYTHON or bits == "32"
    return [
        Finding("Midfill", f"version {__version__}"),
        Finding(
            "Python",
            text,
            "problem" if old else "ok",
            "Midfill needs 64 bits and Python 3.10 or newer: install that." if old else "",
            (sys.executable,),
        ),
    ]


def check_grammars() -> list[Finding]:
    """Whether every language's grammar can be loaded."""
    broken = []
    names = [known.id for known in languages() if known.grammar]
    for name in names:
        try:
            grammar(name)
        except Exception as error:  # A wheel for another platform fails in many ways.
            broken.append(f"{name}: {error}")
    if broken:
        text = f"{len(broken)} of {len(names)} languages cannot be parsed"
        remedy = "Install Midfill again: pip install --force-reinstall midfill."
        return [Finding("languages", text, "warning", remedy, tuple(broken))]
    return [Finding("languages", f"{len(names)} grammars are loaded")]


def check_folder(folder: Path) -> list[Finding]:
    """The folder in which hosts leave their tokens: whoever reads them reads the user's code."""
    if not folder.exists():
        return [Finding("state folder", f"{folder} is made when it is needed")]
    level: Level = "ok"
    text, remedy = f"{folder} is this user's alone", ""
    status = folder.stat()
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        level, text = "problem", f"{folder} cannot be written"
        remedy = f"Take it away, or give this user all rights: chmod 700 {folder}."
    elif os.name == "posix" and status.st_uid != os.getuid():
        level, text = "problem", f"{folder} belongs to another user"
        remedy = "Name a folder of your own in MIDFILL_STATE_DIR."
    elif os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        level, text = "warning", f"{folder} may be read by others"
        remedy = f"It is mended at the next start, or with: chmod 700 {folder}."
    return [Finding("state folder", text, level, remedy)]


def check_hosts(folder: Path) -> list[Finding]:
    """The hosts that name themselves there, and whether they answer."""
    found = []
    for path in sorted(folder.glob("host-*.json")):
        files = HostFiles(folder, path.stem.removeprefix("host-"))
        state = files.read()
        if state is None:
            text, remedy = f"{path.name} is no state file", f"Take it away: {path}."
            found.append(Finding("host", text, "warning", remedy))
            continue
        answer = _host_answers(state.url, state.token)
        where = f"process {state.pid} at {state.url}, version {state.version}"
        if answer:
            found.append(_tested(where, *answer))
        else:
            remedy = "The next completion starts another; if none comes, its log tells why."
            text = f"{where} does not answer"
            found.append(Finding("host", text, "warning", remedy, (str(files.log_path),)))
    return found or [Finding("host", "none is running; the next completion starts one")]


def check_models(folder: Path, settings: EngineSettings) -> list[Finding]:
    """The model files that this user has, and where to get some."""
    topic, names = "models", sorted(installed(folder))
    size = sum(path.stat().st_size for path in installed(folder).values())
    text = f"{len(names)} file{'s' * (len(names) != 1)}, {size / 1e9:.1f} GB, in {folder}"
    if not names:
        text = f"there are no files in {folder}"
    if not settings.model and not settings.urls:
        text += (
            "; the embedded model is used, and `midfill models recommend` names better ones for "
            "this machine"
        )
    return [Finding(topic, text, details=tuple(names))]


def check_server(url: str) -> list[Finding]:
    """The server that `engine.url` names."""
    topic = "server"
    try:
        with httpx.Client(timeout=5 * _ANSWER_S) as client:
            status = client.get(url.rstrip("/") + "/health").status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        remedy = "Start it, or correct engine.url."
        reason = f"{url} does not answer ({type(error).__name__})"
        return [Finding(topic, reason, "problem", remedy)]
    if status == httpx.codes.OK:
        return [Finding(topic, f"{url} is ready")]
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        remedy = "Wait until its model is loaded."
        return [Finding(topic, f"{url} is still loading", "warning", remedy)]
    remedy = "See that engine.url names a llama-server."
    return [Finding(topic, f"{url} answers with status {status}", "warning", remedy)]


def check_llama(answer: Mapping[str, Any]) -> list[Finding]:
    """The build of llama.cpp, the GPUs that it sees, and whether it computes."""
    text = f"version {answer['version']} on {answer['n_cores']} cores of {answer['cpu']}"
    found = [Finding("llama.cpp", text, details=(answer["system"],))]
    for gpu in answer["gpus"]:
        free = f"{_gib(gpu['free'])} of {_gib(gpu['total'])} free"
        found.append(Finding("GPU", f"{gpu['name']} ({gpu['description']}), {free}"))
    if not answer["gpus"]:
        found.append(_no_gpu(answer["gpu_offload"]))
    probe = answer.get("probe")
    if probe and "error" in probe:
        remedy = "Install Midfill again: its embedded model does not work."
        found.append(Finding("self-test", probe["error"], "problem", remedy))
    elif probe and probe.get("defects"):
        remedy = "Install Midfill again: its embedded model does not work."
        text, defects = "the embedded model is not what it was", tuple(probe["defects"])
        found.append(Finding("self-test", text, "problem", remedy, defects))
    elif probe:
        text = (
            f"{probe['name']} loaded and computed {probe['tokens']} tokens in {probe['ms']:.0f} ms"
        )
        found.append(Finding("self-test", text, details=tuple(probe.get("right", ()))))
    return found


def check_memory(answer: Mapping[str, Any]) -> list[Finding]:
    """Main memory."""
    memory = answer["ram"]
    text = f"{_gib(memory['free'])} of {_gib(memory['total'])} free"
    if memory["limited"]:
        text += ", which is the limit of this process's control group"
    if memory["total"] > 0 and memory["free"] < 2**28:
        remedy = "Close what is not needed, or raise the limit."
        return [Finding("memory", text, "warning", remedy)]
    return [Finding("memory", text)]


def check_model(answer: Mapping[str, Any]) -> list[Finding]:
    """The model's file, and how it would be loaded."""
    if "model_error" in answer:
        remedy = "Name a sound GGUF file in engine.model, or none for the embedded one."
        return [Finding("model", answer["model_error"], "problem", remedy)]
    model = answer["model"]
    licence = model["licence"] or "no licence in its file"
    text = f"{model['name']} ({model['architecture']}, {model['n_layers']} layers, {licence})"
    if model["completes"]:
        remedy = "Take a base model with infill tokens, such as Code Llama 7B."
        found = Finding("model", model["completes"], "problem", remedy, (model["path"],))
    elif model["defects"]:
        remedy = "Fetch or convert it anew; it is used as it is, and completions may be wrong."
        text = f"{model['name']} has tokens that are not as they must be"
        details = (*model["defects"], model["path"])
        found = Finding("model", text, "warning", remedy, details)
    elif model["limits"]:
        remedy = "It works; take a base model with infill tokens for more."
        found = Finding("model", model["limits"], "warning", remedy, (model["path"],))
    else:
        found = Finding("model", text, details=(model["path"],))
    return [found, _plan(model), *_tuned(model)]


def check_instruct(path: Path) -> list[Finding]:
    """Whether the file that is to explain and edit was made for it: by its header."""
    topic = "instruct model"
    try:
        model = read_model(path)
        refused = chat_refusal(model)
    except ModelError as error:
        remedy = "Name a sound GGUF file in instruct.model."
        return [Finding(topic, str(error), "problem", remedy)]
    if refused:
        remedy = "Name another in instruct.model; until then explanations are facts only."
        return [Finding(topic, refused, "problem", remedy, (str(path),))]
    sound = Finding(topic, f"{model.name} explains and edits", details=(str(path),))
    return check_purpose(str(path), topic) or [sound]


def check_purpose(model: str, topic: str = "model") -> list[Finding]:
    """What a model's file says that it is for, where that is not to be used: those that travel for tests say so."""
    try:
        purpose = read_header(Path(model).expanduser()).text("midfill.purpose") if model else ""
    except ModelError:
        return []  # `check_model` has said so.
    if purpose != "tests":
        return []
    text = f"{Path(model).name} is for tests: what it explains is mostly false"
    return [Finding(topic, text, "warning", "Name another model in instruct.model.")]


def llama_died(status: int | None, error: str) -> Finding:
    """Why llama.cpp could not even tell about itself."""
    topic = "llama.cpp"
    if status is None:
        remedy = "A driver hangs, or the machine is very busy; try again."
        return Finding(topic, f"it did not answer in {REPORT_S:.0f} s", "problem", remedy)
    lines = tuple(error.strip().splitlines()[-3:])
    if os.name == "posix" and status == -signal.SIGILL:
        remedy = (
            "It was built on a newer processor: build it here, with `make setup` in a fresh clone."
        )
        return Finding(
            topic, "it uses an instruction that this processor has not", "problem", remedy
        )
    if "cannot be loaded" in error or "ModuleNotFoundError" in error:
        remedy = (
            "Install it with `pip install 'midfill[llama]'`, which needs a C++ compiler; if it is there, install the "
            f"GPU's driver that it names, or llama.cpp anew with `{BUILD_ANEW}`. Or set engine.url."
        )
        return Finding(topic, "it is not installed, or cannot be loaded", "problem", remedy, lines)
    remedy = "Build it anew: see docs/install.md."
    return Finding(topic, f"it ended with status {status}", "problem", remedy, lines)


def _plan(model: Mapping[str, Any]) -> Finding:
    plan = model["plan"]
    rows = [
        f"{share['device']}: {_gib(share['weights'])} weights, {_gib(share['kv'])} cache, "
        f"{_gib(share['compute'])} for computing; {_gib(share['free'])} free"
        for share in model["shares"]
    ]
    cache = f"{_gib(model['kv_per_1k'])} of cache for 1024 tokens; a text may have {plan['n_ctx']}."
    details = (*plan["reasons"], *rows, cache)
    text = f"it would be loaded {plan['said']}"
    short = any("The memory is short" in reason for reason in plan["reasons"])
    if short:
        remedy = "Close what is not needed, or take a smaller model or a smaller quantization."
        return Finding("plan", text, "warning", remedy, details)
    if sum(plan["gpu_layers"]) == 0 and model["weights"] > _SLOW_GIB << 30:
        remedy = "Take a smaller model, or a machine with a GPU (engine.url)."
        text += ", where a model of this size reads slowly"
        return Finding("plan", text, "warning", remedy, details)
    return Finding("plan", text, details=details)


def _tuned(model: Mapping[str, Any]) -> list[Finding]:
    tuned = model["tuned"]
    if sum(model["plan"]["gpu_layers"]):
        return []
    if not tuned:
        return [Finding("speed", "not measured yet: that is done once, while the model is idle")]
    order = "repacked" if tuned["repack"] else "as in the file"
    text = (
        f"{tuned['n_threads']} threads write and {tuned['n_threads_batch']} read, in batches of "
        f"{tuned['n_batch']}, weights {order}"
    )
    details = tuple(f"{name}: {ms:g} ms" for name, ms in tuned["ms"].items())
    return [Finding("speed", text, details=details)]


def _no_gpu(built_for_one: bool) -> Finding:
    if built_for_one:
        remedy = (
            "See that its driver works (nvidia-smi, vulkaninfo), and that this user may use it."
        )
        return Finding("GPU", "llama.cpp is built for one but sees none", "warning", remedy)
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        remedy = "Build it with CMAKE_ARGS=-DGGML_CUDA=on: see docs/install.md."
        text = "there is one of NVIDIA's, and llama.cpp is built without"
        return Finding("GPU", text, "warning", remedy)
    return Finding("GPU", "llama.cpp is built without, and there is none that it could use")


def _tested(where: str, says: str, test: Mapping[str, Any] | None) -> Finding:
    """A host that answers, and what came of the self-test of the model that completes."""
    if not test:
        return Finding("host", f"{where}: {says}")
    if test["defects"]:
        remedy = "Fetch or convert the model anew; completions may be wrong."
        text, defects = f"{where}: its model failed its self-test", tuple(test["defects"])
        return Finding("host", text, "warning", remedy, defects)
    text = f"{where}: {says}, its model passed its self-test in {test['ms']:.0f} ms"
    return Finding("host", text, details=tuple(test["right"]))


def _host_answers(url: str, token: str) -> tuple[str, Mapping[str, Any] | None] | None:
    """What a host says of itself, and its self-test if there was one; None if it does not answer, or cannot prove
    that it knows the token."""
    nonce = secrets.token_hex(16)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        suppress(httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError),
        httpx.Client(base_url=url, timeout=_ANSWER_S, trust_env=False) as client,
    ):
        shown = client.get("/proof", params={"nonce": nonce}).json()["proof"]
        if hmac.compare_digest(shown, proof(token, nonce)):
            health = client.get("/health", headers=headers)
            if health.status_code != httpx.codes.OK:
                return str(health.json()["error"]["message"]), None
            props = client.get("/props", headers=headers).json()
            return "ready", props["midfill"].get("self_test")
    return None


def _ask_llama(settings: EngineSettings) -> subprocess.Popen[str]:
    embedded: Path | None = None
    with suppress(FileNotFoundError):
        embedded = embedded_model()
    model: str | Path | None = embedded
    if settings.model:
        # Whatever else is wrong with it is told as one finding of many.
        model = settings.model
        with suppress(ModelError):
            model = located(settings.model)
    asked = {
        "model": str(model or "the embedded model"),
        "settings": asdict(settings),
        "probe": str(embedded or ""),
    }
    environment = {"OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"} | os.environ
    process = subprocess.Popen(
        [sys.executable, "-m", "midfill.engines.llama_report"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Python looks for modules in the folder it is started in; a person's may be anyone's work.
        cwd=sys.prefix,
        env=environment,
    )
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
    return process


def _answered(process: subprocess.Popen[str]) -> tuple[dict[str, Any] | None, int | None, str]:
    """What it said; else its exit status, None if it goes on, and what it said about that."""
    try:
        said, error = process.communicate(timeout=REPORT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, None, ""
    with suppress(ValueError):
        answer: dict[str, Any] = json.loads(said)
        return answer, process.returncode, error
    return None, process.returncode, error


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level among them."""
    levels = {finding.level for finding in findings}
    return "problem" if "problem" in levels else "warning" if "warning" in levels else "ok"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 / 10 else f"{n_bytes / 2**20:.1f} MiB"
