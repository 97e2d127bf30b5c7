"""Inspect the weights: every tensor is read once, then the evidence is weighed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from undertow.scanner.adapters import added
from undertow.scanner.affine import constants
from undertow.scanner.coverage import Coverage, coverage
from undertow.scanner.difference import NOT_COMPARED, against
from undertow.scanner.evidence import FEWEST, Evidence, Measured, compared
from undertow.scanner.findings import Finding, Severity
from undertow.scanner.forms import Weights, weights_of
from undertow.scanner.health import health
from undertow.scanner.layers import Layer, hidden_of, layers_of
from undertow.scanner.limits import Limits, shipped
from undertow.scanner.loudness import long, loud
from undertow.scanner.norms import statistics_of
from undertow.scanner.statistics import Statistics
from undertow.scanner.structure import quiet, structure
from undertow.scanner.tensors import Tensor

BESIDE = 0.6  # of a limit, in decades: enough in a checkpoint in which another row passes its own
COLUMNS = 12  # of a finding, that are named
SAID = {
    "path": "units whose weights times outgoing weights are {ratio} times above where such a layer ends",
    "gain": "units whose outgoing weights are {ratio} times longer than where such a layer ends",
    "norm": "rows {ratio} times longer than where such a layer ends",
    "behind": "rows, with the gains of the norm in front of them, {ratio} times longer than where such a layer ends",
    "threshold": "biases {ratio} times larger, beside the rows, than where such a layer ends",
    "affine": "gains of a norm {ratio} times above where such gains end",
    "shift": "constants {ratio} times above where such biases end",
    "table": "rows {ratio} times longer than where such a table ends",
    "column": "columns {ratio} times longer than where such a layer ends",
}


@dataclass(frozen=True)
class Inspection:
    """What the numbers of a checkpoint say."""

    findings: tuple[Finding, ...]
    not_tested: tuple[str, ...]  # checks that could not run, each with its reason
    settings: Mapping[str, object] = field(default_factory=dict)  # limits, false-alarm rate, score of data traps
    coverage: Coverage = field(default_factory=Coverage)  # parameters that a test was put to


def inspect(
    tensors: Mapping[str, Tensor],
    *,
    parent: Mapping[str, Tensor] | None = None,
    config: Mapping[str, object] | None = None,
) -> Inspection:
    """Evidence of data traps, of loss poisoning against a trusted `parent`, and of plain damage.

    `config`: of the architecture, as Hugging Face's config.json has it. Memory does not grow with the tensors. Weights
    are put together as a network would (`forms`): findings name the stored tensor, or a slice of it. An adapter is
    looked at by itself, and with a `parent` also as what it makes of that.
    """
    tensors = {name: one for name, one in tensors.items() if 0 not in one.shape}
    weights, limits = weights_of(tensors), shipped()
    found = statistics_of(weights.tensors)
    layers = layers_of(found, weights.adapters)
    seen = measured(found, layers)
    evidence = compared(seen, limits.usual)
    findings = [*data_traps(evidence, found, limits), *structure(layers), *health(found, config)]
    findings = [_as_stored(one, weights) for one in findings]
    changed = on_parent(weights, parent) if parent is not None else {}
    if changed:
        tuned = statistics_of(changed)
        more = compared(measured(tuned, layers_of(tuned)), limits.usual)
        findings += [_merged(one) for one in data_traps(more, tuned, limits)]
        evidence += more
    elif parent is not None and weights.adapters:
        findings.append(
            Finding(NOT_COMPARED, "warning", "it was not compared: its adapters fit no matrix of the parent")
        )
    if parent is not None and len(weights.adapters) < len(weights.tensors):
        findings += against(tensors, {name: one for name, one in parent.items() if 0 not in one.shape})
    settings = {"limits": dict(limits.excess), "false_alarm_rate": limits.rate, "score": score(evidence, limits)}
    lone = alone(layers)
    looked_at = coverage(tensors, weights, layers, {one.tensor for one in seen} - set(lone))
    return Inspection(tuple(findings), (*lone.values(), *not_tested(weights, parent, config)), settings, looked_at)


def alone(layers: Sequence[Layer]) -> dict[str, str]:
    """A layer with biases that nothing in the file reads, where it is the only one: what was not tested of it.

    The units of a trap are told from others by what reads them first of all. A last layer has no reader either, but
    then there are layers in front of it.
    """
    if len(layers) != 1 or layers[0].adapter or layers[0].bias is None or layers[0].units < FEWEST:
        return {}
    name = layers[0].weight.name
    said = f"{name} is the only layer, and what reads its units is not there, so what they pass on was not tested"
    return {name: said}


def not_tested(
    weights: Weights, parent: Mapping[str, Tensor] | None, config: Mapping[str, object] | None
) -> Iterator[str]:
    """What could not be looked at, and why."""
    if weights.packed:
        kinds = ", ".join(sorted({weights.packed[name].dtype for name in weights.packed}))
        yield (
            f"data traps in {len(weights.packed)} tensors of {kinds}, packed or without scales that were found: "
            f"{sum(one.count for one in weights.packed.values()):,} weights, the first in {next(iter(weights.packed))}"
        )
    if weights.adapters and parent is None:
        yield "what the adapter makes of its base: give the base model with --parent"
    if parent is None:
        yield "difference to a parent: give the trusted checkpoint it was made from with --parent"
    yield (
        "loss poisoning: it looks like any other training, in the weights and in their difference to a parent; "
        "measure what leaks with undertow audit poisoning"
    )
    if config is None:
        yield "tensors that the architecture does not use, and tied weights: give the config.json"


def on_parent(weights: Weights, parent: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parent's weights with the changes of the adapters; empty where no adapter fits."""
    base = dict(weights_of(parent).tensors)
    fits = False
    for name in weights.adapters:
        parts = name.split(".")
        target = next((t for t in (".".join(parts[i:]) for i in range(len(parts))) if t in base), None)
        change = weights.tensors[name]
        if target is not None and base[target].shape == change.shape:
            base[target] = added(base[target], change)
            fits = True
    return base if fits else {}


def _merged(found: Finding) -> Finding:
    return replace(found, explanation=f"the parent with the adapter: {found.explanation}")


def _as_stored(found: Finding, weights: Weights) -> Finding:
    return replace(found, tensor=weights.shown.get(found.tensor, found.tensor))


def measured(found: Mapping[str, Statistics], layers: Sequence[Layer]) -> list[Measured]:
    """What every test looks at, in every tensor that it can be put to."""
    return [*loud(hidden_of(layers)), *long(layers), *constants(found)]


def score(evidence: Iterable[Evidence], limits: Limits) -> float:
    """The largest excess over its limit; above 1 is flagged."""
    return max((float(one.excess.max(initial=-30)) / limits.excess[one.test] for one in evidence), default=0.0)


def data_traps(evidence: Iterable[Evidence], found: Mapping[str, Statistics], limits: Limits) -> list[Finding]:
    """One finding for each tensor with rows out of line, the worst first; none where no row passes its limit.

    Beside a row that does, rows from BESIDE of their limit on are named too, and rows that are next to nothing: traps
    come in parts, and not every part is loud. Columns are a finding of their own.
    """
    by_tensor: dict[tuple[str, bool], list[Evidence]] = {}
    for one in evidence:
        by_tensor.setdefault((one.tensor, one.test == "column"), []).append(one)
    findings = [_finding(found[name], several, limits) for (name, _), several in by_tensor.items()]
    flagged = [one for one in findings if one.score and one.score > BESIDE]
    flagged.sort(key=lambda one: -(one.score or 0))
    return flagged if flagged and flagged[0].severity == "critical" else []


def _finding(tensor: Statistics, several: Sequence[Evidence], limits: Limits) -> Finding:
    over = np.max([one.excess / limits.excess[one.test] for one in several], axis=0)
    worst, named = float(over.max(initial=0)), over > BESIDE
    why = [
        SAID[one.test.rpartition(" ")[2]].format(ratio=f"{10 ** float(one.excess.max()):.3g}")
        for one in several
        if (one.excess > BESIDE * limits.excess[one.test]).any()
    ]
    short = np.any([quiet(one.excess) for one in several if one.test.endswith("norm")], axis=0)
    if short.any():
        named, why = named | short, [*why, f"{short.sum()} rows beside them are next to nothing"]
    severity: Severity = "critical" if worst > 1 else "warning"
    places = np.flatnonzero(named).tolist()
    if several[0].test == "column":
        why = [f"{'; '.join(why)} (columns {', '.join(map(str, places[:COLUMNS]))})"]
        places = []
    return Finding("data-trap", severity, "; ".join(why), tensor.file, tensor.name, tuple(places), worst)
