"""DP audits: does private finetuning give the epsilon it claims?

The game: finetune privately with a canary and without it, many times, or once with many canaries, each there by a coin
of its own; guess from what the access shows; bound epsilon from the guesses. Thresholds, numbers of guesses and the
headline bound are fixed before the runs. The two worlds are those of the accountant: one record added or removed, the
sum divided by the same number in both.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil

import numpy as np
import torch

from undertow.audits.chain import Host
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.dp.canaries import Canaries, natural_canaries, trap_canaries
from undertow.audits.dp.plan import Claim, claim_of
from undertow.audits.dp.reader import Reader
from undertow.audits.dp.rows import bound_rows, claim_rows, control_rows, growth_rows, quoted
from undertow.audits.dp.settings import ACCESSES, DpConfig
from undertow.audits.leakage import Stopwatch, plain
from undertow.engine.key import fingerprint
from undertow.engine.play import play
from undertow.models.architecture import Mlp, initial_state
from undertow.rng import seed_for
from undertow.stages.dp_runs import DpRuns
from undertow.stages.pretrain import Pretrain
from undertow.training.choose import Plan, pick_device
from undertow.training.privacy import Noise, Privacy, claims, noise_of_claim
from undertow.training.private_reads import record_gradients
from undertow.training.schedule import Fit
from undertow.training.task import to_params
from undertow.types import Array, AuditResult, Params, Scores, Slot

PRETRAIN = Fit(epochs=60, batch=64, lr=0.1)
BLOCK = 50  # runs trained together, the unit that an interruption redoes
CACHED_FLOATS = 8 << 20  # activations of a block
_noise_of_claim, _claims = lru_cache(noise_of_claim), lru_cache(claims)


def audit_dp(config: DpConfig, supply: TrapSupply, host: Host) -> AuditResult:
    """Train, read, bound; the result names every access that the runs allow, with one headline.

    Raises ConfigError, BadInput, MissingExtra, StoreError or WorkerDied; finished blocks stay in the host's store.
    """
    clock = Stopwatch()
    with clock.stage("accounting"):
        game = Game(config, supply, host)
        tests = game.tests
        fixed = tests.fixed()
        said = _claims(game.noise.multiplier, game.noise.rate, game.noise.steps, config.delta)
    with clock.stage("runs"):
        reads = game.play()
    with clock.stage("bounds"):
        quote = quoted(tests, reads)
        rows = [
            *claim_rows(tests, said, config.recipe.noise > 0),
            *bound_rows(tests, reads, quote),
            *growth_rows(tests, reads, quote),
        ]
        controls = control_rows(tests, reads, quote)
    return AuditResult(
        audit="dp",
        config=plain(config),
        seed=config.seed,
        environment={
            **host.environment,
            "privacy": {**vars(game.noise)},
            "claim": {**vars(tests.claim.noise)},
            "fixed": fixed,
        },
        data=supply.describe(),
        warnings=supply.notes,
        measurements=tuple(rows),
        controls=tuple(controls),
        timing=clock.seconds,
        utility={"largest part of another record in a canary's direction": tests.leak},
        scores=tuple(Scores(config.canary, reads[a], reads["member"], view=a) for a in ACCESSES if a in reads),
        ids=tuple(f"canary-{k}" for k in range(game.count)),
    )


@dataclass(frozen=True, eq=False)
class Game:
    """One configuration on its records: the canaries, the noise, the runs."""

    config: DpConfig
    supply: TrapSupply
    host: Host

    @property
    def count(self) -> int:
        return self.config.canaries if self.config.one_run else 1

    @property
    def apart(self) -> bool:
        return self.config.canary in ("trap", "gradient")

    @cached_property
    def promised(self) -> Noise:
        """The noise that meets the claim."""
        recipe, config = self.config.recipe, self.config
        target = Privacy(config.epsilon, config.delta, recipe.clip)
        return _noise_of_claim(target, recipe.rate, recipe.steps)

    @cached_property
    def noise(self) -> Noise:
        """The noise of the runs."""
        given = self.config.recipe.noise
        return replace(self.promised, multiplier=given) if given else self.promised

    @cached_property
    def claim(self) -> Claim:
        return claim_of(self.promised)

    @cached_property
    def tests(self) -> Reader:
        return Reader(self.config, self.claim, self.apart, self.leak)

    @cached_property
    def records(self) -> Array:
        """(N, d), flat."""
        return self.supply.victim.x.reshape(len(self.supply.victim), -1).astype(np.float32)

    @property
    def hidden(self) -> tuple[int, ...]:
        planted = self.config.checkpoint == "planted"
        return (self.config.hidden[0] + self.count,) if planted else self.config.hidden

    @cached_property
    def checkpoint(self) -> Params:
        """Before anything is planted."""
        architecture, width = Mlp(self.config.hidden), self.records.shape[1:]
        if self.config.checkpoint != "pretrained":
            seed = seed_for(self.config.seed, "dp", "checkpoint")
            return to_params(initial_state(architecture, width, self.supply.classes, seed))
        auxiliary = self.supply.auxiliary
        key = self._put(auxiliary.x.reshape(len(auxiliary), -1).astype(np.float32), auxiliary.y)
        plan = replace(self.plan, engine="sequential")
        stage = Pretrain(key, architecture, width, self.supply.classes, PRETRAIN, plan)
        slot = Slot("base", 0, self.config.seed, None)
        return self.host.store.get(
            play([stage], [slot], self.host.store, self.host.executor, secret="").keys[stage.name][0]
        )

    @cached_property
    def canaries(self) -> Canaries:
        config = self.config
        if config.canary == "trap":
            return trap_canaries(
                self.records, self.count, self.supply.classes, self.checkpoint, self._reach, config.seed
            )  # fmt: skip
        if config.canary == "gradient":
            none = np.zeros((0, self.records.shape[1]), np.float32)
            return Canaries(none, np.zeros(0, np.int64), self.checkpoint)
        wrong = config.canary == "mislabelled"
        x, y = natural_canaries(self.supply.auxiliary, self.count, self.supply.classes, wrong, config.seed)
        return Canaries(x.astype(np.float32), y, self.checkpoint)

    @property
    def _reach(self) -> float:
        """How far a trap is open: several times what the noise and the canary move its bias by."""
        noise, lr = self.noise, self.config.recipe.lr
        unit = float(lr * noise.clip / (noise.rate * len(self.records)))
        return float(max(1.0, 2 * unit * (noise.steps * noise.rate + 6 * noise.multiplier * noise.steps**0.5)))

    @cached_property
    def stage(self) -> DpRuns:
        canaries, victim, recipe = self.canaries, self.supply.victim, self.config.recipe
        x = np.concatenate([self.records, canaries.x]) * np.float32(canaries.scale)
        data = self._put(x, np.concatenate([victim.y, canaries.y]).astype(np.int64))
        start = fingerprint(*canaries.state.values())
        if not self.host.store.has(start):
            self.host.store.put(start, canaries.state)
        return DpRuns(
            data, len(victim), start, self.hidden, self.supply.classes, self.count, self.config.canary == "gradient",
            self.apart, recipe.sampling, self.noise, recipe.lr, self.block, self.plan,
        )  # fmt: skip

    @property
    def block(self) -> int:
        wide = max((*self.hidden, self.supply.classes)) * (len(self.records) * self.config.recipe.rate + self.count)
        return max(1, min(BLOCK, self.config.runs, int(CACHED_FLOATS / wide)))

    @property
    def plan(self) -> Plan:
        engine = self.config.engine
        dtype = "float64" if engine.dtype == "float64" else "float32"
        return Plan("private_dense", 1, dtype, engine.threads, pick_device(engine.device))

    @cached_property
    def leak(self) -> float:
        """Largest part, in clipping norms, of any other record in a canary's direction at the checkpoint."""
        stage = self.stage
        if stage.crafted:
            return 0.0  # what records leave there is the same in both worlds, and in no other canary's direction
        arrays, module = self.host.store.get(stage.data), stage.module(self.records.shape[1])
        state, n = self.canaries.state, len(self.records)
        mine = record_gradients(module, state, arrays["x"][n:], arrays["y"][n:], torch.float64)
        mine /= np.maximum(np.linalg.norm(mine, axis=1, keepdims=True), 1e-12)
        cross = np.abs(mine @ mine.T) - np.eye(len(mine))
        parts = [float(np.abs(cross).max()) if len(mine) > 1 else 0.0]
        for rows in np.array_split(np.arange(n), ceil(n / 100)):
            others = record_gradients(module, state, arrays["x"][rows], arrays["y"][rows], torch.float64)
            size = np.maximum(np.linalg.norm(others, axis=1, keepdims=True) / self.noise.clip, 1.0)
            parts.append(float(np.abs((others / size) @ mine.T).max() / self.noise.clip))
        return max(parts)

    def check(self) -> None:
        """BadInput, ConfigError or MissingExtra for what cannot be audited, before anything is trained."""
        _ = self.promised, self.canaries if self.config.checkpoint != "pretrained" else None
        if self.config.recipe.noise:  # that it can be accounted
            _claims(self.noise.multiplier, self.noise.rate, self.noise.steps, self.config.delta)

    def play(self) -> dict[str, Array]:
        """Scores of every access (runs, K) and who was there (runs, K): with the canary first, or by coins."""
        config, stage = self.config, self.stage
        roles = ("coins",) if config.one_run else ("with", "without")
        blocks = ceil(config.runs / self.block)
        slots = [Slot(role, i, config.seed, None) for role in roles for i in range(blocks)]
        host = self.host
        trace = play([stage], slots, host.store, host.executor, secret="", progress=host.progress)
        found = [host.store.get(key) for key in trace.keys[stage.name]]
        parts = [found[i * blocks : (i + 1) * blocks] for i in range(len(roles))]
        return {
            name: np.concatenate([np.concatenate([p[name] for p in part])[: config.runs] for part in parts])
            for name in found[0]
        }

    def _put(self, x: Array, y: Array) -> str:
        key = fingerprint(x, y)
        if not self.host.store.has(key):
            self.host.store.put(key, {"x": x, "y": y})
        return key
