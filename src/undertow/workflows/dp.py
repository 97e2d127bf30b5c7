"""The DP audit as a value. Nothing here prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from undertow.workflows.audit import Audit, Given, Option, Played, Table, duration, need_torch, nowhere
from undertow.workflows.own_data import where

if TYPE_CHECKING:
    from undertow.audits.chain import Host
    from undertow.audits.dp.settings import DpConfig

ABOUT = """Does private finetuning give the epsilon it claims? Trains with a canary and without it, and bounds epsilon.

Your claim, and what to run (more: docs/dp_claims.md):

\b
(epsilon, delta)    this command; your own code: audit_dp_pipeline
zCDP, GDP           undertow epsilon: --claim-zcdp RHO, --claim-gdp MU
RDP, own accountant undertow epsilon: --claim-curve FILE (epsilon,delta)
per user, label     undertow epsilon: a trial is with it or without it
DP-FTRL, PATE,      undertow epsilon on scores of your own trainings
federated, label DP (of PATE only a data-independent epsilon); of
synthetic data      synthetic data the score decides what is found
noise, clipping     check_pipeline: what differs from the declaration

Refuted is p <= .001; from there to .05 nothing is decided: repeat with
another seed. A lower bound never proves a claim.
"""


def configure(given: Given) -> "DpConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked.

    Sizes that nobody gave follow the data; one training is the default of --one-run.
    """
    from undertow.audits.dp.settings import preset
    from undertow.config import override
    from undertow.sources.records.dp_data import sized

    options = dict(given.options)
    if options.get("one_run"):
        options.setdefault("runs", 1)
    parts = [part.get("data") for part in (given.file, options)]
    named = frozenset(key for part in parts if isinstance(part, Mapping) for key in part)
    return sized(override(override(preset(given.preset or "digits"), given.file), options), named)


def load(config: "DpConfig") -> Table:
    """The records, once the game can be played on them."""
    need_torch()
    from undertow.audits.dp.game import Game
    from undertow.sources.records.dp_data import load_dp

    supply = load_dp(config.data, config.seed)
    Game(config, supply, nowhere()).check()
    return Table(config, supply.describe(), supply, supply.notes)


def play(table: Table, host: "Host") -> Played:
    """Train with the canary and without it, read, and bound epsilon."""
    from undertow.audits.dp.game import audit_dp

    return Played(audit_dp(table.config, table.held, host))


def cost(table: Table, workers: int) -> Sequence[str]:
    """How many trainings; one block of them is timed."""
    from undertow.audits.dp.estimate import estimate

    runs, seconds = estimate(table.config, table.held, nowhere())
    return (f"{runs:,} private trainings from one checkpoint, about {duration(seconds / workers)}",)


def _presets() -> Sequence[str]:
    from undertow.audits.dp.settings import listing

    return [f"dp  {name:<20}{about}" for name, about in listing()]


DP = Audit(
    "dp", ABOUT, configure, load, play, cost, _presets,
    (
        Option("epsilon", "Epsilon of the claim; training is calibrated to it. Default: 8.", float),
        Option("delta", "Delta of the claimed (epsilon, delta). Default: 1e-5.", float),
        Option("access", "What the adversary sees: black-box, weights (default) or iterates."),
        Option("canary", "Inserted record: trap (default), gradient, mislabelled or random."),
        Option("runs", "Number of trainings with the canary, and as many without it. Default: 1000.", int),
        Option("one-run", "Train once with many canaries; --runs R pools R such trainings.", bool),
        Option("data", "Your records (.npz), or the folder of named datasets.", Path,
               lambda path: {"data": where(path)}),
    ),
    "epsilon_lower>8",
)  # fmt: skip
