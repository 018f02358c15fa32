"""A real Emacs with eglot, without a window: a client that knows no ghost text gets an entry in its list."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import emacs

EMACS = emacs.find()
MANUAL = Path(__file__).parents[2] / "docs" / "editors.md"

pytestmark = [
    pytest.mark.emacs,
    pytest.mark.model,
    pytest.mark.skipif(
        EMACS is None, reason="Emacs 29 is not here; `make test` fetches it on Debian"
    ),
]

SESSION = """
(setq eglot-sync-connect 60 eglot-events-buffer-config '(:size 0) eglot-connect-timeout 60)
(find-file "{source}")
(python-mode)
(apply #'eglot--connect (eglot--guess-contact))
(eglot--maybe-activate-editing-mode)
(goto-char (point-max))
(insert "def isfile(path):\\n    return os.pa")
(let ((entry nil) (tries 0))
  (while (and (null entry) (< tries 60))
    (setq tries (1+ tries))
    (eglot--signal-textDocument/didChange)
    (let ((capf (eglot-completion-at-point)))
      (setq entry (car (all-completions "" (nth 2 capf))))
      (when entry
        (let ((exit (plist-get (nthcdr 3 capf) :exit-function)))
          (delete-region (nth 0 capf) (nth 1 capf))
          (insert entry)
          (funcall exit entry 'finished))))
    (sleep-for 0.5))
  (princ (json-encode `((entry . ,(substring-no-properties (or entry "")))
                        (line . ,(buffer-substring-no-properties (line-beginning-position) (point)))))))
(eglot-shutdown (eglot-current-server))
"""


def configuration() -> str:
    """What the manual tells Emacs' users to write."""
    found = re.search(r"```elisp\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_the_embedded_model_completes_in_the_list_of_emacs(tmp_path: Path) -> None:
    assert EMACS is not None
    source, script = tmp_path / "main.py", tmp_path / "session.el"
    source.write_text("import os\n\n\ndef exists(path):\n    return os.path.exists(path)\n\n\n")
    script.write_text(configuration() + SESSION.format(source=source))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {"PATH": path, "MIDFILL_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*EMACS, "--batch", "--no-init-file", "--load", str(script)],
        env={**os.environ, **emacs.environment(), **told},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["entry"], done.stderr
    assert found["line"].startswith("    return os.pa")
    assert len(found["line"]) > len("    return os.pa")
