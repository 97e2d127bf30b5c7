"""`undertow scan --prove`, below the screen: the model behind the weights, records for it, and what was proven."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from undertow.scanner import Finding, Tensor
from undertow.types import Array, BadInput, ConfigError, Progress

if TYPE_CHECKING:
    from undertow.audits.prove.proof import Proof
    from undertow.audits.prove.subject import Given

KIND = "proven-trap"
ONLY = "proof: dense layers are watched; a copy in a convolution or an embedding is not seen"
LARGEST = 500_000_000  # weights, all in memory several times, in float64
LENGTH = 64  # tokens of a text of the user's that are read


@dataclass(frozen=True)
class Proving:
    """How to prove."""

    data: Path | None = None  # records nobody minds: .npz with x (and y), or .jsonl with texts
    factory: str | None = None  # builds the model: package.module:function
    seed: int = 0


@dataclass(frozen=True)
class Proved:
    """What the proof adds to a scan."""

    findings: tuple[Finding, ...] = ()
    not_tested: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    failed: tuple[str, ...] = ()  # why there was no proof


def prove_checkpoint(
    tensors: Mapping[str, Tensor], config: Mapping[str, object] | None, proving: Proving, progress: Progress | None
) -> Proved:
    """Finetune the checkpoint on records of ours and name the units that copied one.

    `config` is that of config.json beside the weights. `failed` says why there is no proof of weights that no model can
    be built for. BadInput or ConfigError for --data and --factory that cannot be read.
    """
    from undertow.audits.prove.proof import prove
    from undertow.audits.prove.subject import subject_of

    numbers = sum(tensor.rows * tensor.columns for tensor in tensors.values())
    if numbers > LARGEST:
        return Proved(failed=(f"no proof: {numbers:,} weights are more than the {LARGEST:,} that are finetuned here",))
    given = _given(tensors, config, proving)
    try:
        params = {name: tensor.whole() for name, tensor in tensors.items()}
        subject, control = subject_of(params, given, proving.seed)
    except (BadInput, ConfigError) as error:
        if proving.data or proving.factory:
            raise
        return Proved(failed=(f"no proof: {error}; give the model with --factory and records with --data",))
    proof = prove(subject, [control], proving.seed, progress)
    return Proved(tuple(_findings(proof, tensors)), (ONLY,), _settings(proof))


def _findings(proof: "Proof", tensors: Mapping[str, Tensor]) -> list[Finding]:
    """One finding for each layer whose units hold records."""
    if not proof.proven:
        return []
    files = {tensor.file for tensor in tensors.values()}
    found = []
    for name in dict.fromkeys(one.tensor for one in proof.held):
        units = [one for one in proof.held if one.tensor == name]
        file = tensors[name].file if name in tensors else min(files)
        text = (
            f"{len(units)} units each copied one of {proof.records} records of ours when the model was finetuned on "
            f"them, and shut; in a fresh model of the same shape {proof.chance} did"
        )
        rows = tuple(sorted(one.row for one in units))
        found.append(Finding(KIND, "critical", text, file, name, rows, float(len(units))))
    return found


def _settings(proof: "Proof") -> Mapping[str, object]:
    return {
        "units_that_copied": len(proof.held),
        "units_needed": proof.needed,
        "units_in_fresh_model": proof.chance,
        "records": proof.records,
    }


def _given(tensors: Mapping[str, Tensor], config: Mapping[str, object] | None, proving: Proving) -> "Given":
    from undertow.audits.prove.subject import Given
    from undertow.models.architecture import Factory, factory
    from undertow.models.huggingface import HuggingFace, described

    if proving.factory:
        architecture: Factory | HuggingFace | None = factory(proving.factory)
    else:
        architecture = described(config) if config is not None and "model_type" in config else None
    folder = Path(next(iter(tensors.values())).file).parent
    x, y = (None, None) if proving.data is None else records(proving.data, folder)
    return Given(x, y, architecture)


def records(path: Path, folder: Path) -> tuple[Array, Array | None]:
    """The user's public records; texts by the tokenizer beside the weights."""
    if path.suffix == ".npz":
        from undertow.storage.files import read_npz

        arrays = read_npz(path)
        if "x" not in arrays or not len(arrays["x"]):
            raise BadInput(f"--data {path}: it holds no x (N, ...)")
        return arrays["x"], arrays.get("y")
    from undertow.sources.checkpoints.tokenizers import tokenizer_in
    from undertow.sources.records.records_text import text_records
    from undertow.sources.records.tokens import padded

    texts = text_records(path).texts
    ids = [found.ids for found in tokenizer_in(folder).encode_batch(list(texts))]
    return padded(ids, min(LENGTH, max(map(len, ids)))), None
