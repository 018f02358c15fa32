"""How probable the most probable token is, against the same in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from midfill.engines.llama_sampling import log_probability
from midfill.errors import EngineError

pytestmark = pytest.mark.model


@pytest.mark.parametrize("n_logits", [1, 480, 4096, 8192, 8193, 32016])
@pytest.mark.parametrize("offset", [0.0, 59.0, -59.0, 61.0, -61.0, 1000.0, -1000.0])
def test_log_probability(n_logits: int, offset: float) -> None:
    logits = np.random.default_rng(n_logits).normal(0, 4, n_logits).astype(np.float32)
    logits += np.float32(offset)
    logits[1::7] = -np.inf  # What healing rules out.
    top, scratch = int(logits.argmax()), np.empty_like(logits)
    exact = np.exp(logits.astype(np.float64) - float(logits[top]))
    assert log_probability(logits, top, scratch) == pytest.approx(-np.log(exact.sum()), abs=1e-4)
    assert scratch / scratch[top] == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({3: np.nan}, id="one is no number"),
        pytest.param({3: np.inf}, id="one is infinite"),
        pytest.param(dict.fromkeys(range(9), -np.inf), id="all are impossible"),
    ],
)
def test_numbers_that_are_none_are_an_error(damage: dict[int, float]) -> None:
    logits = np.zeros(9, np.float32)
    for idx, value in damage.items():
        logits[idx] = value
    with pytest.raises(EngineError, match="not finite"):
        log_probability(logits, int(logits.argmax()), np.empty_like(logits))
