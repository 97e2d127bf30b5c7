"""The attack classes that an assessment must speak of, and which audit measures which of them.

The list is that of EDPB Opinion 28/2024, paragraph 55, as secondary sources agree on it; two rows of ours follow. A
class that no run measures is "not run", with the reason: it is never left out and never blank.
"""

from dataclasses import dataclass

from undertow.types import AuditResult

OPINION = "EDPB Opinion 28/2024, para 55"
BEYOND = "beyond para 55"
VERBATIM = ("verbatim", "near_verbatim", "extracted", "discoverable")  # metrics of texts that come out word by word
GIVE = "No finished run that measures it was given. To measure it: {how}; then pack again with that run."


@dataclass(frozen=True)
class AttackClass:
    """One kind of attack, what a measurement of it covers here, and why there is none otherwise."""

    name: str
    source: str
    covers: str
    not_run: str


CLASSES = (
    AttackClass(
        "membership inference",
        f"{OPINION} (i)",
        "Whether a record was in the training data, from what the model answers. A bound on the attacks that were run.",
        GIVE.format(how="`undertow audit mia`, `undertow audit tmi` or `undertow score`"),
    ),
    AttackClass(
        "attribute inference",
        f"{OPINION} (i)",
        "Whether an unknown attribute of a person can be inferred because the person was in the training data.",
        "No audit of Undertow measures attribute inference yet. A membership result says nothing about it.",
    ),
    AttackClass(
        "exfiltration",
        f"{OPINION} (ii)",
        "Whether a base checkpoint that was made to steal carries training records out. Other ways out of a deployed "
        "system (logs, caches, access rights) are no property of a model and are not tested.",
        GIVE.format(how="`undertow audit datatrap`"),
    ),
    AttackClass(
        "regurgitation of training data",
        f"{OPINION} (iii)",
        "Whether training records come out of the model verbatim, or nearly so, when it is prompted.",
        "No finished run that measures it was given. The audits mia, tmi, score, poisoning, datatrap and dp do not "
        "prompt a model for its training data, so they are no evidence here.",
    ),
    AttackClass(
        "model inversion",
        f"{OPINION} (iv)",
        "Whether inputs typical of a class or a person can be made from the model's answers or gradients.",
        "No audit of Undertow measures model inversion yet. A membership result says nothing about it.",
    ),
    AttackClass(
        "reconstruction",
        f"{OPINION} (v)",
        "Whether training records can be rebuilt from the finetuned weights where the base checkpoint carries traps. "
        "Reconstruction from a checkpoint that nobody tampered with is not tested.",
        GIVE.format(how="`undertow audit datatrap`"),
    ),
    AttackClass(
        "differential privacy claim",
        f"{BEYOND}; NIST SP 800-226 asks to look at the unit of privacy, bugs and access, not at epsilon alone",
        "Whether the training keeps the epsilon that is claimed for it: lower bounds from real runs.",
        GIVE.format(how="`undertow audit dp` or `undertow epsilon`"),
    ),
    AttackClass(
        "tampered base checkpoint",
        BEYOND,
        "Whether the checkpoint that was finetuned from shows signs of tampering: its files, its weights, and how much "
        "more it leaks than a trusted one.",
        GIVE.format(how="`undertow scan --format json` or `undertow audit poisoning --checkpoint`"),
    ),
)
PARA_55 = tuple(one.name for one in CLASSES if one.source.startswith(OPINION))
BY_AUDIT = {
    **dict.fromkeys(("mia", "tmi", "score", "model", "poisoning"), ("membership inference",)),
    "lm": ("membership inference",),
    "datatrap": ("exfiltration", "reconstruction"),
    "extraction": ("exfiltration", "regurgitation of training data"),
    "dp": ("differential privacy claim",),
    "epsilon": ("differential privacy claim",),
    "scan": ("tampered base checkpoint",),
}


def measured(audit: str, result: AuditResult | None) -> tuple[str, ...]:
    """The names of the classes that a run of `audit` measures; none for an audit that is not known here."""
    found = BY_AUDIT.get(audit, ())
    if result is None:
        return found
    if audit == "poisoning" and result.verdict is not None:
        found = (*found, "tampered base checkpoint")
    if audit != "extraction" and any(m.metric in VERBATIM for m in result.measurements):
        found = (*found, "regurgitation of training data")
    return found
