"""A CLIP that was trained elsewhere: its folder, or its repository on the Hugging Face hub. Never a pickle.

Read are config.json, model.safetensors, tokenizer.json and preprocessor_config.json, and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undertow.models.architecture import Shape
from undertow.models.clip import PREFIX, TEMPLATES, Captions, Clip, caption_texts, clip_config, library, table_of
from undertow.opening.safe_file import reading_safetensors
from undertow.storage.files import read_text
from undertow.types import Array, BadInput, MissingExtra, Params

WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json", "preprocessor_config.json")
BICUBIC = 3  # Pillow's number, and CLIP's default


@dataclass(frozen=True)
class Preprocessor:
    """From pixels to what a CLIP reads: shortest side resized, centre square cut out, channels standardised."""

    size: int  # side of the square
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)  # per channel, of pixels in 0..1
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    resample: int = BICUBIC

    @property
    def shape(self) -> Shape:
        return (3, self.size, self.size)

    def __call__(self, pixels: Array) -> Array:
        """Images (N, H, W, 3) uint8 -> (N, 3, size, size) float32."""
        if pixels.shape[1:3] != (self.size, self.size):
            pixels = np.stack([self._square(one) for one in pixels])
        x = pixels.astype(np.float32) / 255
        x = (x - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))

    def _square(self, pixels: Array) -> Array:
        from PIL import Image

        height, width = pixels.shape[:2]
        short = min(height, width)
        to = (self.size * width // short, self.size * height // short)
        image = Image.fromarray(pixels).resize(to, Image.Resampling(self.resample))
        left, top = (to[0] - self.size) // 2, (to[1] - self.size) // 2
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))


@dataclass(frozen=True, eq=False)
class ClipCheckpoint:
    """A trained CLIP and how it wants its images."""

    architecture: Clip
    params: Params
    preprocessor: Preprocessor
    files: Mapping[str, str]  # name -> content of what lies beside the weights


def clip_checkpoint(
    checkpoint: str, class_names: Sequence[str], templates: Sequence[str] = TEMPLATES
) -> ClipCheckpoint:
    """The CLIP in a folder or hub repository, with captions of these classes in its own tokens.

    Raises BadInput in one line where a file is missing (weights must be model.safetensors), cannot be read, or
    holds other tensors than config.json says; MissingExtra without transformers.
    """
    folder = _folder(checkpoint)
    for name in FILES:
        if not (folder / name).is_file():
            raise BadInput(f"model.checkpoint = {checkpoint!r}: {name} is missing" + _instead(name))
    config = clip_config(_json(folder / "config.json"))
    captions = _tokenised(folder / "tokenizer.json", caption_texts(class_names, templates))
    preprocessor = preprocessor_of(folder / "preprocessor_config.json")
    architecture = Clip(config, captions, len(templates), library())
    expected = architecture.build(preprocessor.shape, len(class_names)).state_dict()
    shapes = {name: tuple(value.shape) for name, value in expected.items()}
    beside = {name: read_text(folder / name) for name in FILES if name != WEIGHTS}
    return ClipCheckpoint(architecture, _weights(folder / WEIGHTS, shapes), preprocessor, beside)


def is_clip(folder: Path) -> bool:
    """Whether a folder's config.json says that it is a CLIP."""
    path = folder / "config.json"
    content = _json(path) if path.is_file() else None
    return isinstance(content, dict) and content.get("model_type") == "clip"


def _instead(name: str) -> str:
    return "; pickled weights (.bin) are never read: save the model as safetensors" * (name == WEIGHTS)


def _folder(checkpoint: str) -> Path:
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hf") from error
    try:
        return Path(snapshot_download(checkpoint, allow_patterns=list(FILES)))
    except Exception as error:  # the client raises its own, its transport's and the system's
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(f"model.checkpoint = {checkpoint!r} is no folder and cannot be downloaded ({said})") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as JSON: {error}") from error


def _tokenised(path: Path, texts: Sequence[str]) -> Captions:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "hf") from error
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf8"))
    except Exception as error:  # tokenizers raises a plain Exception
        first = (str(error).splitlines() or ["?"])[0]
        raise BadInput(f"{path} cannot be read as a tokenizer: {first}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return table_of([tokenizer.encode(text).ids for text in texts])


def preprocessor_of(path: Path) -> Preprocessor:
    """What a preprocessor_config.json says; BadInput where it does not."""
    found = _json(path)
    try:
        crop = found.get("crop_size", found.get("size"))
        size = int(crop["height"] if isinstance(crop, dict) else crop)
        mean, std = (tuple(float(v) for v in found[key]) for key in ("image_mean", "image_std"))
        return Preprocessor(size, mean, std, int(found.get("resample", BICUBIC)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} does not say size, image_mean and image_std: {error!r}") from error


def _weights(path: Path, shapes: Mapping[str, Shape]) -> Params:
    """The tensors of the file as float32; BadInput where they are not exactly those of `shapes`."""
    with reading_safetensors(path) as (tensors, _):
        found = {PREFIX + name: tensor.whole() for name, tensor in tensors.items()}
    found = {name: value for name, value in found.items() if not name.endswith(".position_ids")}  # of old releases
    for name in sorted(shapes.keys() ^ found.keys()):
        state = "missing" if name in shapes else "not in the model of config.json"
        raise BadInput(f"{path}: tensor {name.removeprefix(PREFIX)!r} is {state}")
    for name, shape in shapes.items():
        if found[name].shape != shape or found[name].dtype.kind != "f":
            said = f"{found[name].dtype} {found[name].shape}, not float {shape}"
            raise BadInput(f"{path}: tensor {name.removeprefix(PREFIX)!r} is {said}")
    return {name: np.asarray(found[name], np.float32) for name in shapes}
