"""What `undertow audit lm` does: open the language model and the texts, one pass per model, measure, write."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from undertow.attacks.language import halves
from undertow.audits.membership.lm import LanguageModel, audit_lm
from undertow.audits.membership.sides import Both, Side, both
from undertow.rng import stream
from undertow.token_signals import TokenStatistics, mean_inside
from undertow.types import Array, AuditResult, BadInput, ConfigError, Progress

BATCH = 8
LEAST_PUBLIC = 20  # texts of --adapt
SHOTS, PREFIX = 4, 128  # non-members before a text in ReCaLL, and their tokens, at most
CHATS = ("messages", "conversations", "prompt", "completion")


@dataclass(frozen=True)
class LmRequest:
    """One language model to audit from the shell."""

    model: str  # folder as transformers saves it
    members: str
    nonmembers: str
    base: str | None = None
    adapt: str | None = None  # texts of the same kind, to finetune the base on
    field: str | None = None  # column of the text
    out: Path | None = None
    seed: int = 0
    batch: int = BATCH  # texts per pass
    progress: Progress | None = None


def run_lm(request: LmRequest) -> AuditResult:
    """Audit the language model of a request; with `out`, write the result there. BadInput in one line."""
    from undertow.integrations.likelihood import longest_of
    from undertow.integrations.model_files import file_hash
    from undertow.integrations.token_pass import token_ids
    from undertow.storage.run import environment
    from undertow.workflows.one_model import write_one

    if request.adapt is not None and request.base is None:
        raise ConfigError("--adapt needs --base: the base is what is adapted")
    sides = _sides(request)
    model, tokenizer = _open(request.model, "--model")
    base = None if request.base is None else _open(request.base, "--base")
    most = longest_of(model, tokenizer)
    if base is not None:
        most = min(most, longest_of(*base))
    sides = [_readable(part, tokenizer, most) for part in sides]
    joined = both(*sides)
    ids, cut = token_ids(tokenizer, joined.x, most)
    notes = (f"{cut} of {len(ids)} texts are longer than {most} tokens and were cut",) * bool(cut)
    if base is not None and token_ids(base[1], joined.x, most)[0] != ids:
        raise BadInput(f"--base {request.base} reads these texts as other tokens; give the model that was finetuned")
    clock = {}
    seen, clock["model"] = _pass(model, ids, request, "ask the model")
    half = _halves(joined, request.seed)
    conditional, clock["recall"] = _conditional(model, ids, joined, half, most, request)
    reference = adapted = None
    if base is not None:
        public = _public(request, joined, tokenizer, most)
        reference, clock["base"] = _pass(base[0], ids, request, "ask the base")
        if public:
            adapted, clock["adapt"] = _adapted(base[0], public, ids, request)
    models = {"model": request.model, **({} if request.base is None else {"base": request.base})}
    asked = {"model": model, **({} if base is None else {"base": base[0]})}
    adapting = {} if request.adapt is None else {"adapt": request.adapt}
    one = LanguageModel(
        both=joined,
        seen=seen,
        base=reference,
        adapted=adapted,
        half=half,
        conditional=conditional,
        about={role: f"{Path(models[role]).name} ({type(m).__name__})" for role, m in asked.items()},
        sha256={role: file_hash(Path(place)) for role, place in {**models, **adapting}.items()},
        config={
            "batch": request.batch,
            "adapt": request.adapt is not None,
            "field": request.field or "text",
            "tokens": most,
        },
        name=f"{Path(request.members).name} (members), {Path(request.nonmembers).name} (nonmembers)",
        notes=notes,
        environment=environment(),
        seconds=clock,
    )
    result = audit_lm(one, request.seed)
    if request.out is not None:
        write_one(result, request.out)
    return result


def _open(folder: str, option: str) -> tuple[Any, Any]:
    """The model and the tokenizer of a folder that was scanned before."""
    from undertow.integrations.model_files import language_model
    from undertow.workflows.scan import require_safe

    place = Path(folder)
    if not place.is_dir():
        raise BadInput(f"{option} {folder}: no such folder; give one as transformers saves it (save_pretrained)")
    if not list(place.glob("*.safetensors")):
        if (place / "adapter_config.json").is_file():
            raise BadInput(f"{option} {folder} holds no weights in safetensors; merge the adapter and save that model")
        raise BadInput(
            f"{option} {folder} holds no safetensors; other files of weights hold Python pickles, which are never "
            "loaded: save it again with model.save_pretrained"
        )
    if (place / "adapter_config.json").is_file() and not (place / "config.json").is_file():
        raise BadInput(
            f"{option} {folder} is an adapter; merge it first: "
            "PeftModel.from_pretrained(base, folder).merge_and_unload().save_pretrained(...)"
        )
    return language_model(require_safe(folder))


def _sides(request: LmRequest) -> list[Side]:
    given = (("--members", request.members), ("--nonmembers", request.nonmembers))
    return [_texts(option, path, request.field) for option, path in given]


def _texts(option: str, path: str, field: str | None) -> Side:
    """The texts of a file; BadInput where it holds something else."""
    from undertow.sources.records.one_side import read_side

    if not path:
        raise ConfigError(f'audit lm needs {option}: a file of texts, one {{"text": ...}} a line')
    _refuse_chats(Path(path), option, field)
    part = read_side(path, option, None, field or _text_of(Path(path)))
    if not isinstance(part.x, list) or not all(isinstance(text, str) for text in part.x):
        raise BadInput(f'{option} {path}: no texts there; give rows {{"text": ...}}, or name the column by --field')
    return replace(part, y=None)


def _public(request: LmRequest, joined: Both, tokenizer: Any, most: int) -> list[list[int]]:
    """The tokens of the texts of --adapt; BadInput where one of them is audited, or they are few."""
    from undertow.integrations.token_pass import token_ids

    if request.adapt is None:
        return []
    part = _texts("--adapt", request.adapt, request.field)
    audited = set(joined.x)
    shared = sum(text in audited for text in part.x)
    if shared:
        raise BadInput(f"--adapt {request.adapt}: {shared} of its texts are in --members or --nonmembers; remove them")
    ids = [row for row in token_ids(tokenizer, part.x, most)[0] if len(row) > 1]
    if len(ids) < LEAST_PUBLIC:
        raise BadInput(f"--adapt {request.adapt} has {len(ids)} texts; a domain is learnt from {LEAST_PUBLIC} or more")
    return ids


def _adapted(
    base: Any, public: list[list[int]], ids: list[list[int]], request: LmRequest
) -> tuple[TokenStatistics, float]:
    """What the base says after it was finetuned on the public texts; it is changed in place."""
    from undertow.integrations.adapted import adapt

    start, shown = time.perf_counter(), request.progress
    told = None if shown is None else lambda done, count: shown("adapt the base", done, count)
    found, _ = _pass(adapt(base, public, request.seed, told), ids, request, "ask the adapted base")
    return found, time.perf_counter() - start


def _text_of(path: Path) -> str | None:
    """`text` where a jsonl file has it, so that a missing column is named as such; None leaves it to the reader."""
    return "text" if path.suffix.lower() in (".jsonl", ".ndjson") and path.is_file() else None


def _refuse_chats(path: Path, option: str, field: str | None) -> None:
    if field is not None or path.suffix.lower() not in (".jsonl", ".ndjson") or not path.is_file():
        return
    with path.open(encoding="utf8", errors="replace") as lines:
        first = next((line for line in lines if line.strip()), "")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return  # the reader says it
    found = [key for key in CHATS if isinstance(row, dict) and key in row]
    if found and "text" not in row:
        raise BadInput(
            f"{option} {path}: rows of {' and '.join(map(repr, found))} are not read yet; write each as one text, "
            '{"text": tokenizer.apply_chat_template(messages, tokenize=False)}'
        )


def _readable(part: Side, tokenizer: Any, most: int) -> Side:
    """The texts of which at least one token is predicted; the others are counted in a note."""
    from undertow.integrations.token_pass import token_ids

    ids, _ = token_ids(tokenizer, part.x, most)
    keep = [i for i, row in enumerate(ids) if len(row) > 1]
    if len(keep) == len(ids):
        return part
    note = f"{part.name}: {len(ids) - len(keep)} of {len(ids)} texts have one token, of which nothing is predicted"
    return replace(
        part,
        x=[part.x[i] for i in keep],
        ids=None if part.ids is None else tuple(part.ids[i] for i in keep),
        groups=None if part.groups is None else part.groups[keep],
        notes=(*part.notes, f"{note}; they were skipped"),
    )


def _pass(model: Any, ids: list[list[int]], request: LmRequest, name: str) -> tuple[TokenStatistics, float]:
    from undertow.integrations.token_pass import token_pass

    start, shown = time.perf_counter(), request.progress
    told = None if shown is None else lambda done, count: shown(name, done, count)
    return token_pass(model, ids, request.batch, told), time.perf_counter() - start


def _halves(joined: Both, seed: int) -> Array | None:
    try:
        return halves(joined.member, joined.groups, seed)
    except BadInput:
        return None


def _conditional(
    model: Any, ids: list[list[int]], joined: Both, half: Array | None, most: int, request: LmRequest
) -> tuple[Array | None, float]:
    """Mean log p (N,) of each text after non-members of the other half, over the tokens that count without them."""
    if half is None:
        return None, 0.0
    rng, prefixes = stream(request.seed, "prefix of non-members"), []
    for h in (0, 1):
        shots = rng.choice(np.flatnonzero(~joined.member & (half != h)), SHOTS, replace=False)
        prefixes.append([token for q in shots for token in ids[q]][:PREFIX])
    longer = [prefixes[h][: max(most - len(row), 0)] + row for h, row in zip(half, ids, strict=True)]
    seen, seconds = _pass(model, longer, request, "ask after a prefix")
    before = np.array([len(row) - len(own) for row, own in zip(longer, ids, strict=True)])
    own = seen.inside & (np.arange(seen.inside.shape[1]) >= before[:, None])
    return mean_inside(np.where(own, seen.log_p, 0), own), seconds
