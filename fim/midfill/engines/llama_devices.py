"""The memory that llama.cpp finds here, as JSON: `python -m midfill.engines.llama_devices`.

A process of its own, because a driver can end it.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from midfill.engines.llama_memory import this_machine

if __name__ == "__main__":
    print(json.dumps(asdict(this_machine())))
