"""The public image datasets that are known by name: how their files are laid out, and where to get them."""

from dataclasses import dataclass
from pathlib import Path

from undertow.sources.records.hub import download
from undertow.sources.records.image_files import ImageSet, npz_images, parquet_images, sheets
from undertow.types import BadInput

HUB = "hub"  # data.source: download


@dataclass(frozen=True)
class Dataset:
    """A public image dataset."""

    name: str  # of its folder, and of its records
    hub: str = ""  # repository on huggingface.co; "": none is known to hold it in this form
    label: str = "label"  # the column of its classes
    coarse: str = ""  # the column of its superclasses
    first: tuple[int, ...] = ()  # superclasses whose classes are taken first
    channels: int = 3
    npz: str = ""  # a single npz file instead of a folder
    pickled: tuple[str, ...] = ()  # names of releases that are refused


CIFAR100 = Dataset(
    "cifar100",
    hub="uoft-cs/cifar100",
    label="fine_label",
    coarse="coarse_label",
    first=(0, 4, 10, 14),
    pickled=("cifar-100-python", "cifar-100-python.tar.gz"),
)
CIFAR10 = Dataset("cifar10", hub="uoft-cs/cifar10", pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz"))
TINY_IMAGENET = Dataset("tiny_imagenet", hub="zh-plus/tiny-imagenet")
CALTECH101 = Dataset("caltech101")
OMNIGLOT = Dataset("omniglot", channels=1, npz="small/omniglot28.npz")
FASHION_MNIST = Dataset(
    "fashion_mnist", hub="zalando-datasets/fashion_mnist", channels=1, npz="small/fashion_mnist.npz"
)


def open_images(dataset: Dataset, source: str, size: int) -> dict[str, ImageSet]:
    """The splits of a dataset, `train` and where there is one `test`, with images of `size` x `size`.

    `source` is "hub" or the folder that holds the dataset: NAME/*.parquet as on the hub, NAME/train.webp with
    NAME/labels.npz, or a single npz. Raises BadInput naming what is missing and what to do.
    """
    columns = [dataset.label, *([dataset.coarse] if dataset.coarse else [])]
    if source == HUB:
        folder = download(_repository(dataset))
        return parquet_images(_parquets(folder, dataset), dataset.name, columns, dataset.channels, size)
    root = Path(source)
    if not root.is_dir():
        raise BadInput(f"--data {root}: no such folder")
    folder = root / dataset.name
    if (folder / "labels.npz").is_file():
        return sheets(folder, dict(zip(columns, ("y", "coarse"), strict=False)), size)
    if dataset.npz and (root / dataset.npz).is_file():
        return npz_images(root / dataset.npz, dataset.name, size)
    return parquet_images(_parquets(folder, dataset), dataset.name, columns, dataset.channels, size)


def _repository(dataset: Dataset) -> str:
    if not dataset.hub:
        raise BadInput(
            f"--data hub: no repository is known that holds {dataset.name} in a form that can be read; "
            f"put parquet files (columns image, {dataset.label}) into DIR/{dataset.name}/ and give --data DIR"
        )
    return dataset.hub


def _parquets(folder: Path, dataset: Dataset) -> list[Path]:
    """The parquet files under a folder; BadInput in one line where there are none, or only pickles."""
    files = sorted(folder.rglob("*.parquet"))
    if files:
        return files
    get = f"put its parquet files into {folder}"
    if dataset.hub:
        get += f" (huggingface.co/datasets/{dataset.hub}), or run with --data hub"
    for pickled in (place / name for name in dataset.pickled for place in (folder.parent, folder)):
        if pickled.exists():
            raise BadInput(f"{pickled} holds pickles, which are never read; {get}")
    raise BadInput(f"--data {folder.parent}: {dataset.name} is missing; {get}")
