"""Small edits of a BERT layer. Each copies what it changes of `params` into `changed`, in float64, whole."""

from collections.abc import Iterable

from undertow.traps.text.post_norm import Encoder
from undertow.traps.trap import tensor
from undertow.types import Array, Params


def mask(params: Params, changed: Params, bert: Encoder, index: int, dims: Array) -> None:
    """Benign heads of a layer neither read nor write `dims`."""
    names = [f"attention.self.{part}" for part in ("query", "key", "value")]
    for name in (*names, "attention.output.dense"):
        for kind in ("weight", "bias"):
            changed[bert.layer(index, f"{name}.{kind}")] = tensor(params, bert.layer(index, f"{name}.{kind}"))
    for name in names:
        changed[bert.layer(index, f"{name}.weight")][:, dims] = 0
    for kind in ("weight", "bias"):
        changed[bert.layer(index, f"attention.output.dense.{kind}")][dims] = 0


def silence(changed: Params, bert: Encoder, index: int, rows: slice) -> None:
    """A head without queries and keys, which averages, and which reads and writes nothing yet."""
    for part in ("query", "key", "value"):
        for kind in ("weight", "bias"):
            changed[bert.layer(index, f"attention.self.{part}.{kind}")][rows] = 0
    changed[bert.layer(index, "attention.output.dense.weight")][:, rows] = 0


def set_norm(
    params: Params,
    changed: Params,
    name: str,
    benign: Array,
    restored: float,
    groups: Iterable[tuple[Array, float, Array | float]],
) -> None:
    """A LayerNorm: benign weights grow by `restored`; `groups` are (dims, weight, bias), the later over the earlier."""
    gain, shift = tensor(params, f"{name}.weight"), tensor(params, f"{name}.bias")
    gain[benign] *= restored
    for dims, one, other in groups:
        gain[dims], shift[dims] = one, other
    changed[f"{name}.weight"], changed[f"{name}.bias"] = gain, shift
