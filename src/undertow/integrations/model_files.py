"""`predict` of models in files: a folder of transformers, an ONNX file, a function in your script, answers in an npz.

Nothing here judges whether a file is safe to load: `undertow.require_safe` comes before. Pickles are never loaded.
"""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.membership.answers import Given, Predictor
from undertow.integrations.likelihood import from_causal_lm
from undertow.integrations.predict import from_transformers
from undertow.storage.files import read_npz
from undertow.types import Array, BadInput, MissingExtra

FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
WHOLE = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_}


def from_folder(folder: str | Path, name: str = "", batch: int = 32, max_length: int | None = None) -> Predictor:
    """Of an image or text classifier, or a language model, as transformers saves it: config.json, safetensors, ...

    No code of the folder is run. BadInput where it is no classifier, or holds no weights of its head.
    """
    place = Path(folder)
    transformers, config = _transformers(), _config(place)
    if config.architectures and config.architectures[0].endswith(("ForCausalLM", "LMHeadModel")):
        model = _weights(transformers.AutoModelForCausalLM, place, config)
        lm = from_causal_lm(model, _processor(transformers, place, False, config), min(batch, 8), max_length)
        return Predictor(lm.answer, f"{name or place.name} ({type(model).__name__})", None, file_hash(place))
    texts, images = (getattr(transformers, name) for name in _AUTOS)
    of_images = type(config) in images._model_mapping
    if of_images and type(config) in texts._model_mapping:
        of_images = "Image" in " ".join(config.architectures or ())
    kind = images if of_images else texts
    if type(config) not in kind._model_mapping:
        raise BadInput(f"{place} is a {config.model_type}, for which transformers has no text or image classifier")
    model = _weights(kind, place, config)
    processor = _processor(transformers, place, of_images, config)
    found = from_transformers(model, processor, batch, max_length)
    return Predictor(found.answer, f"{name or place.name} ({type(model).__name__})", found.classes, file_hash(place))


def language_model(folder: str | Path) -> tuple[Any, Any]:
    """The causal language model of a folder, float32 and in eval mode, and its tokenizer; no code of it is run.

    BadInput where it is something else, or holds no safetensors or no tokenizer.
    """
    place = Path(folder)
    transformers, config = _transformers(), _config(place)
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BadInput(f"{place} is a {config.model_type}, which is no causal language model")
    model = _weights(transformers.AutoModelForCausalLM, place, config, "language model").float().eval()
    return model, _processor(transformers, place, False, config)


def add_adapter(model: Any, folder: str | Path) -> Any:
    """`model` with the update of the LoRA adapter of a folder added to its weights, in place; nothing of it runs."""
    from safetensors.torch import load_file

    from undertow.sources.checkpoints.adapter import CONFIG, WEIGHTS, applied
    from undertow.storage.files import read_json

    place = Path(folder)
    update = {name: value.float() for name, value in load_file(place / WEIGHTS).items()}
    model.load_state_dict(applied(place, read_json(place / CONFIG), update, model.state_dict()))
    return model


_AUTOS = ("AutoModelForSequenceClassification", "AutoModelForImageClassification")


def from_onnx(path: str | Path, batch: int = 256) -> Predictor:
    """Of an ONNX file with one input; the output with a number per class is taken. MissingExtra without onnxruntime.

    Whole pixels (uint8) for a model of floats are divided by 255, and channels are put where the model has them.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BadInput("onnxruntime is not installed; run: pip install onnxruntime") from error
    file = Path(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises a class of its own for each kind of failure
        raise BadInput(
            f"{file} cannot be opened by onnxruntime: {(str(error).splitlines() or [''])[0]:.200}"
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs)
        raise BadInput(f"{file} has {len(inputs)} inputs ({names}); write my.py:predict, which gives it all of them")
    fixed = inputs[0].shape[0] if inputs[0].shape and isinstance(inputs[0].shape[0], int) else None

    def answer(x: Any) -> Array:
        step = fixed or batch
        given = [_fitted(x[i : i + step], inputs[0], file) for i in range(0, len(x), step)]
        return np.concatenate([_per_class(session, inputs[0].name, part, fixed, file) for part in given])

    return Predictor(answer, f"{file.name} (ONNX)", None, file_hash(file))


def from_script(target: str, name: str = "predict") -> Predictor:
    """Of `my_script.py:function`, your own code, which is run: it loads the model as you do and answers records."""
    place, _, function = target.rpartition(":")
    file = Path(place)
    if not file.is_file():
        raise BadInput(f"{place}: no such script")
    spec = importlib.util.spec_from_file_location(f"undertow_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise BadInput(f"{place} cannot be imported; give a Python file")
    module = importlib.util.module_from_spec(spec)
    here = str(file.resolve().parent)
    if here not in sys.path:
        sys.path.insert(0, here)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise BadInput(f"{place} failed while it was imported: {type(error).__name__}: {said:.200}") from error
    found = getattr(module, function or name, None)
    if not callable(found):
        near = get_close_matches(function, [n for n in vars(module) if not n.startswith("_")], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"{place} has no function {function or name!r}{hint}")
    call: Callable[[Any], Any] = found
    classes = getattr(found, "classes", None)
    return Predictor(call, f"{file.name}:{function or name}", classes, file_hash(file))


def from_answers(path: str | Path) -> Given:
    """Answers made beforehand: an npz with `members` (n, classes) and `nonmembers` (m, classes), or (n,) scores."""
    file = Path(path)
    arrays = read_npz(file)
    for key in ("members", "nonmembers"):
        if key not in arrays:
            raise BadInput(f"{file}: key {key!r} is missing; answers are np.savez(file, members=..., nonmembers=...)")
    inside, outside = arrays["members"], arrays["nonmembers"]
    if inside.shape[1:] != outside.shape[1:] or inside.ndim == 0:
        raise BadInput(f"{file}: members have shape {inside.shape}, nonmembers {outside.shape}; classes must agree")
    return Given(np.concatenate([inside, outside]), f"answers in {file.name}", file_hash(file))


def file_hash(path: Path) -> str:
    """sha256 of a file, or of the names and hashes of a folder's files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = [f"{p.relative_to(path)} {file_hash(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "hf") from error
    return transformers


def _config(folder: Path) -> Any:
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf8"))
        name = raw["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{folder} has no config.json that names a model_type; give a folder as transformers saves it"
        ) from error
    known = _transformers().CONFIG_MAPPING
    if name not in known:
        raise BadInput(f"{folder} is a {name!r}, which this version of transformers does not know")
    raw.pop("auto_map", None)
    try:
        return known[name].from_dict(raw)
    except (TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{folder / 'config.json'} describes no {name}: {(str(error).splitlines() or [''])[0]}"
        ) from error


def _weights(kind: Any, folder: Path, config: Any, what: str = "classifier") -> Any:
    from undertow.models.causal_lm import quiet

    try:
        with quiet():
            model, info = kind.from_pretrained(
                str(folder), config=config, local_files_only=True, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True,
            )  # fmt: skip
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{folder} cannot be loaded as a {config.model_type} {what}: {said:.200}") from error
    lost = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
    if lost:
        raise BadInput(
            f"{folder} holds no weights for {lost[0]}: it is a base model, not a finetuned {what}, or not of its "
            "config.json"
        )
    return model


def _processor(transformers: Any, folder: Path, images: bool, config: Any) -> Any:
    auto = transformers.AutoImageProcessor if images else transformers.AutoTokenizer
    try:
        return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        if images:
            return _Scaled(config)
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(
            f"{folder} has no tokenizer that can be loaded ({said:.120}); save it beside the model"
        ) from error


class _Scaled:
    """Pixels in 0..1 at the size that the model reads, where no processor was saved."""

    def __init__(self, config: Any) -> None:
        size = getattr(config, "image_size", 224)
        self.size = tuple(size) if isinstance(size, list | tuple) else (size, size)

    def __call__(self, images: Any, return_tensors: str) -> Any:
        import torch
        from PIL import Image

        height, width = self.size
        parts = [np.asarray(Image.fromarray(np.asarray(one)).resize((width, height))) for one in images]
        return {"pixel_values": torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255}


def _fitted(x: Any, given: Any, file: Path) -> Array:
    """Records as the input of the model: its type, and channels where it has them."""
    if not isinstance(x, np.ndarray):
        raise BadInput(f"{file.name} takes arrays, and the records are a list; make them arrays of one shape")
    shape = [d if isinstance(d, int) else None for d in given.shape]
    if x.ndim == 4 and len(shape) == 4 and x.shape[3] in (1, 3) and shape[1] == x.shape[3]:
        x = x.transpose(0, 3, 1, 2)
    if len(shape) != x.ndim or any(d not in (None, s) for d, s in zip(shape[1:], x.shape[1:])):
        wanted = tuple(d or "any" for d in shape[1:])
        raise BadInput(f"{file.name} takes records of shape {wanted}, these have {x.shape[1:]}; reshape or resize them")
    if given.type in FLOATS:
        x = x.astype(FLOATS[given.type]) / (255 if x.dtype == np.uint8 else 1)
        floats: Array = x.astype(FLOATS[given.type])
        return floats
    if given.type in WHOLE:
        whole: Array = x.astype(WHOLE[given.type])
        return whole
    raise BadInput(f"{file.name} takes {given.type}; write my.py:predict for it")


def _per_class(session: Any, name: str, x: Array, fixed: int | None, file: Path) -> Array:
    count = len(x)
    if fixed and count < fixed:
        x = np.concatenate([x, np.repeat(x[-1:], fixed - count, 0)])
    try:
        outputs = session.run(None, {name: x})
    except Exception as error:
        raise BadInput(
            f"{file.name} failed on records {x.shape}: {(str(error).splitlines() or [''])[0]:.200}"
        ) from error
    for found in outputs:
        if isinstance(found, list) and found and isinstance(found[0], dict):  # as converters of scikit-learn write
            found = np.array([[row[key] for key in sorted(row)] for row in found])
        if isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.ndim == 2:
            return found[:count].astype(float)
    shapes = ", ".join(str(np.shape(found)) for found in outputs)
    raise BadInput(f"{file.name} has no output with a number per class (n, classes): {shapes}; write my.py:predict")
