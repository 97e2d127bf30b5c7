"""Poisoned checkpoints: does this base model make finetuning data leak membership? (Wen et al., NeurIPS 2024)

The game: an attacker changes a checkpoint with candidate records in mind and publishes it. A victim finetunes it on a
random half of the candidates. The attacker sees the finetuned model's answers and says which half. Three arms are
played on one membership matrix and the same seeds: the clean checkpoint, one trained on as long without a target term
(benign), and the poisoned one. The result is the difference between arms.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from undertow.audits.base import Base
from undertow.audits.chain import Host
from undertow.audits.in_turn import THRESHOLD, attack_in_turn, offered_on
from undertow.audits.leakage import Stopwatch, plain
from undertow.audits.poisoning.kit import BASE_SLOT, Answers, Kit, finetune_stage, image_kit
from undertow.audits.poisoning.kit_clip import clip_kit
from undertow.audits.poisoning.kit_text import text_kit
from undertow.audits.poisoning.recipes import Recipe, chosen
from undertow.audits.poisoning.settings import ARMS, PoisoningConfig
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.poisoning.worth import distance, worth_after, worth_before
from undertow.audits.stored import keep, put_examples
from undertow.engine.design import Design
from undertow.engine.play import play
from undertow.metrics import difference, measure
from undertow.rng import stream
from undertow.stages.poison import Poison
from undertow.stages.query import Then
from undertow.stages.soften import Soften
from undertow.training.privacy import Noise
from undertow.types import Array, AuditResult, ConfigError, Evidence, Measurement, Params, Scores, Slot, Stage

FPRS = (0.01, 0.001)
POINTS = ("targets", "others")


@dataclass(frozen=True, eq=False)
class Game:
    """The table: one family of models, its records, and the coin flips all arms share."""

    config: PoisoningConfig
    supply: PoisonSupply
    host: Host
    kit: Kit
    given: Params | None = None  # the checkpoint, where it is not pretrained here

    @cached_property
    def slots(self) -> list[Slot]:
        """The finetuned models of each arm; they come in complementary pairs."""
        return self._design.slots("shadow")

    @cached_property
    def member(self) -> Array:
        """(M, N) bool."""
        return self._design.member("shadow")

    @property
    def _design(self) -> Design:
        return design_of(self.config, self.supply)

    @property
    def base(self) -> Slot:
        return Slot(BASE_SLOT, 0, self.config.seed, None)

    def one(self, stages: Sequence[Stage], start: str | None) -> str:
        """The key of what one model, the checkpoint, becomes."""
        if not stages:
            return start or ""
        return self.play(stages, [self.base], [start] if start else None)[0]

    def play(self, chain: Sequence[Stage], slots: Sequence[Slot], start: Sequence[str] | None) -> tuple[str, ...]:
        """engine.play on this host; the secret is the finetuning set."""
        host = self.host
        trace = play(chain, slots, host.store, host.executor, secret="finetune", start=start, progress=host.progress)
        return trace.keys[chain[-1].name]

    def answers(self, keys: Iterable[str]) -> Answers:
        """The arrays of many models, stacked (M, ...)."""
        found = [self.host.store.get(key) for key in keys]
        return {name: np.stack([one[name] for one in found]) for name in found[0]}


def lay_table(config: PoisoningConfig, supply: PoisonSupply, base: Base, host: Host) -> Game:
    """The game of this kind of model."""
    make = {"causal-lm": text_kit, "clip": clip_kit}.get(config.model.kind, image_kit)
    return Game(config, supply, host, make(config, supply, base, host), base.params)


def design_of(config: PoisoningConfig, supply: PoisonSupply) -> Design:
    """Every candidate is in exactly half of the models."""
    population = len(supply.candidates)
    return Design(config.seed, population, config.models, 1, population)


def audit_poisoning(config: PoisoningConfig, supply: PoisonSupply, base: Base, host: Host) -> AuditResult:
    """Stage the attack in three arms and measure what each leaks, by recipe and by what the attacker sees.

    Raises ConfigError, BadInput, StoreError or WorkerDied; whatever was finished stays in the host's store.
    """
    return staged(lay_table(config, supply, base, host))


def staged(game: Game) -> AuditResult:
    """All arms of a table that is laid, measured."""
    config, recipes, clock = game.config, chosen(game.config.recipes), Stopwatch()
    with clock.stage("checkpoints"):
        files = published(game)
        checkpoints = {arm: finetunable(game, key) for arm, key in files.items()}
        base = {arm: asked(game, key, config.views) for arm, key in checkpoints.items()}
    rows = [worth_before(base[arm], game.kit.utility, arm, len(game.supply.held_out)) for arm in checkpoints]
    scores: list[Scores] = []
    privacy: dict[str, Noise] = {}
    for recipe in recipes:
        with clock.stage(f"finetune, {recipe.name}"):
            arms = {
                arm: finetuned(game, recipe, key, checkpoints["clean"], privacy) for arm, key in checkpoints.items()
            }
        with clock.stage("attack and measure"):
            more, main = measured(game, recipe, arms, base)
        rows, scores = rows + more, scores + main
    promised = {"privacy": {name: vars(noise) for name, noise in privacy.items()}} if privacy else {}
    return AuditResult(
        audit="poisoning",
        config=plain(config),
        seed=config.seed,
        environment={**game.host.environment, "published": files, "checkpoints": checkpoints, **promised},
        data=game.supply.describe(),
        measurements=tuple(with_promises(rows, privacy)),
        timing=clock.seconds,
        utility=distances(game, checkpoints),
        warnings=game.supply.notes,
        scores=tuple(scores),
        ids=game.supply.ids,
    )


def measured(
    game: Game, recipe: Recipe, arms: Mapping[str, Answers], base: Mapping[str, Answers]
) -> tuple[list[Measurement], list[Scores]]:
    """Rows and kept scores of one recipe, view by view."""
    rows: list[Measurement] = []
    main: list[Scores] = []
    for view in game.config.views:
        found = {arm: attacked(game, arms[arm], base[arm], view, arm) for arm in arms}
        rows += compared(game, found, recipe, view)
        main += kept(found, recipe, view)
    return [*rows, *(worth_after(arms[arm], game.kit.utility, arm, recipe.name) for arm in arms)], main


def published(game: Game) -> dict[str, str]:
    """The checkpoint of every arm, as the store keeps it: {arm: key}."""
    kit = game.kit
    clean = given(game) if game.given is not None else game.one([kit.pretrain], None)
    objective = kit.poison.objective
    arms = {"clean": clean}
    for arm, direction in zip(ARMS[1:], ("none", objective.direction), strict=True):
        stage = replace(kit.poison, objective=replace(objective, direction=direction))
        arms[arm] = game.one([stage], clean)
    return arms


def finetunable(game: Game, key: str) -> str:
    """What is finetuned of a published checkpoint: itself, or of CLIP the zero-shot classifier."""
    return game.one([game.kit.publish] if game.kit.publish else [], key)


def given(game: Game) -> str:
    """The store key of the checkpoint the user brought."""
    return keep(game.host.store, game.given or {})


def asked(game: Game, checkpoint: str, views: Sequence[str]) -> Answers:
    """What a checkpoint itself answers, before anyone finetunes it."""
    return game.answers([game.one([game.kit.ask(views, game.kit.finetune.architecture)], checkpoint)])


def finetuned(game: Game, recipe: Recipe, checkpoint: str, trusted: str, privacy: dict[str, Noise]) -> Answers:
    """What the models finetuned from `checkpoint` answer; notes what DP-SGD promised in `privacy`."""
    stage = finetune_stage(game.kit, recipe, game.slots, game.host, game.config)
    if stage.noise is not None:
        privacy[recipe.name] = stage.noise
    start = game.one(preparations(game, recipe, trusted), checkpoint)
    link = Then(stage, game.kit.ask(game.config.views, stage.architecture))
    return game.answers(game.play([link], game.slots, [start] * len(game.slots)))


def preparations(game: Game, recipe: Recipe, trusted: str) -> list[Stage]:
    """What a careful victim does to the checkpoint before private records touch it."""
    stages: list[Stage] = []
    if recipe.soften:
        stages.append(Soften(recipe.soften, recipe.amount, trusted if recipe.soften == "average" else ""))
    if recipe.warm_up:
        public = game.supply.warm_up
        if public is None:
            raise ConfigError(f"recipe {recipe.name!r} trains on public data first, and there is none")
        stages.append(warm_up(game.kit, put_examples(game.host.store, public), recipe.warm_up))
    return stages


def warm_up(kit: Kit, public: str, steps: int) -> Poison:
    """Ordinary training on public data: the loop of the benign control, on what is finetuned."""
    stage, finetune = kit.poison, kit.finetune
    ordinary = replace(stage.objective, direction="none", steps=steps, batch=finetune.fit.batch, lr=finetune.fit.lr)
    return replace(stage, auxiliary=public, targets=public, architecture=finetune.architecture, objective=ordinary)


def attacked(game: Game, models: Answers, base: Answers, view: str, arm: str) -> dict[str, Scores]:
    """Scores of every attack this view allows, by name.

    LiRA (online and offline) reads the view's first statistic; every statistic is also thresholded as it is.
    """
    statistics = game.kit.read(models, base, view)
    main = game.kit.first if game.kit.first in statistics else next(iter(statistics))
    scores: dict[str, Scores] = {}
    for name, values in statistics.items():
        evidence = Evidence(member=game.member, values=values)
        names = offered_on(evidence) if name == main or view == "exact" else (THRESHOLD,)
        for found in attack_in_turn(evidence, names, game.config.seed, group=arm).scores:
            title = (
                name if found.attack == "threshold" else found.attack if name == main else f"{found.attack} of {name}"
            )
            scores[title] = replace(found, attack=title)
    return scores


def compared(
    game: Game, found: Mapping[str, Mapping[str, Scores]], recipe: Recipe, view: str, baseline: str = ARMS[0]
) -> Iterable[Measurement]:
    """Rows of every arm, and of each arm less the baseline, for targets and for the others."""
    seed, masks = game.config.seed, dict(zip(POINTS, (game.supply.targeted, ~game.supply.targeted), strict=True))
    for points, mask in masks.items():
        where: dict[str, Any] = {"points": points, "recipe": recipe.name, "view": view}
        for attack in found[baseline] if mask.any() else ():
            arms = {arm: on(scores[attack], mask) for arm, scores in found.items()}
            for arm, scores in arms.items():
                rng = stream(seed, "halves", arm, attack, *where.values())
                yield from (replace(row, **where) for row in measure(scores, rng, fprs=FPRS))
            for arm in (arm for arm in arms if arm != baseline):
                for row in difference([arms[arm]], [arms[baseline]], fprs=FPRS):
                    yield replace(row, attack=attack, metric=f"{row.metric}_difference", group=arm, **where)


def on(scores: Scores, mask: Array) -> Scores:
    """The scores of some points."""
    scored = None if scores.scored is None else scores.scored[:, mask]
    return replace(scores, values=scores.values[:, mask], member=scores.member[:, mask], scored=scored)


def kept(found: Mapping[str, Mapping[str, Scores]], recipe: Recipe, view: str) -> list[Scores]:
    """What is kept record by record: LiRA, in every arm."""
    return [replace(scores["lira"], recipe=recipe.name, view=view) for scores in found.values()]


def with_promises(rows: Iterable[Measurement], privacy: Mapping[str, Noise]) -> Iterable[Measurement]:
    """Rows of private recipes carry the epsilon they claim."""
    for row in rows:
        noise = privacy.get(row.recipe or "")
        yield replace(row, epsilon=noise.epsilon) if noise else row


def distances(game: Game, checkpoints: Mapping[str, str]) -> dict[str, float]:
    """How far the checkpoints lie from the clean one."""
    clean = game.host.store.get(checkpoints["clean"])
    return {
        f"{arm} checkpoint, distance to the clean one (relative L2)": distance(game.host.store.get(key), clean)
        for arm, key in checkpoints.items()
        if arm != "clean"
    }
