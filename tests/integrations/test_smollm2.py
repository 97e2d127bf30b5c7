"""Every statistic of `undertow audit lm` on a real pretrained decoder, against plain code that loops over tokens.

UNDERTOW_SMOLLM2 names the folder of SmolLM2-135M, as transformers saves it; without it the test is skipped.
"""

import math
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from undertow.attacks.language import WINDOWS, alone, beside
from undertow.token_signals import zlib_bytes

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
FOLDER = os.environ.get("UNDERTOW_SMOLLM2", "")
TEXTS = (
    "Maria Keller moved to Basel in 1998 and has kept the same telephone number ever since.",
    "The quick brown fox.",
    "user: how do I reset my password?\nassistant: Open the settings, then choose Security. Café, 42 €.",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(FOLDER or "/nonexistent").is_dir(), reason="UNDERTOW_SMOLLM2 names no folder"),
]


def _token(logits, own):
    """log p, mean, deviation and rank of one token by their definitions, in double precision."""
    highest = max(logits)
    total = math.fsum(math.exp(z - highest) for z in logits)
    every = [z - highest - math.log(total) for z in logits]
    mean = math.fsum(math.exp(v) * v for v in every)
    variance = math.fsum(math.exp(v) * (v - mean) ** 2 for v in every)
    return every[own], mean, math.sqrt(variance), sum(z > logits[own] for z in logits)


def _of_text(model, ids):
    """Each token of a text asked alone."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double().tolist()
    return [_token(row, own) for row, own in zip(logits[:-1], ids[1:], strict=True)]


def _lowest(values):
    count = max(1, math.floor(0.2 * len(values)))
    return sum(sorted(values)[:count]) / count


def _windows(gap):
    shares = []
    for w in WINDOWS:
        w = min(w, len(gap))
        sums = [math.fsum(gap[i : i + w]) for i in range(len(gap) - w + 1)]
        shares.append(sum(s > 0 for s in sums) / len(sums))
    return sum(shares) / len(shares)


def _expected(text, seen, base):
    log_p = [row[0] for row in seen]
    gap = [a[0] - b[0] for a, b in zip(seen, base, strict=True)]
    wrong = [g for g, row in zip(gap, seen, strict=True) if row[3] > 0]
    up, down = sum(g for g in wrong if g > 0), -sum(g for g in wrong if g < 0)
    loss = sum(log_p) / len(log_p)
    return {
        "loss": loss,
        "zlib": loss / len(zlib.compress(text.encode())),
        "min-k": _lowest(log_p),
        "min-k++": _lowest([(row[0] - row[1]) / row[2] for row in seen]),
        "ratio": sum(gap) / len(gap),
        "ez": up / (up + down),
        "wbc": _windows(gap),
    }


def test_every_statistic_on_a_real_decoder():
    """The second model is the first with weights moved a little, so that tokens rise and fall."""
    from undertow.integrations.model_files import language_model
    from undertow.integrations.token_pass import token_ids, token_pass

    torch.set_num_threads(1)
    base, tokenizer = language_model(FOLDER)
    ids, _ = token_ids(tokenizer, TEXTS, 512)
    before, plain = token_pass(base, ids, 3), [_of_text(base, row) for row in ids]
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in base.parameters():
            if p.ndim > 1:
                p.add_(0.03 * p.std() * torch.randn(p.shape, generator=noise))
    after, moved = token_pass(base, ids, 3), [_of_text(base, row) for row in ids]
    for seen, oracle in ((before, plain), (after, moved)):
        for i, rows in enumerate(oracle):
            log_p, mean, std, rank = (np.array(column) for column in zip(*rows, strict=True))
            inside = seen.inside[i]
            np.testing.assert_allclose(seen.log_p[i][inside], log_p, atol=2e-3)  # float32, padded against alone
            np.testing.assert_allclose(seen.mean[i][inside], mean, atol=2e-3)
            np.testing.assert_allclose(seen.std[i][inside], std, atol=2e-3)
            assert (np.abs(seen.rank[i][inside] - rank) <= 1 + 0.01 * rank).all()
    found = {**alone(after, zlib_bytes(TEXTS)), **beside(after, before)}
    for i, text in enumerate(TEXTS):
        for name, value in _expected(text, moved[i], plain[i]).items():
            assert found[name][i] == pytest.approx(value, rel=2e-3, abs=1e-4 if name == "zlib" else 2e-3), name
