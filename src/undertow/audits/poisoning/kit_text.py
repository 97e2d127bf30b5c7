"""Causal language models in the poisoning audit: what is asked of them, and what the answers say."""

import numpy as np

from undertow.audits.base import Base
from undertow.audits.chain import Host
from undertow.audits.poisoning.kit import Answers, Kit, look, targeted, victims
from undertow.audits.poisoning.settings import PoisoningConfig
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.stored import put, put_examples
from undertow.stages.interrogate import VIEWS, Interrogate
from undertow.stages.poison import Poison
from undertow.stages.pretrain import Pretrain
from undertow.texts import next_tokens
from undertow.token_signals import NARROW_VIEWS, view_signals, zlib_bytes
from undertow.types import Array, Examples, Store


def text_kit(config: PoisoningConfig, supply: PoisonSupply, base: Base, host: Host) -> Kit:
    """Language models: the loss is of the next token, the checkpoint itself is the reference of calibrated signals."""
    store, plan, shape = host.store, look(config), supply.shape
    data = put_examples(store, supply.pretrain) if supply.pretrain is not None else ""
    asked = _questions(store, supply.candidates)
    held_out = put_examples(store, supply.held_out)
    sizes = zlib_bytes(supply.texts) if supply.texts else None

    def read(models: Answers, before: Answers, view: str) -> dict[str, Array]:
        inside = {"inside": models["inside"][0]}
        return view_signals({**models, **inside}, view, {n: v[0] for n, v in before.items()}, sizes)

    return Kit(
        pretrain=Pretrain(data, base.architecture, shape, supply.classes, config.pretrain, plan),
        poison=Poison(
            put_examples(store, supply.auxiliary),
            put_examples(store, targeted(supply)),
            base.architecture,
            shape,
            supply.classes,
            config.poison,
            plan,
        ),
        finetune=victims(config, supply, base.architecture, store),
        ask=lambda views, architecture: Interrogate(
            asked, held_out, architecture, shape, needed(tuple(views)), config.seed, plan
        ),
        read=read,
        first="loss",
        utility="heldout_loss",
    )


def _questions(store: Store, candidates: Examples) -> str:
    """Texts, and what follows each place where that is not simply the next token (answers of conversations)."""
    plain = np.array_equal(candidates.y, next_tokens(candidates.x))
    return put(store, x=candidates.x) if plain else put_examples(store, candidates)


def needed(views: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """What must be asked to show the attacker `views`: the narrow ones are read off the exact answers."""
    return tuple(dict.fromkeys(view for view in ("exact", *views) if view not in NARROW_VIEWS or view in VIEWS))
