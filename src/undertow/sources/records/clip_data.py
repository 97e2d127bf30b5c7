"""Image-caption pairs for CLIP from labelled images: a caption is a template with the name of the class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from undertow.audits.poisoning.supply import PoisonSupply
from undertow.audits.supply import row_hashes
from undertow.models.clip import TEMPLATES
from undertow.rng import stream
from undertow.sources.checkpoints.clip import Preprocessor
from undertow.sources.records.image_files import ImageSet
from undertow.sources.records.pairs import TESTS, Chosen, draw_pool, pretraining_classes
from undertow.sources.records.public import CIFAR10, CIFAR100, Dataset, open_images
from undertow.types import Array, ConfigError, Examples

SIDE = 32  # pixels, of both datasets
SMALL = Preprocessor(SIDE)  # for models that are made here
CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
DATASETS: dict[str, tuple[Dataset, str]] = {
    "cifar10": (CIFAR10, CIFAR10_NAMES),
    "cifar100": (CIFAR100, CIFAR100_NAMES),
}


@dataclass(frozen=True)
class Sizes:
    """How many records each part has."""

    candidates: int = 400
    lookalikes: int = 400
    auxiliary: int = 2000
    pretrain: int = 8000  # 0: the base is given

    @property
    def total(self) -> int:
        return self.candidates + self.lookalikes + self.auxiliary + self.pretrain


def clip_class_names(dataset: str, source: str, classes: int = 0) -> tuple[str, ...]:
    """The names of the classes that `clip_data` uses; they decide the captions of a model."""
    known, names = _known(dataset)
    if not classes:
        return tuple(names.split())
    train = open_images(known, source, SIDE)["train"]
    return tuple(names.split()[c] for c in pretraining_classes(train, known, classes))


def clip_data(
    dataset: str,
    source: str,
    seed: int,
    sizes: Sizes = Sizes(),
    targets: int = 0,
    classes: int = 0,
    templates: int = len(TEMPLATES),
    preprocessor: Preprocessor = SMALL,
) -> PoisonSupply:
    """Parts of "cifar10" or "cifar100", drawn by the seed, balanced over `classes` (0: all).

    Labels of pairs are captions: class x templates + template. The attacker holds `sizes.auxiliary` pairs of its own
    and those the base was pretrained on: the more there are, the better it hides. The first `targets` candidates
    (0: all) are poisoned; other parts share no image.

    All but the test records are of the training split, no image twice; test records (at most 1,000) are of the
    test split, none of them in another part. What was left out for that is said in the notes. The template of
    each caption is drawn. `source` is the folder that holds the dataset, or "hub". Raises ConfigError where there
    are too few records, BadInput for bad files.
    """
    known, _ = _known(dataset)
    splits = open_images(known, source, SIDE)
    chosen = pretraining_classes(splits["train"], known, classes)
    labels = splits["train"].labels[known.label]
    _check_count(sizes.total, labels, chosen, dataset)
    pool, _, notes = draw_pool(splits["train"], labels, chosen, sizes.total, seed)
    y = np.searchsorted(chosen, labels[pool.rows])
    deal = _balanced(y)
    cuts = np.cumsum([sizes.candidates, sizes.lookalikes, sizes.auxiliary])
    candidates, lookalikes, auxiliary, pretrain = np.split(deal, cuts)

    def part(name: str, rows: Array) -> Examples:
        return Examples(preprocessor(pool.pixels[rows]), y[rows], f"{dataset}-{name}")

    def pairs(name: str, rows: Array) -> Examples:
        drawn = stream(seed, "captions", name).integers(templates, size=len(rows))
        images = part(name, rows)
        return Examples(images.x, images.y * templates + drawn, images.name)

    test, dropped = _test_records(splits, known, chosen, seed, set(row_hashes(pool.pixels)))
    if dropped:
        notes = (*notes, f"left out of the test records, as another part holds the same image: {', '.join(dropped)}")
    return PoisonSupply(
        name=f"{dataset} with captions",
        pretrain=pairs("pretrain", pretrain) if len(pretrain) else None,
        auxiliary=pairs("auxiliary", np.concatenate([auxiliary, pretrain])),
        candidates=part("candidates", candidates),
        targets=targets or len(candidates),
        classes=len(chosen),
        held_out=Examples(preprocessor(test.pixels), np.searchsorted(chosen, _labels(test, known)), f"{dataset}-test"),
        lookalikes=part("look-alikes", lookalikes),
        ids=Chosen(pool.split, pool.rows[candidates], pool.pixels[candidates]).ids,
        pictures=pool.pixels[candidates],
        notes=notes,
    )


def _known(dataset: str) -> tuple[Dataset, str]:
    if dataset not in DATASETS:
        raise ConfigError(f"data.source = {dataset!r} has no captions; for clip there are: {', '.join(DATASETS)}")
    return DATASETS[dataset]


def _check_count(wanted: int, labels: Array, chosen: Array, dataset: str) -> None:
    least = min(int((labels == c).sum()) for c in chosen)
    if wanted > least * len(chosen):
        raise ConfigError(
            f"{dataset} has {least} training images of each of {len(chosen)} classes, but {wanted} are needed "
            "(candidates, as many look-alikes, pairs); lower data.points"
        )


def _balanced(y: Array) -> Array:
    """The rows in rounds with one of each class, as long as they last, so that any first part is balanced."""
    rank = np.zeros(len(y), int)
    for c in np.unique(y):
        rank[y == c] = np.arange((y == c).sum())
    return np.argsort(rank, kind="stable")


def _test_records(
    splits: dict[str, ImageSet], known: Dataset, chosen: Array, seed: int, taken: set[bytes]
) -> tuple[Chosen, Sequence[str]]:
    """Records of the test split that are nowhere else, and the ids of those that are."""
    if "test" not in splits:
        raise ConfigError(f"{splits['train'].name}: there is no test split beside it")
    rows = np.flatnonzero(np.isin(splits["test"].labels[known.label], chosen))
    rows = stream(seed, "clip test").permutation(rows)[:TESTS]
    found = Chosen(splits["test"], rows, splits["test"].read(rows))
    fresh = np.array([key not in taken for key in row_hashes(found.pixels)])
    kept = Chosen(found.split, rows[fresh], found.pixels[fresh])
    return kept, [who for who, ok in zip(found.ids, fresh, strict=True) if not ok]


def _labels(chosen: Chosen, known: Dataset) -> Array:
    return chosen.split.labels[known.label][chosen.rows]
