"""Token signals written slowly: one text at a time, plain Python floats, the definitions as one would say them."""

import math
import zlib


def distribution(logits):
    top = max(logits)
    total = math.fsum(math.exp(z - top) for z in logits)
    return [z - top - math.log(total) for z in logits]


def statistics(rows, tokens):
    """Per predicted token: log p, scaled logit, mean, std, rank. `tokens` are those that follow each row."""
    out = []
    for row, token in zip(rows, tokens, strict=True):
        logs = distribution(row)
        p = [math.exp(x) for x in logs]
        mean = math.fsum(a * b for a, b in zip(p, logs, strict=True))
        variance = math.fsum(a * (b - mean) ** 2 for a, b in zip(p, logs, strict=True))
        others = math.fsum(p[:token] + p[token + 1 :])
        rank = sum(z > row[token] for z in row)
        out.append((logs[token], logs[token] - math.log(others), mean, math.sqrt(variance), rank))
    return out


def lowest(values, share):
    count = max(int(len(values) * share), 1)
    return sum(sorted(values)[:count]) / count


def ez(log_p, reference, rank):
    moved = [a - b for a, b, r in zip(log_p, reference, rank, strict=True) if r > 0]
    if not moved:
        return 1.0
    up, down = sum(m for m in moved if m > 0), sum(-m for m in moved if m < 0)
    return up / (up + down) if up + down else 0.5


def wbc(log_p, reference, windows):
    difference = [a - b for a, b in zip(log_p, reference, strict=True)]
    n = len(difference)
    shares = []
    for w in [w for w in windows if w <= n] or [n]:
        sums = [sum(difference[i : i + w]) for i in range(n - w + 1)]
        shares.append(sum(1.0 if s > 0 else 0.5 if s == 0 else 0.0 for s in sums) / len(sums))
    return sum(shares) / len(shares)


def signals(rows, tokens, reference_rows, text):
    log_p, scaled, mean, std, rank = zip(*statistics(rows, tokens), strict=True)
    reference = [s[0] for s in statistics(reference_rows, tokens)]
    n = len(log_p)
    return {
        "loss": sum(log_p) / n,
        "scaled_logit": sum(scaled) / n,
        "min_k": lowest(log_p, 0.2),
        "min_k_plus_plus": lowest([(a - m) / s for a, m, s in zip(log_p, mean, std, strict=True)], 0.2),
        "top_probability": sum(math.exp(a) if r < 5 else 0 for a, r in zip(log_p, rank, strict=True)) / n,
        "hit_rate": sum(r == 0 for r in rank) / n,
        "zlib_ratio": sum(log_p) / n / len(zlib.compress(text.encode("utf8"))),
        "loss_difference": (sum(log_p) - sum(reference)) / n,
        "ez_mia_style": ez(log_p, reference, rank),
        "wbc_style": wbc(log_p, reference, (2, 3, 4, 5, 8, 11, 15, 21, 29, 40)),
    }
