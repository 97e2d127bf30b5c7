"""A checkpoint somebody else made, the reference it is compared with, and the user's own records."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from undertow.audits.base import Base
from undertow.audits.poisoning.settings import BaseModel, PoisoningConfig
from undertow.audits.poisoning.supply import PoisonSupply
from undertow.models.architecture import Architecture, factory
from undertow.models.causal_lm import CausalLM
from undertow.models.clip import PREFIX
from undertow.models.huggingface import described, padding, positions
from undertow.rng import stream
from undertow.sources.checkpoints.adapter import is_adapter
from undertow.sources.checkpoints.classifier import (
    class_numbers,
    kind_of,
    pixels_as_read,
    read_classifier,
    same_kind,
    without_head,
)
from undertow.sources.checkpoints.clip import ClipCheckpoint, clip_checkpoint, is_clip
from undertow.sources.checkpoints.files import read_checkpoint
from undertow.sources.checkpoints.language import folder_of
from undertow.sources.checkpoints.same_config import differences, told
from undertow.sources.checkpoints.tokenizers import tokenizer_in
from undertow.sources.records.clip_data import DATASETS, Sizes, clip_class_names, clip_data
from undertow.sources.records.clip_own import NamedImages, named_images
from undertow.sources.records.labels import Classes, classes_of
from undertow.sources.records.npz_records import npz_records
from undertow.sources.records.poison_images import image_supply
from undertow.sources.records.poison_source import MODEL, STORIES, image_model, read_lm
from undertow.sources.records.poison_texts import template_of, text_supply
from undertow.sources.records.records_text import text_records
from undertow.sources.records.text_files import WHAT, holds_texts
from undertow.sources.records.tokens import FastTokens, padded
from undertow.storage.files import read_json
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
    if suspect.checkpoint != STORIES and not Path(suspect.checkpoint).exists():
        suspect = replace(suspect, checkpoint=str(folder_of(suspect.checkpoint)))
    folder = Path(suspect.checkpoint)
    if config.model.kind == "clip" or is_clip(folder):
        return _clip(config, suspect)
    if (folder / "config.json").is_file() and (kind := kind_of(folder)) != "language":
        judge = _image_classifier if kind == "images" else _text_classifier
        return judge(config, suspect, folder)
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


def _image_classifier(config: PoisoningConfig, suspect: Suspect, folder: Path) -> Judged:
    source = config.data.source
    if not source.endswith(".npz"):
        raise ConfigError(
            f"--checkpoint {folder} is a model of images; give --data mine.npz, with x (N, ...) and y (N,)"
        )
    other = Path(suspect.look_alikes) if suspect.look_alikes else None
    own = npz_records(Path(source), other, scale=False, images=True)
    if len(own[0].records.x.shape) != 4:
        raise ConfigError(f"--data {source}: records of shape {own[0].records.x.shape[1:]} are no images (N, C, H, W)")
    parts, notes = [one.records for one in own], list(own[0].notes)
    if own[0].of_bytes:
        prepared = [pixels_as_read(folder, part.x) for part in parts]
        parts = [Examples(x, part.y, part.name) for (x, _), part in zip(prepared, parts, strict=True)]
        notes.append(prepared[0][1])
    return _classified(config, suspect, parts, own[0].classes, "image-classifier", notes)


def _text_classifier(config: PoisoningConfig, suspect: Suspect, folder: Path) -> Judged:
    data = config.data
    if not holds_texts(Path(data.source)):
        raise ConfigError(
            f"--checkpoint {folder} is a model of texts; --data: texts with their class in a field 'label' ({WHAT})"
        )
    files = [data.source, *([suspect.look_alikes] if suspect.look_alikes else [])]
    read = [text_records(file, data.field, label="label") for file in files]
    classes, labels = classes_of([np.array(one.labels) for one in read], Path(data.source).name)
    longest = positions(described(read_json(folder / "config.json")))
    context = min(data.context, longest) if longest else data.context
    tokens = FastTokens(tokenizer_in(folder), max(padding(described(read_json(folder / "config.json"))), 0))
    parts = []
    for one, y in zip(read, labels, strict=True):
        ids = padded(tokens.encode(one.texts), context)
        _, first = np.unique(ids, axis=0, return_index=True)
        parts.append(Examples(ids[np.sort(first)], y[np.sort(first)], one.name))
    notes = [*read[0].notes, f"{context} tokens are kept of each text (data.context = {data.context})."]
    return _classified(config, suspect, parts, classes, "text-classifier", notes)


def _classified(
    config: PoisoningConfig, suspect: Suspect, parts: list[Examples], own: Classes, kind: str, notes: list[str]
) -> Judged:
    """The suspect and its reference as classifiers of the user's classes; their own heads where both have them."""
    folder, trusted = Path(suspect.checkpoint), Path(suspect.reference) if suspect.reference else None
    if trusted is not None:
        found = differences(*same_kind(folder, trusted), same_class=True)
        _refuse_other("model", iter([f"config.json: {told(found)}"] if found else []))
    shape = tuple(parts[0].x.shape[1:])
    numbers, count = class_numbers(folder, own.names, own.mapped)
    folders = [folder, *([trusted] if trusted else [])]
    read = [read_classifier(one, shape, count, config.seed) for one in folders]
    if all(one.own_head for one in read):
        notes.append(f"The checkpoint's own head of {count} classes is kept.")
    else:
        numbers, count = np.arange(len(own.names)), len(own.names)
        read = [read_classifier(one, shape, count, config.seed) for one in folders]
        bare = [without_head(one.params, one.architecture, shape, count, config.seed) for one in read]
        read = [replace(one, params=params) for one, params in zip(read, bare, strict=True)]
        notes.append(f"A fresh head of {count} classes was given to every checkpoint, the same one.")
    parts = [Examples(part.x, numbers[part.y], part.name) for part in parts]
    supply = _own(parts[0], parts[1] if len(parts) > 1 else None, count, config)
    mapping = {name: int(i) for name, i in zip(own.names, numbers, strict=True)} if own.mapped else {}
    supply = replace(supply, notes=(*supply.notes, *notes), labels=mapping).with_lookalikes()
    model = BaseModel(**{**asdict(config.model), "kind": kind})
    base = Base(read[0].architecture, read[0].params)
    reference = read[1].params if len(read) > 1 else None
    return Judged(replace(config, model=model), supply, base, reference, _planted(folder))


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
