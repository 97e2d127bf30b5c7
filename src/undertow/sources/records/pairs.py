"""Pairs of public datasets, one to pretrain on and one to finetune on, as the records of an audit.

The pool depends on the pretraining dataset, the settings and the seed alone: all pairs that share it share the
pretrained models of one store.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from undertow.audits.settings import DataSettings
from undertow.audits.supply import Supply, row_hashes
from undertow.registry import unknown
from undertow.rng import stream
from undertow.sources.records import text_pairs
from undertow.sources.records.image_files import ImageSet
from undertow.sources.records.public import (
    CALTECH101,
    CIFAR10,
    CIFAR100,
    FASHION_MNIST,
    OMNIGLOT,
    TINY_IMAGENET,
    Dataset,
    open_images,
)
from undertow.types import Array, ConfigError, Examples

SPARES = 8  # candidates per class beyond those wanted, to take the place of copies
TESTS = 1000  # downstream records that only test; more would cost time and tell no more


@dataclass(frozen=True)
class ImagePair:
    """Pretrain on classes of `upstream`; finetune on `downstream`, or on `upstream`'s superclasses where equal."""

    upstream: Dataset
    downstream: Dataset
    size: int  # side of the images in pixels, where data.size does not say otherwise

    @property
    def same(self) -> bool:
        return self.upstream == self.downstream

    @property
    def name(self) -> str:
        goal = "its superclasses" if self.same else self.downstream.name
        return f"{self.upstream.name} -> {goal}"


@dataclass(frozen=True, eq=False)
class Chosen:
    """Records of one split as they were drawn."""

    split: ImageSet
    rows: Array  # (n,) of the split
    pixels: Array  # (n, H, W, C) uint8

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{self.split.name}-{row}" for row in self.rows)


def image_pair(pair: ImagePair, settings: DataSettings, seed: int) -> Supply:
    """The records of a pair of image datasets; inputs are (x / 255 - 0.5) / 0.25, float32 (N, C, H, W).

    Pool: data.pool images, equally many of each chosen class, drawn by the seed, no image twice. Downstream:
    data.other images of the training split (then of the test split, where it is too short); what is left of the
    test split, at most 1,000, are test records. No downstream image is also in the pool. What was left out for
    that is said in the notes. Raises ConfigError where there are too few records, BadInput for bad files.
    """
    size = settings.size or pair.size
    up = open_images(pair.upstream, settings.source, size)
    down = up if pair.same else open_images(pair.downstream, settings.source, size)
    fine = up["train"].labels[pair.upstream.label]
    classes = pretraining_classes(up["train"], pair.upstream, settings.classes)
    pool, aside, notes = draw_pool(up["train"], fine, classes, settings.pool, seed)
    column = pair.upstream.coarse if pair.same else pair.downstream.label
    free = {name: np.arange(len(split)) for name, split in down.items()}
    if pair.same:
        free = {name: np.flatnonzero(np.isin(down[name].labels[pair.upstream.label], classes)) for name in free}
        free["train"] = np.setdiff1d(free["train"], np.concatenate([pool.rows, aside]))
    other, test, more = draw_downstream(down, column, free, settings.other, seed, set(row_hashes(pool.pixels)))
    pictures = pool.pixels[..., 0] if pool.pixels.shape[3] == 1 else pool.pixels
    return Supply(
        name=pair.name,
        secret=Examples(scaled(pool.pixels), np.searchsorted(classes, fine[pool.rows]), pair.upstream.name),
        other=other,
        test=test,
        ids=pool.ids,
        pictures=pictures,
        notes=(*notes, *more),
    )


def pretraining_classes(train: ImageSet, dataset: Dataset, count: int) -> Array:
    """The classes to pretrain on, sorted; 0: all. The same at every seed.

    The first `count` in the order of their numbers; where there are superclasses, whole superclasses one after the
    other, beginning with `dataset.first` (20 classes of CIFAR-100: superclasses 0, 4, 10, 14).
    """
    labels = train.labels[dataset.label]
    present = np.unique(labels)
    if count > len(present):
        raise ConfigError(f"data.classes = {count}; {train.name} has {len(present)} classes")
    if dataset.coarse:
        above = train.labels[dataset.coarse]
        group = np.array([above[np.argmax(labels == c)] for c in present])
        rank = {int(g): place for place, g in enumerate(dict.fromkeys((*dataset.first, *np.unique(group).tolist())))}
        present = present[np.argsort([rank[int(g)] for g in group], kind="stable")]
    return np.sort(present[: count or len(present)])


def draw_pool(
    train: ImageSet, labels: Array, classes: Array, count: int, seed: int
) -> tuple[Chosen, Array, tuple[str, ...]]:
    """`count` images (0: all), equally many per class, drawn by the seed; rows that stay unused; notes.

    A copy of an image that was taken before is passed over, and another image of its class takes its place. Where
    there is none, the pool is smaller, and even.
    """
    order = [stream(seed, "pool", int(c)).permutation(np.flatnonzero(labels == c)) for c in classes]
    wanted = [count // len(classes) + (k < count % len(classes)) if count else len(o) for k, o in enumerate(order)]
    for c, mine, want in zip(classes, order, wanted, strict=True):
        if want > len(mine):
            raise ConfigError(
                f"data.pool = {count} needs {want} records of each of {len(classes)} classes, but {train.name} has "
                f"{len(mine)} of class {c}; lower data.pool or raise data.classes"
            )
    candidates = [mine[: want + SPARES] for mine, want in zip(order, wanted, strict=True)]
    rows, total = np.concatenate(candidates), sum(wanted)
    pixels = train.read(rows)
    keep, copies = _distinct(row_hashes(pixels), [len(c) for c in candidates], wanted)
    odd = keep[len(keep) - len(keep) % 2 :] if not count or len(keep) < total else []
    keep = keep[: len(keep) - len(odd)]
    notes = []
    if copies:
        named = Chosen(train, rows[copies], pixels[copies]).ids
        notes.append(f"passed over, as the pool holds the same image already: {_some(named)}")
    if len(keep) < total:
        notes.append(f"the pool has {len(keep)} records instead of {total}")
    return Chosen(train, rows[keep], pixels[keep]), rows[[*copies, *odd]], tuple(notes)


def draw_downstream(
    splits: Mapping[str, ImageSet], column: str, free: Mapping[str, Array], count: int, seed: int, taken: set[bytes]
) -> tuple[Examples, Examples | None, tuple[str, ...]]:
    """Finetuning and test records among the `free` rows of each split, labelled 0..C-1; none with a hash in `taken`."""
    train = stream(seed, "downstream").permutation(free["train"])
    tests = stream(seed, "downstream test").permutation(free.get("test", np.zeros(0, np.int64)))
    want = count or len(train) or len(tests)
    if want > len(train) + len(tests):
        raise ConfigError(
            f"data.other = {want}, but {splits['train'].name.removesuffix('-train')} has {len(train) + len(tests)} "
            "downstream records; lower data.other"
        )
    spill = max(0, want - len(train))
    left = ("test", tests[spill:]) if "test" in splits else ("train", train[want:])
    names = np.unique(np.concatenate([splits[name].labels[column][rows] for name, rows in free.items()]))
    other, some = _gather(splits, [("train", train[:want]), ("test", tests[:spill])], column, names, taken)
    test, more = _gather(splits, [(left[0], left[1][:TESTS])], column, names, taken)
    if other is None:
        raise ConfigError(f"{splits['train'].name}: no downstream records are left; lower data.pool")
    dropped = (*some, *more)
    notes = (f"left out of the downstream records, as the pool holds the same image: {_some(dropped)}",)
    return other, test, notes if dropped else ()


def scaled(pixels: Array) -> Array:
    """Images (N, H, W, C) uint8 as inputs (N, C, H, W) float32 about 0, by constants that no data decides."""
    x = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32)
    x /= 255
    x -= 0.5
    x /= 0.25
    return x


def _gather(
    splits: Mapping[str, ImageSet], parts: Sequence[tuple[str, Array]], column: str, names: Array, taken: set[bytes]
) -> tuple[Examples | None, tuple[str, ...]]:
    """The records of these rows whose content is not taken, and the ids of the others."""
    pixels, labels, dropped = [], [], []
    for name, rows in parts:
        if not len(rows):
            continue
        found = Chosen(splits[name], rows, splits[name].read(rows))
        fresh = np.array([key not in taken for key in row_hashes(found.pixels)])
        dropped += [who for who, ok in zip(found.ids, fresh, strict=True) if not ok]
        pixels.append(found.pixels[fresh])
        labels.append(np.searchsorted(names, splits[name].labels[column][rows[fresh]]))
    if not sum(map(len, labels)):
        return None, tuple(dropped)
    name = splits["train"].name.removesuffix("-train")
    return Examples(scaled(np.concatenate(pixels)), np.concatenate(labels), name), tuple(dropped)


def _distinct(keys: Sequence[bytes], sizes: Sequence[int], wanted: Sequence[int]) -> tuple[list[int], list[int]]:
    """Of candidates grouped by class: the first `wanted` of each that are new, and the copies met on the way."""
    seen: set[bytes] = set()
    keep: list[int] = []
    copies: list[int] = []
    start = 0
    for size, want in zip(sizes, wanted, strict=True):
        mine = 0
        for i in range(start, start + size):
            if mine == want:
                break
            if keys[i] in seen:
                copies.append(i)
                continue
            seen.add(keys[i])
            keep.append(i)
            mine += 1
        start += size
    return keep, copies


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


PAIRS: Mapping[str, Callable[[DataSettings, int], Supply]] = {
    "cifar100-cifar10": partial(image_pair, ImagePair(CIFAR100, CIFAR10, 32)),
    "cifar100-coarse": partial(image_pair, ImagePair(CIFAR100, CIFAR100, 32)),
    "tiny-caltech": partial(image_pair, ImagePair(TINY_IMAGENET, CALTECH101, 32)),
    "omniglot-fashion": partial(image_pair, ImagePair(OMNIGLOT, FASHION_MNIST, 28)),
    **dict.fromkeys(text_pairs.PAIRS, text_pairs.load_texts),
}


def load_pair(settings: DataSettings, seed: int) -> Supply:
    """The records of the pair that data.pair names; ConfigError for a pair that is not known or has no source."""
    if settings.pair not in PAIRS:
        raise unknown("pair", settings.pair, PAIRS)
    if settings.source == "digits":
        raise ConfigError(
            f"the data of the pair {settings.pair!r} is not embedded: give the folder that holds it, --data DIR, or "
            "download it, --data hub"
        )
    return PAIRS[settings.pair](settings, seed)
