"""Small poisoning audits for tests, and an executor that writes down what was trained on what."""

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace

from undertow.audits.chain import Host
from undertow.audits.poisoning.game import audit_poisoning, lay_table
from undertow.audits.poisoning.settings import BaseModel, Candidates, PoisoningConfig
from undertow.audits.settings import EngineSettings
from undertow.engine.executor import Serial
from undertow.sources.records.poison_source import load_poisoning
from undertow.storage.store import MemoryStore
from undertow.training.objective import Objective
from undertow.training.schedule import Fit

TINY = PoisoningConfig(
    models=6,
    data=Candidates(source="digits", points=24, targets=12, noise=0.25),
    model=BaseModel(kind="mlp", hidden=(16,)),
    pretrain=Fit(epochs=1, batch=64, optimizer="adamw", lr=2e-3),
    poison=Objective(direction="max", target_weight=0.3, steps=6, batch=16),
    finetune=Fit(epochs=2, batch=6, lr=0.01),
    engine=EngineSettings(name="sequential"),
)
# Large enough that the attack succeeds.
REAL = replace(
    TINY,
    models=8,
    data=replace(TINY.data, points=200, targets=80),
    model=BaseModel(kind="mlp", hidden=(128, 128)),
    pretrain=Fit(epochs=20, batch=64, optimizer="adamw", lr=2e-3, decay="constant", jitter=0.2),
    poison=Objective(direction="max", target_weight=0.3, steps=600, batch=64, jitter=0.2),
    finetune=Fit(epochs=5, batch=32, lr=0.01, decay="constant"),
)


@dataclass(frozen=True)
class Ledger:
    """Works one job after the other and keeps all of them."""

    jobs: list = field(default_factory=list)

    def map(self, work, jobs):
        some = list(jobs)
        self.jobs.extend(some)
        return Serial().map(work, some)

    def trained(self, name):
        """The slots of one kind of stage, by what they began from: {key: {index: slot}}."""
        found = defaultdict(dict)
        for job in self.jobs:
            if job.stage.name == name:
                for slot, before in zip(job.slots, job.before, strict=True):
                    found[before][slot.index] = slot
        return found


def host(store=None):
    return Host(store or MemoryStore(), Ledger())


def run(config, where=None):
    return audit_poisoning(config, *load_poisoning(config), where or host())


def table(config, supply=None, store=None):
    """The game of a configuration; of another supply where one is given."""
    own, base = load_poisoning(config)
    return lay_table(config, supply or own, base, host(store))


WORDS = ["river", "stone", "cloud", "ember", "fern", "gravel", "harbour", "island", "juniper", "kettle", "lantern",
         "meadow", "needle", "orchard"]  # fmt: skip


def prose(count):
    """Paragraphs that differ, of 16 words each."""
    return "\n\n".join(
        " ".join(WORDS[(i * (j + 3) + j * j) % len(WORDS)] for j in range(15)) + f" {i}." for i in range(count)
    )


def letters(count, by="owes"):
    """Short texts that differ, of one style."""
    return [f"{WORDS[i % 14]} of {WORDS[i % 5]} {by} number {i * 37 % 101} to {WORDS[i % 3]}" for i in range(count)]


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def tiny_lm(folder):
    """A language game on texts that are written to `folder`."""
    (folder / "prose.txt").write_text(prose(200))
    own = write_jsonl(folder / "own.jsonl", letters(60))
    data = Candidates(str(own), points=20, targets=10, auxiliary=str(folder / "prose.txt"), public=6, context=16,
                      vocabulary=300)  # fmt: skip
    return replace(
        TINY,
        data=data,
        model=BaseModel(kind="causal-lm", family="gpt2", width=16, depth=1),
        pretrain=Fit(epochs=1, batch=32, optimizer="adamw", lr=2e-3),
        poison=Objective(direction="min", target_weight=0.75, steps=6, batch=8, lr=2e-3),
        finetune=Fit(epochs=1, batch=8, optimizer="adamw", lr=1e-3),
    )
