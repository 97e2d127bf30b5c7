"""A folder of the user's own records: pretrain, finetune and, if there is one, test; x (N, ...) with labels y (N,).

Nothing about them is assumed: labels are mapped and the mapping is said, the layout of images is found or asked for,
and records are changed or left out only where `data.change_records` allows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from undertow.audits.settings import DataSettings, ModelSettings
from undertow.audits.supply import Supply, share_used
from undertow.rng import stream
from undertow.sources.records.arrays import measured, read_arrays, token_ids
from undertow.sources.records.labels import Classes, classes_of, plain_labels
from undertow.sources.records.own_texts import text_files, tokenized
from undertow.texts import next_tokens
from undertow.types import Array, BadInput, ConfigError, Examples

IMAGES = ("cnn", "resnet")
STAGES = ("pretrain", "finetune", "test")
HOLDS = "it holds x (N, ...) and y (N,)"
CHANGES = {"label_noise": "changes labels", "pool": "leaves out audited records", "other": "leaves out other records",
           "draw": "finetunes each model on a part of them"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Part:
    """One file as it was read."""

    path: Path
    x: Array  # (N, ...) float32, or (N, L) int64 token ids
    y: Array | None  # (N,) labels as written: whole numbers or texts; None: next tokens are learnt
    ids: Array  # (N,) texts
    notes: tuple[str, ...] = ()


def own_records(audit: str, path: Path, settings: DataSettings, seed: int, model: ModelSettings) -> Supply:
    """The supply of a membership audit from the folder `path`; inputs are standardised by the data not audited.

    Raises BadInput or ConfigError in one line that names the file, what is wrong with it, and what to do.
    """
    parts = _parts(audit, path, settings, model)
    secret, other = ("pretrain", "finetune") if audit == "tmi" else ("finetune", "pretrain")
    _check_unchanged(settings, parts, secret, other)
    classes, labels = _classes(parts, settings.same_labels)
    if settings.label_noise and secret not in labels:
        raise ConfigError(f"data.label_noise = {settings.label_noise}: the audited texts have no labels")
    kept = {name: np.arange(len(part.x)) for name, part in parts.items()}
    if settings.pool:
        kept[secret] = _drawn(parts[secret], seed, settings.pool, "data.pool")
    if settings.other and other in parts:
        kept[other] = _drawn(parts[other], seed + 1, settings.other, "data.other")
    y = {name: labels[name] if name in labels else next_tokens(part.x) for name, part in parts.items()}
    found = {name: Examples(part.x[kept[name]], y[name][kept[name]], part.path.name) for name, part in parts.items()}
    scaled = _standardised(found, (found.get(other) or found[secret]).x)
    return Supply(
        name=path.name or str(path),
        secret=scaled[secret],
        other=scaled.get(other),
        test=scaled.get("test"),
        ids=tuple(str(parts[secret].ids[i]) for i in kept[secret]),
        pictures=pictures_of(found[secret].x),
        notes=_notes(audit, settings, parts, classes, secret, other),
        labels={name: c.mapping() for name, c in classes.items() if c.mapped},
    )


def _parts(audit: str, path: Path, settings: DataSettings, model: ModelSettings) -> dict[str, Part]:
    if path.is_file():
        raise BadInput(
            f"--data {path} is a file; give the folder that holds finetune.npz (and pretrain.npz: the base, or what "
            "tmi audits)"
        )
    if not path.is_dir():
        raise BadInput(f"--data {path}: no such folder")
    needed = ("pretrain", "finetune") if audit == "tmi" else ("finetune",)
    if texts := text_files(path, STAGES):
        return _of_texts(texts, needed, path, settings, model)
    files = {stage: path / f"{stage}.npz" for stage in STAGES}
    for stage in needed:
        if not files[stage].is_file():
            raise BadInput(f"--data {path}: {stage}.npz is missing; {HOLDS} of the {stage} data")
    return {stage: read_part(file, settings, model) for stage, file in files.items() if file.is_file()}


def _of_texts(
    files: Mapping[str, Path], needed: Sequence[str], folder: Path, settings: DataSettings, model: ModelSettings
) -> dict[str, Part]:
    """Texts as token ids; of tmi's pretraining texts labels are no need: a language model is pretrained on them."""
    for stage in needed:
        if stage not in files:
            raise BadInput(f"--data {folder}: {stage}.jsonl (or .csv, .parquet, ...) is missing beside the other texts")
    found = tokenized(files, needed[0], tuple(s for s in files if s != "pretrain"), settings, model)
    return {
        stage: Part(one.path, one.ids, np.array(one.labels) if one.labels else None, np.array(one.names), one.notes)
        for stage, one in found.items()
    }


def read_part(path: Path, settings: DataSettings, model: ModelSettings) -> Part:
    """x, y and id of one npz file (no pickled objects); BadInput naming the file and the key."""
    arrays = read_arrays(path)
    if "y" not in arrays:
        raise BadInput(f"{path}: key 'y' is missing; found: {', '.join(arrays)}")
    if model.kind == "transformer" and not model.factory:
        notes: tuple[str, ...] = ()
        x = token_ids(arrays["x"], path, settings.vocabulary)
    else:
        x, notes = measured(arrays["x"], path, settings.layout, images=model.kind in IMAGES and not model.factory)
    y = plain_labels(arrays["y"], path)
    if len(x) == 0:
        raise BadInput(f"{path}: no examples")
    if len(y) != len(x):
        raise BadInput(f"{path}: labels must be one for each record: y has {len(y)}, x has {len(x)}")
    ids = arrays.get("id", np.arange(len(x)))
    if ids.shape != (len(x),):
        raise BadInput(f"{path}: id has shape {ids.shape}; it must name each of the {len(x)} records")
    return Part(path, x, y, ids.astype(str), notes)


def _check_unchanged(settings: DataSettings, parts: Mapping[str, Part], secret: str, other: str) -> None:
    """ConfigError where settings would change the user's records or leave some out, and nobody asked for that."""
    if settings.change_records:
        return
    there = {"pool": len(parts[secret].x), "other": len(parts[other].x) if other in parts else 0}
    there["draw"] = settings.other or there["other"]
    active = [
        f"data.{key} = {getattr(settings, key)} ({what})"
        for key, what in CHANGES.items()
        if getattr(settings, key) and getattr(settings, key) < there.get(key, np.inf)
    ]
    if active:
        raise ConfigError(
            f"{', '.join(active)}: records of your own are used as they are; leave that out, or ask for it with "
            "data.change_records = true, and the report says so"
        )


def _drawn(part: Part, seed: int, count: int, key: str) -> Array:
    if count > len(part.x):
        raise ConfigError(f"{key} = {count}, but {part.path.name} has {len(part.x)} records")
    return stream(seed, "split").permutation(len(part.x))[:count]


def _classes(parts: Mapping[str, Part], same: bool) -> tuple[dict[str, Classes], dict[str, Array]]:
    """The classes of each task, and the labels of each part as class numbers; test records are of the finetuning."""
    base = ["pretrain"] if "pretrain" in parts and parts["pretrain"].y is not None else []
    down = [name for name in ("finetune", "test") if name in parts]
    if same and not (base and {*np.unique(_y(parts["pretrain"]))} == {*np.unique(_y(parts["finetune"]))}):
        raise ConfigError(
            "data.same_labels = true, but pretraining and finetuning data hold different labels; set it to false"
        )
    classes: dict[str, Classes] = {}
    labels: dict[str, Array] = {}
    for task in [[*base, *down]] if same else [part for part in (base, down) if part]:
        what = " and ".join(parts[name].path.name for name in task)
        for name in task if not same else ():
            if name != "test":
                classes_of(
                    [_y(parts[name])], parts[name].path.name
                )  # one class only is refused in the file that has it
        found, coded = classes_of([_y(parts[name]) for name in task], what)
        classes[task[0]] = found
        labels |= dict(zip(task, coded, strict=True))
    return classes, labels


def _y(part: Part) -> Array:
    assert part.y is not None
    return part.y


def _standardised(parts: Mapping[str, Examples], reference: Array) -> dict[str, Examples]:
    """Per feature; per channel of (N, C, H, W); else over all. Token ids stay as they are."""
    if reference.dtype.kind in "iu":
        return dict(parts)
    axes = {2: (0,), 4: (0, 2, 3)}.get(reference.ndim)
    mean, deviation = reference.mean(axes, keepdims=True), reference.std(axes, keepdims=True)
    shapes = {part.x.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        said = ", ".join(f"{part.name} {part.x.shape[1:]}" for part in parts.values())
        raise BadInput(f"records of all files must have one shape; they have {said}")
    return {
        name: replace(part, x=((part.x - mean) / (deviation + 1e-3)).astype(np.float32)) for name, part in parts.items()
    }


def _notes(
    audit: str, settings: DataSettings, parts: Mapping[str, Part], classes: Mapping[str, Classes], secret: str,
    other: str,
) -> tuple[str, ...]:  # fmt: skip
    """What was done to the records, and what is assumed of them."""
    said = [note for part in parts.values() for note in part.notes]
    said += [note for name, found in classes.items() for note in found.note(parts[name].path.name)]
    for name, key in ((secret, "pool"), (other, "other")):
        used = getattr(settings, key)
        if name in parts and used:
            said += share_used(used, len(parts[name].x), f"records of {parts[name].path.name} are used", f"data.{key}")
    if audit == "tmi" and settings.draw:
        there = settings.other or len(parts[other].x)
        if settings.draw < there:
            said.append(f"Each model is finetuned on {settings.draw:,} of {there:,} records, drawn for it (data.draw).")
    if audit == "tmi" and settings.same_labels:
        said.append("The classes of pretraining and finetuning are taken to be the same (data.same_labels = true).")
    return tuple(said)


def pictures_of(x: Array) -> Array | None:
    """Images (N, H, W) or (N, C, H, W) as people see them, uint8 (N, H, W[, 3]); None where these are no images."""
    if x.ndim == 4 and x.shape[1] in (1, 3):
        x = x[:, 0] if x.shape[1] == 1 else x.transpose(0, 2, 3, 1)
    elif x.ndim != 3:
        return None
    low, high = float(x.min()), float(x.max())
    return ((x - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
