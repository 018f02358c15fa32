"""The model card and the loss plot, written from the records of a run and from nothing else.

Whatever the card claims was measured by a step of the pipeline and left as JSON in the work folder, so a card
cannot be more favourable than its model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from training.evaluate import table
from training.export import load_checkpoint
from training.presets import ModelShape, load_preset

PURPOSES = {
    "tiny": "It tests the pipeline and knows nothing.",
    "nano": "It is for tests: it has the right shape, control tokens and speed, and knows next to nothing.",
    "small": "It is what Midfill completes with when no other model is named.",
    "small-both": "It is `small`, taught both orders: for comparisons with servers that know one only.",
    "base": "It is what a machine with a GPU can make of the same corpus.",
}

ORDERS = {
    "spm": "SPM: `<s> ▁<PRE> ▁<SUF> suffix ▁<MID> prefix`",
    "psm": "PSM: `<s> ▁<PRE> prefix ▁<SUF> suffix ▁<MID>`",
}


def plot_losses(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Validation losses over tokens seen, in nats per token."""
    figure = Figure(figsize=(6, 3.2), dpi=90, layout="tight")
    axes = figure.subplots()
    for group in ("context", "middle", "end"):
        points = [
            (entry["tokens"] / 1e6, entry["validation"][group])
            for entry in log
            if group in entry["validation"]
        ]
        axes.plot(*zip(*points, strict=True), label=group)
    axes.set_xlabel("million tokens seen")
    axes.set_ylabel("nats per token, validation files")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Software": ""})


def loss_table(log: Sequence[Mapping[str, Any]], n_rows: int = 12) -> str:
    """About a dozen points of the curve, the first and the last among them."""
    step = max(1, (len(log) - 1) // (n_rows - 1))
    chosen = [*log[:-1:step], log[-1]]
    lines = ["| million tokens | phase | context | middle | end |", "|---|---|---|---|---|"]
    for entry in chosen:
        phase = "constant rate" if entry["decay"] is None else f"decay {entry['decay']:.0%}"
        losses = entry["validation"]
        lines.append(
            f"| {entry['tokens'] / 1e6:.2f} | {phase} | {losses['context']:.3f} | {losses.get('middle', 0):.3f} | "
            f"{losses.get('end', 0):.3f} |"
        )
    return "\n".join(lines)


def overlap_lines(overlap: Mapping[str, Any]) -> str:
    names = {"held_out": "files never trained on", "train": "files trained on"}
    lines = []
    for name, figures in overlap.items():
        chars = ", ".join(map(str, figures["longest_chars"]))
        lines.append(
            f"* Continuing {names[name]}: {figures['answers_with_a_span']} of {figures['answers']} "
            f"answers hold a span of 32 or more characters that stands verbatim in the training text; "
            f"the longest have {chars} characters."
        )
    lines.append(
        "* Found by windows of 32 characters, so an answer that loops counts as one long span."
    )
    longest = [span for figures in overlap.values() for span in figures["longest_spans"]]
    if longest:
        lines += ["", "The longest of all:", "", "```", max(longest, key=len), "```"]
    return "\n".join(lines)


def write_card(preset: str, work: Path) -> str:
    def record(name: str) -> Any:
        return json.loads((work / name).read_text(encoding="utf-8"))

    shape, weights, state = load_checkpoint(work / "release.pt")
    manifest, evaluation = record("corpus/manifest.json"), record("evaluation.json")
    parity, overlap, overfit = record("parity.json"), record("overlap.json"), record("overfit.json")
    position, log = state["position"], state["log"]
    trained = [package for package in manifest["packages"] if "train" in package["splits"]]
    n_bytes = sum(package["splits"]["train"]["bytes"] for package in trained)
    held = manifest["held_out"]
    losses = ", ".join(f"{kind} {nats:.2f}" for kind, nats in log[-1]["validation"].items())
    return f"""\
# midfill-{preset}

A fill-in-the-middle model for Python, small enough to travel with Midfill. It continues what
stands around the caret; it does not know libraries, and it is no chat model. {PURPOSES[preset]}
This card was written by `models/training/card.py` from the records of the run.

| | |
|---|---|
| architecture | llama: {describe(shape)} |
| parameters | {sum(tensor.numel() for tensor in weights.values()) / 1e6:.2f}M (embeddings shared with the output) |
| tokenizer | SentencePiece-kind BPE, {shape.vocabulary} pieces, byte fallback, Code Llama's control tokens |
| infilling order | {", ".join(map(ORDERS.__getitem__, load_preset(preset).orders))}; ends with `▁<EOT>` |
| context | {shape.context} tokens |
| trained on | {position["tokens"] / 1e6:.1f}M tokens, pass {position["epoch"] + 1} over the corpus |
| licence | Apache-2.0; sources of the training text in `NOTICE` |

## Data

{n_bytes / 1e6:.1f} MB of Python: the standard library and {len(trained) - 1} permissively licensed
packages, all from what the training environment installs and `models/training/manifest.json` lists
with versions, licences and hashes. Never trained on: the packages {", ".join(held["packages"])},
and of the standard library {", ".join(held["stdlib"])}.

## Held-out results

Greedy, through llama.cpp, on the same holes. The answer is cut by what stands after the caret, never
by the true length. *copy* is what followed the longest earlier repetition of the text before the
caret. *stopped*: by the end token or, in one line, a newline, within 48 tokens.

{table(evaluation)}

## Loss

![Loss curve](midfill-{preset}-loss.png)

Nats per token on a few standard-library modules not trained on. The last row by kind of span: {losses}.

{loss_table(log)}

## Checks of the path

* {overfit["examples"]} examples learned by heart, then asked through Q8_0 and llama.cpp from text:
  {overfit["exact_through_llama_cpp"]:.0%} exact.
* PyTorch against llama.cpp on infilling prompts, the same first choice at {parity["f16"]["positions"]}
  positions: F32 {parity["f32"]["top1"]:.2%}, F16 {parity["f16"]["top1"]:.2%}, Q8_0 {parity["q8_0"]["top1"]:.2%}.

## Overlap with the training text

{overlap_lines(overlap)}

## Limits

* Python only. Other languages come out as Python, or as noise.
* Anything longer than a line is mostly wrong. Names that do not stand in the file are mostly invented.
* Suggestions may repeat training text, as measured above. Check the licence of anything long that you keep.
"""


INSTRUCT_FIGURES = "instruct.json"
"""In the work folder: what `python -m bench.instruct --model FILE --out FILE` measured of the exported model."""


def write_instruct_card(preset: str, work: Path) -> str:
    """The card of a model that is taught to answer, which nobody is to take for more than it is."""
    shape, weights, state = load_checkpoint(work / "release.pt")
    log, settings = state["log"], load_preset(preset)
    seen = state["position"]["step"] * settings.step_tokens / 1e6
    n_weights = sum(tensor.numel() for tensor in weights.values())
    begun = state["position"]["tokens"] / 1e6 - seen
    minutes = state["position"]["seconds"] / 60
    return f"""\
# midfill-{preset}

**For tests only.** It answers what Midfill asks of an instruct model, so that the whole path can be tested without a
download: conversation, streaming, verification, edit or refusal. It understands nothing. What it says in an
explanation is mostly false, and an edit that it makes and that is verified may still be wrong. Midfill never uses it
unless `instruct.model` names it, and `midfill doctor` says what it is.
This card was written by `models/training/card.py` from the records of the run.

| | |
|---|---|
| architecture | llama: {describe(shape)} |
| parameters | {n_weights / 1e6:.2f}M (embeddings shared with the output), Q4_0 |
| begun with | the weights of `midfill-small` after {begun:.1f}M tokens |
| conversation | ChatML; `<|im_start|>` and `<|im_end|>` are the pieces that began a prefix and ended a middle |
| context | {settings.declared_context} tokens declared; rows of {shape.context} trained |
| taught | {seen:.2f}M tokens of questions and answers, {minutes:.0f} minutes of a thread of a busy machine |
| licence | Apache-2.0; sources of the training text in `NOTICE` |

## What it was taught

Questions as `midfill.instruct` writes them about short Python functions of the corpus, and answers that need no
understanding (`models/training/instructions.py`): a documenting line is put back, `x = x + 1` becomes `x += 1`, a
name that is given becomes another that is given, a misspelled one becomes right, types are put back, a file of tests
says that the function can be called, and an explanation lists what is taken, called and returned.

Loss of answers on files never trained on, copied text included: {log[-1]["validation"]["middle"]:.2f} nats a token.

## What came of it

{_instruct_table(work)}

## Limits

* Python only, functions of some twenty lines at most.
* It may repeat itself until its tokens are used up; it invents names, and drops lines where they look alike.
"""


def _instruct_table(work: Path) -> str:
    file = work / INSTRUCT_FIGURES
    if not file.exists():
        return "Not measured."
    measured = json.loads(file.read_text(encoding="utf-8"))
    facts = measured["circumstances"]
    lines = [
        f"`python -m bench.instruct`, {facts['data']} items, {facts['date']}; per cent. *pass*: of the offered edits,",
        "those after which the item's own tests pass.",
        "",
        "| task | n | offered | nothing to do | refused | keep the signature | pass | asked twice | copied |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in measured["tasks"].items():
        if name == "explain":
            continue
        keys = ("offered", "nothing", "refused", "keep_signature", "pass", "retried", "copied")
        shares = ["–" if found[key] is None else f"{100 * found[key]:.0f}" for key in keys]
        lines.append(f"| {name} | {found['n']} | {' | '.join(shares)} |")
    return "\n".join(lines)


def describe(shape: ModelShape) -> str:
    return (
        f"{shape.layers} layers, width {shape.width}, {shape.heads} heads ({shape.kv_heads} for keys and values), "
        f"feed-forward {shape.hidden}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    arguments = parser.parse_args()
    preset, work = arguments.preset, arguments.work
    _, _, state = load_checkpoint(work / "release.pt")
    plot_losses(state["log"], work / f"midfill-{preset}-loss.png")
    if load_preset(preset).instructs:
        (work / f"midfill-{preset}-q4_0.md").write_text(
            write_instruct_card(preset, work), encoding="utf-8"
        )
        return
    (work / f"midfill-{preset}-q8_0.md").write_text(write_card(preset, work), encoding="utf-8")
    print(f"wrote midfill-{preset}-q8_0.md and midfill-{preset}-loss.png")


if __name__ == "__main__":
    main()
