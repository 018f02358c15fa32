"""`midfill models info`: what it prints, in how much memory, and what it says of files that are none."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from gguf import LlamaFileType

from gguf_models import codellama_pieces, role_model, tiny_model
from midfill.engines.gguf_info import _QUANTIZATIONS
from midfill_models import embedded_model
from midfill_server.cli import cli

CHAT = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"


def _info(path: Path, *options: str) -> str:
    done = CliRunner().invoke(cli, ["models", "info", str(path), *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_what_it_prints_for_a_person() -> None:
    assert _info(embedded_model()).splitlines() == [
        "midfill-small: llama, Q8_0, 4 layers, 4.3 MiB of weights",
        "  infill    SPM, as codellama is asked (has <PRE>, <SUF>, <MID>, <EOT>)",
        "  prefix    no (it infills, which is more)",
        "  chat      no (its file has no chat template)",
        "  thinking  no (its template has no <think>)",
        "  context   768 tokens (its file names them (context_length))",
        "  licence   Apache-2.0 (its file names it (general.license))",
        "  memory    by tokens of context 768: 7.1 MiB (weights, cache in f16, buffers)",
        "  about, in other quantizations        768",
        "  Q4_0                             5.4 MiB",
        "  Q4_K_M                           5.5 MiB",
        "  Q5_K_M                           5.8 MiB",
        "  Q6_K                             6.2 MiB",
        "  Q8_0                             7.1 MiB",
        "  F16                             10.9 MiB",
        "It can be set as engine.model.",
        "midfill-small has no chat template, so it cannot explain or edit; name an instruct model in "
        "instruct.model, such as Code Llama 7B or 13B Instruct.",
    ]


def test_what_it_prints_for_a_program(tmp_path: Path) -> None:
    path = role_model(
        tmp_path / "codellama-34b-instruct.gguf",
        codellama_pieces(),
        chat_template=CHAT,
        names={"general.license": "llama2"},
    )
    told = json.loads(_info(path, "--json"))
    assert told["roles"] == ["instruct"]
    infill = told["abilities"]["infill"]
    assert (infill["has"], infill["what"]) == (False, "")
    assert infill["why"].startswith("has <PRE>, <SUF>, <MID>, <EOT>, but was trained to follow")
    assert told["abilities"]["chat"]["what"] == "the template of its file (Llama 2 or Mistral)"
    assert told["abilities"]["licence"]["what"] == "llama2"
    assert "Code Llama 7B or 13B base" in told["refusals"][0]
    memory = {int(n_ctx): n_bytes for n_ctx, n_bytes in told["memory_bytes"].items()}
    assert list(memory) == [2048, 4096, 8192]
    # A cell: one layer, keys and values of 32 numbers in half precision; and the buffers grow with it.
    assert memory[4096] - memory[2048] >= 2048 * 2 * 32 * 2
    assert memory[2048] > told["weights_bytes"]
    quantized = told["memory_bytes_quantized"]
    assert list(quantized) == ["Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"]
    assert quantized["Q4_0"]["4096"] < quantized["F16"]["4096"]
    assert quantized["F16"]["4096"] - quantized["F16"]["2048"] == memory[4096] - memory[2048]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        pytest.param("{% for %}", "does not work", id="broken"),
        pytest.param("{{ raise_exception('no users here') }}", "refuses", id="refuses"),
        pytest.param("{{ 'x' * 10**10 }}", "does not work", id="hostile"),
    ],
)
def test_a_template_that_cannot_be_used_is_no_chat(tmp_path: Path, template: str, why: str) -> None:
    path = tiny_model(tmp_path / "m.gguf", chat_template=template)
    told = json.loads(_info(path, "--json"))
    assert told["abilities"]["chat"]["has"] is False
    assert why in told["abilities"]["chat"]["why"]
    assert "instruct" not in told["roles"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param(b"", "ends in its header", id="empty"),
        pytest.param(b"PK\x03\x04" * 8, "does not begin with GGUF", id="another format"),
    ],
)
def test_what_is_no_model_file_is_one_sentence(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "m.gguf"
    if content is not None:
        path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "midfill_server", "models", "info", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr


def test_quantizations_are_called_as_llama_cpp_calls_them() -> None:
    known = {kind.value: kind.name.partition("_")[2] for kind in LlamaFileType}
    assert all(_QUANTIZATIONS[kind] == name for kind, name in known.items() if kind <= 32)


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files, and /proc")
def test_ten_gigabytes_take_less_than_100_mb(tmp_path: Path) -> None:
    """A vocabulary as large as Gemma's, with merges, and a tensor that is no bytes on the disk."""
    path, n_tokens = tmp_path / "large.gguf", 262_144

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def texts(key: str, values: list[bytes]) -> bytes:
        return text(key) + struct.pack("<IIQ", 9, 8, len(values)) + b"".join(values)

    def number(key: str, value: int) -> bytes:
        return text(key) + struct.pack("<II", 4, value)

    tokens = [text(f"a token of some length {idx}") for idx in range(n_tokens)]
    tokens[7:11] = map(text, ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"))
    kinds = struct.pack(f"<{n_tokens}i", *([1] * n_tokens))
    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        number("llama.block_count", 1),
        number("llama.context_length", 4096),
        number("llama.embedding_length", 4096),
        number("llama.attention.head_count", 32),
        texts("tokenizer.ggml.tokens", tokens),
        texts("tokenizer.ggml.merges", [text("a b")] * n_tokens),
        text("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, n_tokens) + kinds,
    ]
    tensor = text("blk.0.attn_q.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries)) + b"".join(entries) + tensor
    path.write_bytes(header)
    with path.open("r+b") as file:
        file.truncate(10 << 30)
    # What the imports take is not counted: the same on a file of a few kilobytes.
    program = (
        "import sys\nfrom pathlib import Path\nfrom click.testing import CliRunner\n"
        "from midfill_server.cli import cli\n"
        # Not ru_maxrss, which a process has of the one that started it.
        "def used(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "def info(path): return CliRunner().invoke(cli, ['models', 'info', path]).output\n"
        "info(sys.argv[1])\nbefore = used()\nprint(info(sys.argv[2]))\n"
        "print((used() - before) // 1024)"
    )
    small = tiny_model(tmp_path / "small.gguf")
    done = subprocess.run(
        [sys.executable, "-c", program, str(small), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    *said, used_mib = done.stdout.split("\n")[:-1]
    assert "10.0 GiB of weights" in said[0]
    assert "has <PRE>, <SUF>, <MID>, <EOT>" in done.stdout
    assert int(used_mib) < 20  # 100 are allowed; the vocabulary as a whole takes 24.
