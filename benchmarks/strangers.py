"""Files as strangers bring them, and what `undertow score` says of each.

    python benchmarks/strangers.py [--seed 0]

Each row is an input that an earlier version misread: designs, thin records, ties, encodings, few models, flipped signs.
Coverage by design is benchmarks/coverage.py; defaults of RMIA and LiRA benchmarks/defaults.py; suspects and look-alikes
benchmarks/detection.py --look-alikes; TMI `undertow audit tmi`.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from coverage_world import alike, fixed_halves, folds, halves, pairs, propensity

from undertow.audits.membership.evidence import SignalSet
from undertow.audits.membership.score import audit_score
from undertow.metrics import difference, tpr_at
from undertow.report.best import best_at
from undertow.report.verdict import verdict
from undertow.rng import stream
from undertow.types import Array, AuditResult, BadInput

Row = tuple[str, str]
Deal = Callable[[int, int, np.random.Generator], Array]
NULLS = 40  # files of each design without a leak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    print("| input | what is said |\n|---|---|")
    for rows in ROWS:
        for name, text in rows(stream(seed, "strangers", rows.__name__)):
            print(f"| {name} | {text} |", flush=True)


def score(attacks: tuple[str, ...] = (), drop: bool = False, **arrays: Array) -> AuditResult:
    """What `undertow score` makes of these arrays."""
    return audit_score(SignalSet("file", "", arrays), attacks, drop_duplicates=drop)


def signals(member: Array, rng: np.random.Generator, leak: float) -> Array:
    """One signal per model and record: records differ, models differ, members score higher by `leak`."""
    return rng.normal(size=member.shape) + 2 * rng.normal(size=member.shape[1]) + leak * member


def of(result: AuditResult, attack: str) -> str:
    """AUC of an attack."""
    m = result.find(attack, "auc")
    return f"{attack} AUC {m.value:.3f} [{m.low:.3f}, {m.high:.3f}], n = {m.n} {m.unit}, effective {m.effective:.0f}"


def one_split(rng: np.random.Generator) -> Iterator[Row]:
    """Eight seeds on one split, without a leak."""
    shown = 0
    for _ in range(100):
        member = np.repeat(rng.random((1, 200)) < 0.5, 8, 0)
        result = score(member=member, values=signals(member, rng, 0.0))
        shown += bool(result.leak and result.leak["shown"])
    yield "one split, 8 seeds, null, 100 files", f"Leak shown in {shown}; {of(result, 'threshold')}"


def nulls(rng: np.random.Generator) -> Iterator[Row]:
    """Designs of every kind, without a leak: 40 files each."""
    deals: dict[str, tuple[Deal, int]] = {
        "complementary pairs": (pairs, 16),
        "rows 90 % alike": (alike, 16),
        "a propensity for each record": (propensity, 16),
        "5-fold, repeated": (folds, 20),
        "four fixed halves": (fixed_halves, 16),
        "random halves": (halves, 16),
    }
    for name, (deal, models) in deals.items():
        found, shown, held = [], 0, 0
        for _ in range(NULLS):
            member = deal(models, 200, rng)
            result = score(("lira",), member=member, values=signals(member, rng, 0.0))
            m = result.find("lira", "auc")
            found.append(m.value)
            held += m.low <= (m.chance or 0.5) <= m.high
            shown += bool(result.leak and result.leak["shown"])
        said = f"mean {np.mean(found):.3f}, interval holds what guessing gives in {held}; Leak shown in {shown}"
        yield f"{name}, {models} x 200, null, {NULLS} files: LiRA", said


def arms(rng: np.random.Generator) -> Iterator[Row]:
    """Two arms of 32 models each on the same membership, none of which leaks more than the other."""
    held = 0
    for _ in range(NULLS):
        member = pairs(32, 200, rng)
        hard = 2 * rng.normal(size=200)
        both = [score(("lira",), member=member, values=hard + rng.normal(size=member.shape) + member) for _ in "ab"]
        row = difference(*([s for s in r.scores if s.attack == "lira"] for r in both), fprs=())[0]
        held += (row.low or 0.0) <= 0 <= (row.high or 0.0)
    yield f"two arms of 32 x 200, no difference, {NULLS} games", f"interval of the difference in AUC holds 0 in {held}"


def thin(rng: np.random.Generator) -> Iterator[Row]:
    """Nine of 200 records in fewer than two of 24 models."""
    member = rng.random((24, 200)) < 0.5
    member[:, :9] = False
    member[rng.integers(24, size=9), np.arange(9)] = True
    result = score(member=member, values=signals(member, rng, 3.0))
    gone = {e["attack"]: e["records"] for e in result.left_out}
    yield "24 models, 9 of 200 records in one model", f"{of(result, 'lira')}; left out {gone}"


def forest(rng: np.random.Generator) -> Iterator[Row]:
    """A random forest's outputs tie across the boundary although no record occurs twice."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_breast_cancer(return_X_y=True)
    member = rng.permutation(np.arange(len(x)) < len(x) // 2)
    forest = RandomForestClassifier(30, min_samples_leaf=3, random_state=0).fit(x[member], y[member])
    arrays = {"member": member, "probabilities": forest.predict_proba(x), "labels": y}
    plain = score(("loss",), **arrays)
    ties = next((w for w in plain.warnings if "outputs of another" in w), "no note")
    yield "random forest, ties, no duplicates", f"{of(plain, 'loss')}; {ties}"
    try:
        score(("loss",), drop=True, **arrays)
    except BadInput as error:
        yield "the same with --drop-duplicates", f"refused: {error}"
    dropped = score(("loss",), drop=True, features=x, **arrays)
    yield "the same with `features` and --drop-duplicates", f"{of(dropped, 'loss')} of {len(dropped.ids)} records"


def best_at_a_rate(rng: np.random.Generator) -> Iterator[Row]:
    """A few records that leak very much: the best attack by AUC is not the best at a low rate."""
    member = pairs(16, 1000, rng)
    values = signals(member, rng, 0.3) + 8 * (rng.random(1000) < 0.05) * member
    result = score(member=member, values=values)
    for label in ("AUC", "TPR@1%", "TPR@0.1%"):
        best = best_at(result, label)
        if best is not None and best.m.value is not None:
            yield f"16 models, a few records leak: card {label}", f"{best.row.attack} {best.m.value:.3f}"


def whole_counts(rng: np.random.Generator) -> Iterator[Row]:
    """How many false positives are allowed where n f is whole."""
    for n in (100, 200, 700, 1000):
        outside, inside = rng.normal(size=n), np.linspace(-6, 6, 100_001)
        found = tpr_at(np.concatenate([inside, outside]), np.arange(n + len(inside)) < len(inside), 0.01)
        allowed = int((outside > inside[len(inside) - round(found * len(inside))]).sum())
        yield f"{n} non-members at 1 %", f"{allowed} false positives"


def few(rng: np.random.Generator) -> Iterator[Row]:
    """Too little to say anything: one victim, two, one non-member."""
    for victims in (1, 2):
        member = np.concatenate([pairs(16, 100, rng), rng.random((victims, 100)) < 0.5])
        result = score(member=member, values=signals(member, rng, 0.0), target=16 + np.arange(victims))
        yield f"{victims} held-out victim{'s' * (victims > 1)}, null", f"{verdict(result).badge}: {of(result, 'lira')}"
    member = np.arange(100) > 0
    result = score(member=member, values=signals(member[None], rng, 0.0)[0])
    yield "one non-member", f"{verdict(result).badge}: {of(result, 'threshold')}"


def flipped(rng: np.random.Generator) -> Iterator[Row]:
    """Lower means member in the given signal."""
    member = pairs(16, 400, rng)
    result = score(member=member, values=-signals(member, rng, 1.0))
    found = verdict(result)
    texts = [t for t in (found.headline, *found.sentences) if "sign" in t or "lower" in t]
    yield "flipped signs", f"{found.badge}: {' '.join(texts)}"


def encodings(rng: np.random.Generator) -> Iterator[Row]:
    """One set of confident outputs, written in several ways."""
    from scipy.special import softmax

    member, labels = pairs(16, 200, rng), rng.integers(4, size=200)
    own = np.eye(4)[labels]
    z = rng.normal(size=(16, 200, 4)) + own * (12 + 4 * rng.normal(size=(200, 1))) + 1.2 * own * member[..., None]
    z = z.astype(np.float32)
    p = softmax(z.astype(float), -1)
    forms = {
        "logits": {"logits": z},
        "probabilities, float64": {"probabilities": p},
        "probabilities under `logits`": {"logits": p.astype(np.float32)},
        "probabilities, clipped at 1e-7": {"probabilities": np.clip(p, 1e-7, 1 - 1e-7)},
        "probabilities, float16": {"probabilities": p.astype(np.float16)},
    }
    for name, arrays in forms.items():
        result = score(("lira",), member=member, labels=labels, **arrays)
        tpr = result.find("lira", "tpr", 0.01).value or 0.0
        lost = any("order" in w or "rank" in w for w in result.warnings)
        yield name, f"LiRA TPR@1% {100 * tpr:.1f} %{'; the loss is said' if lost else ''}"


ROWS: tuple[Callable[[np.random.Generator], Iterator[Row]], ...] = (
    one_split, nulls, arms, thin, forest, best_at_a_rate, whole_counts, few, flipped, encodings,
)  # fmt: skip

if __name__ == "__main__":
    main()
