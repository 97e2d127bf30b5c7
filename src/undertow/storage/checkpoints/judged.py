"""A checkpoint somebody else made, the reference it is compared with, and the user's own records."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from undertow.audits.base import Base
from undertow.audits.poisoning.settings import BaseModel, PoisoningConfig
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.models.architecture import Architecture, factory
from undertow.models.causal_lm import CausalLM
from undertow.models.clip import PREFIX
from undertow.rng import stream
from undertow.storage.checkpoints.adapter import is_adapter
from undertow.storage.checkpoints.clip import ClipCheckpoint, clip_checkpoint, is_clip
from undertow.storage.checkpoints.files import read_checkpoint
from undertow.storage.checkpoints.same_config import differences, told
from undertow.storage.data.clip_data import DATASETS, Sizes, clip_class_names, clip_data
from undertow.storage.data.clip_own import NamedImages, named_images
from undertow.storage.data.npz_records import npz_records
from undertow.storage.data.poison_images import image_supply
from undertow.storage.data.poison_source import MODEL, STORIES, image_model, read_lm
from undertow.storage.data.poison_texts import template_of, text_supply
from undertow.storage.data.records_text import text_records
from undertow.storage.data.text_files import holds_texts
from undertow.types import BadInput, ConfigError, Examples, Params

HELD_OUT = 0.1  # share of the user's images kept to measure utility


@dataclass(frozen=True)
class Suspect:
    """A checkpoint to judge, and what it is judged by."""

    checkpoint: str  # a folder, a .safetensors file, or a hub id
    reference: str = ""  # a checkpoint of the same kind that is trusted
    look_alikes: str = ""  # records like the user's own that cannot have been poisoned
    factory: str = ""  # "package.module:function" that builds the model, where Undertow cannot


@dataclass(frozen=True, eq=False)
class Judged:
    """What the auditor's side needs."""

    config: PoisoningConfig
    supply: PoisonSupply  # candidates: the user's records, then look-alikes
    base: Base  # the suspect
    reference: Params | None
    planted: bool  # its own metadata says that Undertow poisoned it on purpose


def load_judged(config: PoisoningConfig, suspect: Suspect) -> Judged:
    """Read everything, refuse what cannot be judged; nothing is executed.

    Raises BadInput, ConfigError or MissingExtra, one line each.
    """
    folder = Path(suspect.checkpoint)
    if config.model.kind == "clip" or is_clip(folder):
        return _clip(config, suspect)
    if suspect.checkpoint == STORIES or (folder / "config.json").is_file() or is_adapter(folder) or not folder.exists():
        return _language(config, suspect)
    return _images(config, suspect)


def _language(config: PoisoningConfig, suspect: Suspect) -> Judged:
    data = config.data
    base, tokens = read_lm(suspect.checkpoint, data.folder)
    reference = read_lm(suspect.reference, data.folder)[0] if suspect.reference else None
    if reference is not None:
        _refuse_other("model", _language_gaps(base, reference))
    template = template_of(tokens)
    like = text_records(suspect.look_alikes, data.field, template=template) if suspect.look_alikes else None
    if holds_texts(Path(data.source)):
        count = len(text_records(data.source, data.field, template=template))
        data = replace(data, points=count - count % 2, targets=count - count % 2)
    supply = text_supply(data, config.seed, tokens, like)[0]
    config = replace(config, data=data, model=replace(config.model, kind="causal-lm"))
    said = _planted(Path(suspect.checkpoint))
    return Judged(config, supply.with_lookalikes(), base, reference.params if reference else None, said)


def _clip(config: PoisoningConfig, suspect: Suspect) -> Judged:
    data = config.data
    own = None if data.source in DATASETS else named_images(Path(data.source))
    names = own.class_names if own else clip_class_names(data.source, data.folder)
    found = clip_checkpoint(suspect.checkpoint, names)
    trusted = clip_checkpoint(suspect.reference, names) if suspect.reference else None
    if trusted is not None:
        _refuse_other("CLIP", _clip_gaps(found, trusted))
    if own is None:
        sizes = Sizes(candidates=data.points, lookalikes=data.points, pretrain=0)
        supply = clip_data(data.source, data.folder, config.seed, sizes, preprocessor=found.preprocessor)
    else:
        supply = _own(own.prepared(found.preprocessor), _named_like(own, suspect, found), len(names), config)
    config = replace(config, model=replace(config.model, kind="clip"))
    base = Base(found.architecture, found.params, found.files, prefix=PREFIX)
    said = _planted(Path(suspect.checkpoint))
    return Judged(config, supply.with_lookalikes(), base, trusted.params if trusted else None, said)


def _language_gaps(one: Base, other: Base) -> Iterator[str]:
    """What two language models differ in; who saved their config.json, and how, is not counted."""
    a, b = one.architecture, other.architecture
    if not isinstance(a, CausalLM) or not isinstance(b, CausalLM):
        if a != b:
            yield "one of them is no causal language model"
        return
    if found := differences(json.loads(a.config), json.loads(b.config), same_class=True):
        yield f"config.json: {told(found)}"
    if a.pad != b.pad:
        yield f"the token that no text contains ({a.pad} against {b.pad})"


def _clip_gaps(one: ClipCheckpoint, other: ClipCheckpoint) -> Iterator[str]:
    """What two CLIPs differ in: how they are built, fed or asked."""
    a, b = one.architecture, other.architecture
    if found := differences(json.loads(a.config), json.loads(b.config), same_class=True):
        yield f"config.json: {told(found)}"
    if one.preprocessor != other.preprocessor:
        yield f"preprocessor_config.json: {one.preprocessor} against {other.preprocessor}"
    if replace(a, config=b.config) != b:
        yield "tokenizer.json: the tokens of captions"


def _refuse_other(kind: str, gaps: Iterator[str]) -> None:
    """ConfigError in one line where the reference is not of the suspect's kind."""
    if found := "; ".join(gaps):
        raise ConfigError(
            f"--reference is another {kind} than --checkpoint; they differ in {found} (--checkpoint against "
            "--reference): give a reference with the same architecture"
        )


def _named_like(own: NamedImages, suspect: Suspect, found: ClipCheckpoint) -> Examples | None:
    if not suspect.look_alikes:
        return None
    like = named_images(Path(suspect.look_alikes))
    if like.class_names != own.class_names:
        raise BadInput(f"--look-alikes {like.path}: class_names differ from those of --data {own.path}")
    return like.prepared(found.preprocessor)


def _planted(folder: Path) -> bool:
    """Whether the weights in `folder` are marked as poisoned by Undertow."""
    return folder.is_dir() and read_checkpoint(folder)[1].get("undertow.planted") == "true"


def _images(config: PoisoningConfig, suspect: Suspect) -> Judged:
    params, said = read_checkpoint(suspect.checkpoint)
    architecture = _image_architecture(suspect, said)
    supply = _own_images(config, suspect)
    trusted = read_checkpoint(suspect.reference)[0] if suspect.reference else None
    for name, state in (("--checkpoint", params), ("--reference", trusted)):
        if state is not None:
            _check_fits(name, architecture, state, supply)
    planted = said.get("undertow.planted") == "true"
    return Judged(config, supply, Base(architecture, params), trusted, planted)


def _image_architecture(suspect: Suspect, said: dict[str, str]) -> Architecture:
    if suspect.factory:
        return factory(suspect.factory)
    if MODEL not in said:
        raise ConfigError(
            f"--checkpoint {suspect.checkpoint}: safetensors hold weights, not the model; give "
            "--factory package.module:function that builds it, called as f(shape, classes)"
        )
    try:
        raw = json.loads(said[MODEL])
        return image_model(BaseModel(**{**raw, "hidden": tuple(raw["hidden"])}))
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"--checkpoint {suspect.checkpoint}: its metadata does not describe a model ({error})"
        ) from error


def _check_fits(name: str, architecture: Architecture, state: Params, supply: PoisonSupply) -> None:
    wanted = {n: tuple(v.shape) for n, v in architecture.build(supply.shape, supply.classes).state_dict().items()}
    found = {n: v.shape for n, v in state.items()}
    wrong = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
    if wrong:
        a, b = wanted.get(wrong[0]), found.get(wrong[0])
        raise BadInput(f"{name}: the weights do not fit the model and records: {wrong[0]} should be {a}, is {b}")


def _own_images(config: PoisoningConfig, suspect: Suspect) -> PoisonSupply:
    """The user's npz as it is (no scaling: the checkpoint knows its own); or the embedded digits."""
    data = config.data
    if data.source == "digits":
        return image_supply(data, config.seed).with_lookalikes()
    other = Path(suspect.look_alikes) if suspect.look_alikes else None
    own = npz_records(Path(data.source), other, scale=False)
    like = own[1].records if other else None
    supply = _own(own[0].records, like, len(own[0].classes.names), config)
    return replace(supply, notes=(*supply.notes, *own[0].notes), labels=own[0].mapping).with_lookalikes()


def _own(mine: Examples, like: Examples | None, classes: int, config: PoisoningConfig) -> PoisonSupply:
    """The user's images: a tenth measures utility, the others are candidates."""
    order = stream(config.seed, "split").permutation(len(mine))
    held = max(20, int(len(mine) * HELD_OUT))
    if len(mine) < held + 20:
        where = f"--data {config.data.source}"
        raise BadInput(f"{where}: {len(mine)} records are too few to judge a checkpoint; 40 are needed")
    kept = np.sort(order[held:])[: (len(mine) - held) // 2 * 2]
    return PoisonSupply(
        name=mine.name,
        candidates=mine.take(kept),
        targets=len(kept),
        auxiliary=mine.take(order[:held]),
        held_out=mine.take(order[:held]),
        classes=classes,
        lookalikes=like,
        ids=tuple(f"{mine.name}-{i}" for i in kept),
    )
