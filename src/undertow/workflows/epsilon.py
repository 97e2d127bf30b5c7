"""What `undertow epsilon` does, below the screen. Nothing here prints."""

import math
from pathlib import Path

from undertow.audits.dp.claimed import Claimed, claimed_epsilon, claimed_gdp, claimed_zcdp
from undertow.audits.dp.epsilon import EpsilonAsk, audit_epsilon
from undertow.types import AuditResult, ConfigError


def run_epsilon(scores: Path, ask: EpsilonAsk, out: Path | None, claim: Claimed | None = None) -> AuditResult:
    """Bound epsilon from a file of scores, against a claim where there is one; with `out`, write result.json there."""
    from undertow.storage.finished import refuse_other_run
    from undertow.storage.results import save_result
    from undertow.storage.run import environment, open_run
    from undertow.storage.scores_file import read_scores

    found = audit_epsilon(read_scores(scores), ask, environment(), claim)
    if out is not None:
        open_run(out, "epsilon")
        refuse_other_run(out, found.config, found.data)
        save_result(found, out)
    return found


def claim_of(
    epsilon: float | None, gdp: float | None, zcdp: float | None, curve: Path | None, delta: float
) -> Claimed | None:
    """The one claim that was given, if any; ConfigError for two."""
    from undertow.storage.scores_file import read_curve

    given = {"--claim-epsilon": epsilon, "--claim-gdp": gdp, "--claim-zcdp": zcdp, "--claim-curve": curve}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)}: give one claim, the one that was published")
    if epsilon is not None:
        return claimed_epsilon(epsilon, delta)
    if gdp is not None:
        return claimed_gdp(gdp, delta)
    if zcdp is not None:
        return claimed_zcdp(zcdp, delta)
    return None if curve is None else read_curve(curve, delta)


def parse_threshold(text: str | None) -> float | str:
    """--threshold: a number, split or bonferroni; None: split."""
    if text in (None, "split", "bonferroni"):
        return text or "split"
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not math.isfinite(number):
        raise ConfigError(f"--threshold {text!r}: give a number fixed beforehand, or split, or bonferroni")
    return number


def parse_guesses(text: str | None) -> tuple[int, int] | None:
    """--guesses PLUS,MINUS: how many are guessed members and how many not."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f"--guesses {text!r}: give two counts, such as 100,100 (members, non-members)")
    return int(parts[0]), int(parts[1])
