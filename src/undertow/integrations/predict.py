"""`predict` of models of other libraries: `undertow.audit_model(from_torch(net), members, nonmembers)`.

Each function returns a callable that gives (n, classes) logits or probabilities. No library is imported before a
model of it is given.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from undertow.audits.membership.answers import Predictor, plain
from undertow.types import Array, BadInput

BATCH = 256


def from_sklearn(model: Any) -> Predictor:
    """Of any estimator with `predict_proba` or `decision_function`: scikit-learn, XGBClassifier, LGBMClassifier, ...

    BadInput where it has neither, as regressors have not.
    """
    name = type(model).__name__
    classes = getattr(model, "classes_", None)
    labels = None if classes is None or isinstance(classes, list) else tuple(np.asarray(classes).tolist())
    if callable(getattr(model, "predict_proba", None)):
        return Predictor(lambda x: _of_one_output(model.predict_proba(x), name), f"a {name}", labels)
    if callable(getattr(model, "decision_function", None)):
        return Predictor(lambda x: _both_sides(np.asarray(model.decision_function(x), float)), f"a {name}", labels)
    raise BadInput(
        f"{name} has neither predict_proba nor decision_function, as regressors have not; give audit_model its "
        "`predict` and score=lambda answers, y: -(answers - y) ** 2"
    )


def from_torch(
    module: Any,
    batch: int = BATCH,
    device: Any = None,
    prepare: Callable[[Any], Any] | None = None,
    classes: tuple[Any, ...] | None = None,
) -> Predictor:
    """Of an `nn.Module` (a LightningModule is one), asked in `eval` without gradients, its modes restored after.

    `prepare(records)` makes of an array or list what the module takes: a tensor, a tuple, or a dict of them. Without
    it floats become float32, whole numbers int64. Outputs in a dict, a tuple or a ModelOutput are unwrapped. `device`:
    where it is asked; default: where its parameters are.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise BadInput(f"from_torch needs a torch.nn.Module, not {type(module).__name__}")
    where = device if device is not None else next((p.device for p in module.parameters()), torch.device("cpu"))

    def answer(x: Any) -> Array:
        parts = []
        with asked_only(module, where), torch.no_grad():
            for start in range(0, len(x), batch):
                some = x[start : start + batch]
                given = _moved(prepare(some) if prepare else _tensor(some), where)
                parts.append(plain(_called(module, given)))
        return np.concatenate(parts)

    return Predictor(answer, f"a {type(module).__name__} of PyTorch", classes)


def from_transformers(
    model: Any, processor: Any = None, batch: int = 32, max_length: int | None = None, device: Any = None
) -> Predictor:
    """Of a classifier of transformers and its tokenizer or image processor; records are texts, images or dicts."""
    if processor is None and not hasattr(model, "forward"):
        raise BadInput(f"from_transformers needs a model, not {type(model).__name__}")
    names = getattr(getattr(model, "config", None), "id2label", None) or {}
    found = from_torch(model, batch, device, lambda x: _encoded(processor, x, max_length))
    about = f"a {type(model).__name__} of transformers"
    return Predictor(found.answer, about, tuple(names[i] for i in sorted(names)) or None)


def from_pipeline(pipeline: Any, batch: int = 32, max_length: int | None = None) -> Predictor:
    """Of a transformers pipeline for the classification of texts or images; its logits, not its rounded scores."""
    processor = getattr(pipeline, "tokenizer", None) or getattr(pipeline, "image_processor", None)
    if processor is None or not hasattr(pipeline, "model"):
        raise BadInput(f"{type(pipeline).__name__} has no model with a tokenizer or image processor")
    return from_transformers(pipeline.model, processor, batch, max_length)


def from_trainer(trainer: Any, batch: int = 32, max_length: int | None = None) -> Predictor:
    """Of a transformers `Trainer` (TRL's, too): its model and processing class.

    Records are texts, or rows of its own datasets; of a language model texts, and the answer is their likelihood.
    """
    from undertow.integrations.likelihood import from_causal_lm, is_causal

    processor = getattr(trainer, "processing_class", None) or getattr(trainer, "tokenizer", None)
    if is_causal(trainer.model):
        return from_causal_lm(trainer.model, processor, batch, max_length)
    return from_transformers(trainer.model, processor, batch, max_length)


def from_keras(model: Any, batch: int = BATCH) -> Predictor:
    """Of a Keras model with one output; one sigmoid becomes two classes."""

    def answer(x: Any) -> Array:
        found = plain(model.predict(x, batch_size=batch, verbose=0))
        return _two_classes(found[:, 0]) if found.ndim == 2 and found.shape[1] == 1 else found

    return Predictor(answer, f"the Keras model {getattr(model, 'name', type(model).__name__)}")


def from_xgboost(model: Any) -> Predictor:
    """Of an `xgboost.Booster` that was trained to classify; an XGBClassifier goes to `from_sklearn` by itself."""
    if hasattr(model, "predict_proba"):
        return from_sklearn(model)
    import xgboost

    if not isinstance(model, xgboost.Booster):
        raise BadInput(f"{type(model).__name__} is no classifier of xgboost; give an XGBClassifier or a Booster")
    return Predictor(lambda x: _of_trees(model.predict(xgboost.DMatrix(x)), "Booster"), "a Booster of xgboost")


def from_lightgbm(model: Any) -> Predictor:
    """Of a `lightgbm.Booster` that was trained to classify; an LGBMClassifier goes to `from_sklearn` by itself."""
    if hasattr(model, "predict_proba"):
        return from_sklearn(model)
    if not callable(getattr(model, "predict", None)):
        raise BadInput(f"{type(model).__name__} is no classifier of lightgbm; give an LGBMClassifier or a Booster")
    return Predictor(lambda x: _of_trees(model.predict(x), "Booster"), "a Booster of lightgbm")


def _of_one_output(found: Any, name: str) -> Array:
    if isinstance(found, list):
        raise BadInput(f"{name} predicts {len(found)} outputs at once; audit one of them: give one column of labels")
    return np.asarray(found, float)


def _both_sides(found: Array) -> Array:
    """The margin of class 1 as logits of two classes."""
    return np.stack([-found / 2, found / 2], 1) if found.ndim == 1 else found


def _of_trees(found: Any, name: str) -> Array:
    answers = np.asarray(found, float)
    return _two_classes(answers, name) if answers.ndim == 1 else answers


def _two_classes(p: Array, name: str = "the model") -> Array:
    if p.min() < 0 or p.max() > 1:
        raise BadInput(
            f"{name} answers one number per record, {p.min():.4g}..{p.max():.4g}, which is no probability; a "
            "regression needs score=, a function of (answers, y) that is higher for members"
        )
    return np.stack([1 - p, p], 1)


@contextmanager
def asked_only(module: Any, where: Any) -> Iterator[None]:
    """`eval` on a device, and everything as it was after, also where the model fails."""
    modes = {part: part.training for part in module.modules()}
    home = next((p.device for p in module.parameters()), None)
    try:
        module.eval()
        if home is not None and str(home) != str(where):
            module.to(where)
        yield
    finally:
        for part, training in modes.items():
            part.training = training
        if home is not None and str(home) != str(where):
            module.to(home)


def _tensor(x: Any) -> Any:
    import torch

    if not isinstance(x, np.ndarray):
        kind = type(x[0]).__name__ if len(x) else "nothing"
        raise BadInput(f"the records are a list of {kind}; give from_torch prepare=, which makes tensors of them")
    found = torch.from_numpy(np.ascontiguousarray(x))
    if x.dtype == np.uint8 and x.ndim == 4:
        raise BadInput(
            "the records are pixels (uint8); give from_torch prepare=, such as lambda x: "
            "torch.from_numpy(x).permute(0, 3, 1, 2) / 255"
        )
    return found.float() if x.dtype.kind == "f" else found.long()


def _moved(given: Any, where: Any) -> Any:
    if hasattr(given, "to"):
        return given.to(where)
    if isinstance(given, Mapping):
        return {key: _moved(value, where) for key, value in given.items()}
    return tuple(_moved(value, where) for value in given) if isinstance(given, tuple | list) else given


def _called(module: Any, given: Any) -> Any:
    if isinstance(given, Mapping):
        return module(**given)
    return module(*given) if isinstance(given, tuple) else module(given)


def _encoded(processor: Any, x: Any, max_length: int | None) -> Any:
    """Texts, images or rows of a tokenized dataset as what the model takes."""
    if isinstance(x, np.ndarray) and (processor is None or x.dtype.kind != "u"):
        return {"pixel_values": _tensor(x)} if x.ndim == 4 else {"input_ids": _tensor(x)}
    if isinstance(x[0], Mapping):
        return _collated(processor, x)
    if processor is None:
        raise BadInput(f"the records are a list of {type(x[0]).__name__}; give their tokenizer or image processor, too")
    if isinstance(x[0], str):
        own = getattr(processor, "model_max_length", None)
        longest = max_length or (own if own and own < 1 << 20 else 512)
        padding = {"padding": True} if getattr(processor, "pad_token", None) else {}
        return dict(processor(list(x), truncation=True, max_length=longest, return_tensors="pt", **padding))
    return dict(processor(images=list(x), return_tensors="pt"))


def _collated(processor: Any, rows: Any) -> Any:
    import torch

    known = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "pixel_values")
    kept = [{key: row[key] for key in known if key in row} for row in rows]
    if not kept[0]:
        held = ", ".join(list(rows[0])[:5])
        raise BadInput(f"records are dicts with {held}; a tokenized row holds input_ids (or pixel_values)")
    if processor is not None and hasattr(processor, "pad"):
        return dict(processor.pad(kept, return_tensors="pt"))
    return {key: torch.stack([torch.as_tensor(np.asarray(row[key])) for row in kept]) for key in kept[0]}
