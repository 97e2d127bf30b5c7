"""What `undertow audit lm` does: open the language model and the texts, one pass per model, measure, write."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from undertow.attacks.language import halves
from undertow.audits.membership.lm import LanguageModel, audit_lm
from undertow.audits.membership.sides import Both, both
from undertow.rng import stream
from undertow.sources.checkpoints.adapter import CONFIG, WEIGHTS, is_adapter
from undertow.token_signals import TokenStatistics, mean_inside
from undertow.types import Array, AuditResult, BadInput, ConfigError, Progress
from undertow.workflows.lm_texts import Texts, first_learnt, learnt_parts, read_texts

BATCH = 8
LEAST_PUBLIC = 20  # texts of --adapt
SHOTS, PREFIX = 4, 128  # non-members before a text in ReCaLL, and their tokens, at most


@dataclass(frozen=True)
class LmRequest:
    """One language model to audit from the shell."""

    model: str  # folder as transformers saves it
    members: str
    nonmembers: str
    base: str | None = None
    adapt: str | None = None  # texts of the same kind, to finetune the base on
    adapter: str | None = None  # folder of a LoRA adapter; `model` is then what it was trained on
    learnt: str = ""  # what the loss of the finetune was of: all | answers; "": as TRL does
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

    request = _roles(request)
    model, tokenizer = _audited(request)
    base = None if request.base is None else _open(request.base, "--base")
    most = longest_of(model, tokenizer)
    if base is not None:
        most = min(most, longest_of(*base))
    sides = [_readable(one, tokenizer, most) for one in _sides(request, tokenizer)]
    joined = both(*(one.side for one in sides))
    asked, chats = {**sides[0].asked, **sides[1].asked}, sides[0].chats
    ids, cut = token_ids(tokenizer, joined.x, most, not chats)
    starts = first_learnt(tokenizer, joined.x, asked, chats, np.array([len(row) for row in ids]))
    notes = (f"{cut} of {len(ids)} texts are longer than {most} tokens and were cut",) * bool(cut)
    if asked:
        notes += (f"{len(asked)} conversations are scored on the answers alone (--loss says otherwise)",)
    if base is not None and token_ids(base[1], joined.x, most, not chats)[0] != ids:
        raise BadInput(f"--base {request.base} reads these texts as other tokens; give the model that was finetuned")
    clock = {}
    seen, clock["model"] = _pass(model, ids, starts, request, "ask the model")
    half = _halves(joined, request.seed)
    conditional, clock["recall"] = _conditional(model, ids, starts, joined, half, most, request)
    reference = adapted = None
    if base is not None:
        public = _public(request, joined, tokenizer, most, chats)
        reference, clock["base"] = _pass(base[0], ids, starts, request, "ask the base")
        if public:
            adapted, clock["adapt"] = _adapted(base[0], public, ids, starts, request)
    models = {"model": request.adapter or request.model, **({} if request.base is None else {"base": request.base})}
    loaded = {"model": model, **({} if base is None else {"base": base[0]})}
    adapting = {} if request.adapt is None else {"adapt": request.adapt}
    one = LanguageModel(
        both=joined,
        learnt=learnt_parts(joined.x, asked),
        seen=seen,
        base=reference,
        adapted=adapted,
        half=half,
        conditional=conditional,
        about={role: f"{Path(models[role]).name} ({type(m).__name__})" for role, m in loaded.items()},
        sha256={role: file_hash(Path(place)) for role, place in {**models, **adapting}.items()},
        config={
            "batch": request.batch,
            "adapt": request.adapt is not None,
            "field": request.field or ("messages" if chats else "text"),
            "loss": request.learnt or "as TRL",
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
        raise BadInput(
            f"{option} {folder} holds no safetensors; other files of weights hold Python pickles, which are never "
            "loaded: save it again with model.save_pretrained"
        )
    return language_model(require_safe(folder))


def _roles(request: LmRequest) -> LmRequest:
    """The request with an adapter under its own name; ConfigError for roles that are missing."""
    if request.adapter is None and is_adapter(Path(request.model)):
        if request.base is None:
            raise ConfigError(f"--model {request.model} is an adapter; give the model that it adapts by --base")
        request = replace(request, adapter=request.model, model=request.base)
    if request.adapter is not None and request.base is None:
        request = replace(request, base=request.model)
    if request.adapt is not None and request.base is None:
        raise ConfigError("--adapt needs --base: the base is what is adapted")
    if request.learnt not in ("", "all", "answers"):
        raise ConfigError(f"--loss {request.learnt}: give all or answers")
    return request


def _audited(request: LmRequest) -> tuple[Any, Any]:
    """The finetuned model and its tokenizer; an adapter's update is added to the weights of its base."""
    model, tokenizer = _open(request.model, "--model")
    if request.adapter is None:
        return model, tokenizer
    from undertow.integrations.model_files import add_adapter
    from undertow.workflows.scan import require_safe

    folder = Path(request.adapter)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise BadInput(f"--adapter {folder}: a folder with {CONFIG} and {WEIGHTS} is needed, as peft saves it")
    require_safe(folder, parent=request.model)
    return add_adapter(model, folder), tokenizer


def _sides(request: LmRequest, tokenizer: Any) -> list[Texts]:
    given = (("--members", request.members), ("--nonmembers", request.nonmembers))
    found = [read_texts(option, path, request.field, tokenizer, request.learnt) for option, path in given]
    if found[0].spoken != found[1].spoken:
        raise BadInput("--members and --nonmembers: one holds conversations and the other texts; give both in one form")
    return found


def _public(request: LmRequest, joined: Both, tokenizer: Any, most: int, chats: bool) -> list[list[int]]:
    """The tokens of the texts of --adapt; BadInput where one of them is audited, or they are few."""
    from undertow.integrations.token_pass import token_ids

    if request.adapt is None:
        return []
    part = read_texts("--adapt", request.adapt, request.field, tokenizer, request.learnt).side
    audited = set(joined.x)
    shared = sum(text in audited for text in part.x)
    if shared:
        raise BadInput(f"--adapt {request.adapt}: {shared} of its texts are in --members or --nonmembers; remove them")
    ids = [row for row in token_ids(tokenizer, part.x, most, not chats)[0] if len(row) > 1]
    if len(ids) < LEAST_PUBLIC:
        raise BadInput(f"--adapt {request.adapt} has {len(ids)} texts; a domain is learnt from {LEAST_PUBLIC} or more")
    return ids


def _adapted(
    base: Any, public: list[list[int]], ids: list[list[int]], starts: Array, request: LmRequest
) -> tuple[TokenStatistics, float]:
    """What the base says after it was finetuned on the public texts; it is changed in place."""
    from undertow.integrations.adapted import adapt

    start, shown = time.perf_counter(), request.progress
    told = None if shown is None else lambda done, count: shown("adapt the base", done, count)
    found, _ = _pass(adapt(base, public, request.seed, told), ids, starts, request, "ask the adapted base")
    return found, time.perf_counter() - start


def _readable(one: Texts, tokenizer: Any, most: int) -> Texts:
    """The texts of which at least one token is predicted; the others are counted in a note."""
    from undertow.integrations.token_pass import token_ids

    part = one.side
    ids, _ = token_ids(tokenizer, part.x, most, not one.chats)
    keep = [i for i, row in enumerate(ids) if len(row) > 1]
    if len(keep) == len(ids):
        return one
    note = f"{part.name}: {len(ids) - len(keep)} of {len(ids)} texts have one token, of which nothing is predicted"
    part = replace(
        part,
        x=[part.x[i] for i in keep],
        ids=None if part.ids is None else tuple(part.ids[i] for i in keep),
        groups=None if part.groups is None else part.groups[keep],
        notes=(*part.notes, f"{note}; they were skipped"),
    )
    return replace(one, side=part)


def _pass(
    model: Any, ids: list[list[int]], starts: Array, request: LmRequest, name: str
) -> tuple[TokenStatistics, float]:
    """What the model says of every token; only places from the first learnt token on count."""
    from undertow.integrations.token_pass import token_pass

    start, shown = time.perf_counter(), request.progress
    told = None if shown is None else lambda done, count: shown(name, done, count)
    seen = token_pass(model, ids, request.batch, told)
    counts = seen.inside & (np.arange(seen.inside.shape[1]) >= starts[:, None] - 1)
    return replace(seen, inside=counts), time.perf_counter() - start


def _halves(joined: Both, seed: int) -> Array | None:
    try:
        return halves(joined.member, joined.groups, seed)
    except BadInput:
        return None


def _conditional(
    model: Any, ids: list[list[int]], starts: Array, joined: Both, half: Array | None, most: int, request: LmRequest
) -> tuple[Array | None, float]:
    """Mean log p (N,) of each text after non-members of the other half, over the tokens that count without them."""
    if half is None:
        return None, 0.0
    rng, prefixes = stream(request.seed, "prefix of non-members"), []
    for h in (0, 1):
        shots = rng.choice(np.flatnonzero(~joined.member & (half != h)), SHOTS, replace=False)
        prefixes.append([token for q in shots for token in ids[q]][:PREFIX])
    longer = [prefixes[h][: max(most - len(row), 0)] + row for h, row in zip(half, ids, strict=True)]
    before = np.array([len(row) - len(own) for row, own in zip(longer, ids, strict=True)])
    seen, seconds = _pass(model, longer, before + starts, request, "ask after a prefix")
    own = seen.inside
    return mean_inside(np.where(own, seen.log_p, 0), own), seconds
