# Midfill's chores. CI runs the same targets.
PYTHON ?= python3
BIN := .venv/bin
EMBEDDED = $(shell $(BIN)/python -c 'import midfill_models as m; print(m.embedded_model())')
PRESET ?= small
SOURCES := fim/midfill server/midfill_server models tests bench tools clients/vscode/generate.py

.PHONY: help setup demo test fuzz test-training test-offload check fix bench reliability model vscode package picture lock

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: ## Make .venv with everything in it (the first time builds llama.cpp)
	@$(PYTHON) tools/setup.py

demo: setup ## Complete and explain real code with the embedded model
	@$(BIN)/midfill demo

test: check ## Run every check: lint, types and all tests
	@$(BIN)/python tools/neovim.py
	@$(BIN)/python tools/emacs.py
	@$(BIN)/python tools/helix.py
	@$(BIN)/python tools/code_server.py
	$(BIN)/pytest

test-offload: setup ## Run the tests that need a GPU, on Mesa's software device (the first time builds llama.cpp)
	$(BIN)/python tools/offload.py

test-training: ## Test the training scripts and train a tiny model (fetches PyTorch; needs Python 3.11)
	PYTHONPATH=fim:server:models "$$($(PYTHON) models/training/make_model.py --prepare)" -m pytest tests/models

fuzz: setup ## Fuzz for SECONDS (600; the long run has 3600): with Atheris where there is a wheel of it, else at random
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install -q 'atheris==3.0.0' \
	  || echo "There is no Atheris for this Python: inputs are drawn at random."
	$(BIN)/python tools/fuzzing.py --seconds $(or $(SECONDS),600)

check: setup ## Lint and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

fix: setup ## Let ruff mend what it can
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: setup ## Measure speed and quality of MODEL (the embedded one by default)
	$(BIN)/python -m bench.engine $(or $(MODEL),$(EMBEDDED))
	$(BIN)/python -m bench.holes $(if $(MODEL),--model $(MODEL))
	$(BIN)/python -m bench.replay bench/holes.py --clock real $(if $(MODEL),--model $(MODEL))

reliability: setup ## Attack it, load it and watch it for long; write docs/reliability.md (an hour; MINUTES=6 tries it)
	$(BIN)/python tools/reliability.py $(if $(MINUTES),--minutes $(MINUTES))

model: ## Train a model: make model PRESET=nano, small or base
	$(PYTHON) models/training/make_model.py --preset $(PRESET)

vscode: setup ## Build the VS Code extension, clients/vscode/midfill.vsix (needs Node)
	cd clients/vscode && npm ci --no-audit --no-fund && npm run package

package: setup ## Build and try everything that is published, in dist/ (the extension needs Node)
	$(BIN)/python tools/package.py

picture: setup ## Make the manual's pictures from a real Neovim and a real VS Code
	$(BIN)/python tools/picture.py
	$(BIN)/python tools/vscode_pictures.py

lock: setup ## Write requirements/*.txt anew from pyproject.toml (needs uv)
	uv pip compile -q pyproject.toml --extra dev --extra llama --universal --python-version 3.10 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --no-emit-package llama-cpp-python -o requirements/dev.txt
	uv pip compile -q pyproject.toml --extra llama --universal --python-version 3.10 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --no-emit-package llama-cpp-python -c requirements/dev.txt -o requirements/run.txt
