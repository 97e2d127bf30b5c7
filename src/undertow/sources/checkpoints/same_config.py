"""Whether two config.json describe one computation, and in which keys they do not.

A configuration says how outputs follow from inputs and weights, and also who saved it, in which number type, how it is
run, trained and sampled from. Only the first makes two models different ones. What is not known to belong to the rest
counts as a difference: a comparison of two different models is worse than one refused.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

Table = Mapping[str, Any]

SAVED_BY = ("transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "finetuning_task",
            "task_specific_params")  # fmt: skip
NUMBER_TYPE = ("dtype", "torch_dtype")  # of the file; Undertow reads float32 whatever it is
HOW_IT_RUNS = ("use_cache", "gradient_checkpointing", "torchscript", "output_attentions", "output_hidden_states",
               "return_dict", "use_return_dict", "attn_implementation", "_attn_implementation",
               "_attn_implementation_internal", "_attn_implementation_autoset", "_experts_implementation",
               "pretraining_tp", "chunk_size_feed_forward")  # fmt: skip
TRAINING_ONLY = ("initializer_range", "initializer_factor", "problem_type")  # first weights; which loss is taken
GENERATION = ("do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "top_p", "typical_p",
              "repetition_penalty", "length_penalty", "min_length", "no_repeat_ngram_size",
              "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
              "return_dict_in_generate", "remove_invalid_values", "exponential_decay_length_penalty",
              "suppress_tokens", "begin_suppress_tokens")  # fmt: skip
NEVER_COMPUTES = frozenset((*SAVED_BY, *NUMBER_TYPE, *HOW_IT_RUNS, *TRAINING_ONLY, *GENERATION))
"""Keys, at any depth, that do not change what a model computes of given weights. (`top_k`, `temperature` and
`max_length` are not among them: some architectures read them.)"""

LABELS = ("id2label", "label2id", "num_labels")  # names of classes; their number sizes the head
BINARY = 2  # classes where a configuration says nothing, in transformers
ABSENT = "absent"
LONGEST, SHOWN = 40, 5  # characters of a value, and keys, in a message


@dataclass(frozen=True)
class Difference:
    """A key in which two configurations differ; a dot leads into a table."""

    key: str
    one: str  # as JSON, or "absent"
    other: str

    def __str__(self) -> str:
        return f"{self.key} ({self.one} against {self.other})"


def differences(one: Table, other: Table, same_class: bool = False) -> tuple[Difference, ...]:
    """The keys in which two config.json describe other computations, by name; empty where they describe the same.

    What one leaves to its default and the other writes out is the same, where transformers and torch are installed and
    the `model_type` is known; no code beside a configuration is run. `same_class`: the caller builds one class whatever
    `architectures` says, as where only one of them says it.
    """
    same_class = same_class or not (one.get("architectures") and other.get("architectures"))
    found = tuple(_between(_essence(one, same_class), _essence(other, same_class)))
    if not found or one.get("model_type") != other.get("model_type"):
        return found
    filled = [_filled(table) for table in (one, other)]
    if filled[0] is None or filled[1] is None:
        return found
    a, b = (_essence(table, same_class) for table in filled if table is not None)
    return tuple(_between(a, b))


def told(found: tuple[Difference, ...]) -> str:
    """Differences in one line.

    >>> told(differences({"hidden_act": "gelu", "dtype": "float16"}, {"hidden_act": "relu"}))
    'hidden_act ("gelu" against "relu")'
    """
    more = len(found) - SHOWN
    return ", ".join(map(str, islice(found, SHOWN))) + f" and {more} more" * (more > 0)


def _essence(table: Table, same_class: bool) -> dict[str, Any]:
    """What changes the computation, with the number of classes in place of their names."""
    kept = {key: _bare(value) for key, value in table.items() if _computes(key, value) and key not in LABELS}
    if same_class:
        kept.pop("architectures", None)
    return kept | {"number of labels": _labels(table)}


def _bare(value: Any) -> Any:
    """The value without the keys of inner tables that change nothing, or say twice what kind of positions these are."""
    if isinstance(value, Mapping):
        twice = {"type"} if "type" in value and value["type"] == value.get("rope_type") else set()
        return {str(k): _bare(inner) for k, inner in value.items() if k not in twice and _computes(str(k), inner)}
    return [_bare(inner) for inner in value] if isinstance(value, list | tuple) else value


def _computes(key: str, value: Any) -> bool:
    """Whether a key may change the outputs of a model that is not being trained.

    Rates of dropout do not (Undertow trains without). A switch of that name may: ESM's `token_dropout` scales inputs.
    """
    rate = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return key not in NEVER_COMPUTES and not ("drop" in key and rate)


def _labels(table: Table) -> int:
    for key in ("id2label", "label2id"):
        if isinstance(table.get(key), Mapping):
            return len(table[key])
    count = table.get("num_labels")
    return count if isinstance(count, int) else BINARY


def _between(one: Table, other: Table, within: str = "") -> Iterator[Difference]:
    """Key by key; tables are entered."""
    for key in sorted({*one, *other}):
        a, b = one.get(key, ABSENT), other.get(key, ABSENT)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _between(a, b, f"{within}{_word(key)}.")
        elif (key in one) != (key in other) or a != b or isinstance(a, bool) != isinstance(b, bool):
            yield Difference(within + _word(key), *(_value(t[key]) if key in t else ABSENT for t in (one, other)))


def _word(key: str) -> str:
    """A key as it may stand in a line; the file is not trusted."""
    return key if key.replace("_", "").replace(" ", "").isalnum() else json.dumps(key)[: LONGEST + 1]


def _value(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _filled(table: Table) -> dict[str, Any] | None:
    """The configuration with the defaults of its `model_type`; None where transformers does not know or take it."""
    try:
        from transformers import CONFIG_MAPPING

        from undertow.models.causal_lm import quiet
    except ImportError:
        return None
    name = table.get("model_type")
    if not isinstance(name, str) or name not in CONFIG_MAPPING:
        return None
    raw = {key: value for key, value in table.items() if key not in ("model_type", "auto_map")}
    try:
        with quiet():
            found: dict[str, Any] = CONFIG_MAPPING[name](**raw).to_dict()
    except Exception:  # checks of fields raise whatever they like; the configurations are then compared as written
        return None
    return found | {key: table[key] for key in ("auto_map",) if key in table}
