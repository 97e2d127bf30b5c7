"""LayerNorms fitted anew to what they gave out: what batch norms' re-estimation is, for norms with no running state.

When what a norm reads has lost a part (planted constants that made it linear), its gain and shift fit no more. They are
set by least squares, dim by dim and from the first norm to the last, so that on the same inputs the norm gives out what
the reference's gave out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

JUMP = 10.0  # times the usual spread in front of a norm, from which a record is none of the ordinary ones
CALM = 0.1  # quantile of records that is the usual spread
FLAT = 1e-24  # variance of a normalised input, in float64, below which it is rounding and its gain says nothing


@dataclass(frozen=True, eq=False)
class Fitted:
    """One norm of width D."""

    name: str  # of the module
    gain: Tensor = field(repr=False)  # (D,)
    shift: Tensor = field(repr=False)  # (D,)
    error: float  # root mean square of what the fit leaves, in standard deviations of what the reference gives out


def fit_norms(model: nn.Module, reference: nn.Module, x: Tensor, names: Sequence[str]) -> list[Fitted]:
    """Fit the norms `names` of `model`, in place, to those of its like `reference`, on records x (N, ...).

    Both in evaluation mode and float64. Records on which the reference's norms see what they seldom see (a trap that
    fires drowns all else) are left out. A norm that the logits do not depend on is skipped.
    """
    x = x[ordinary(reference, x)]
    used = read_by_logits(model, x, names) if len(x) and names else {}
    fitted = []
    for name in used:  # in the order in which they are computed
        rows = used[name]
        wanted, got = (_seen(one, [name], x)[name] for one in (reference, model))
        norm: Any = model.get_submodule(name)
        one = _least_squares(name, norm, got[0][rows], wanted[1][rows])
        if one is not None:
            with torch.no_grad():
                norm.weight.copy_(one.gain)
                norm.bias.copy_(one.shift)
            fitted.append(one)
    return fitted


def layer_norms(model: nn.Module) -> list[str]:
    """The modules that are LayerNorms with gain and shift."""
    kept = (nn.LayerNorm,)
    return [n for n, m in model.named_modules() if isinstance(m, kept) and m.bias is not None and m.weight is not None]


def ordinary(model: nn.Module, x: Tensor) -> Tensor:
    """(N,) bool: records whose largest spread in front of every norm is within JUMP of what calm records have."""
    kept = torch.ones(len(x), dtype=torch.bool)
    for given, _ in _seen(model, layer_norms(model), x).values():
        spread = given.std(-1).reshape(len(x), -1).amax(1)
        kept &= spread <= JUMP * spread.quantile(CALM)
    return kept


def read_by_logits(model: nn.Module, x: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
    """(N, ...) bool for each norm of `names` that the logits depend on: at which places; in the order of computation.

    Asked with the gains at 1: a norm that edits have silenced hides those in front of it.
    """
    norms: dict[str, Any] = {name: model.get_submodule(name) for name in names}
    held = {name: norm.weight.detach().clone() for name, norm in norms.items()}
    for norm in norms.values():
        norm.weight.data.fill_(1.0)
    with _outputs(norms, detach=False) as seen:
        loss = model(x).sum()
        slopes = torch.autograd.grad(loss, [out for _, out in seen.values()], allow_unused=True)
    for name, norm in norms.items():
        norm.weight.data.copy_(held[name])
    places = {name: slope for name, slope in zip(seen, slopes, strict=True) if slope is not None}
    return {name: (slope != 0).any(-1) for name, slope in places.items() if bool(slope.any())}


def _least_squares(name: str, norm: Any, given: Tensor, wanted: Tensor) -> Fitted | None:
    """Gain and shift for inputs and wanted outputs (M, D)."""
    bare = nn.functional.layer_norm(given, given.shape[-1:], eps=norm.eps)
    middle, target = bare.mean(0), wanted.mean(0)
    variance = bare.var(0, unbiased=False)
    slope = ((bare - middle) * (wanted - target)).mean(0) / variance.clamp_min(FLAT)
    gain = torch.where(variance > FLAT, slope, torch.zeros_like(slope))
    shift = target - gain * middle
    left = ((wanted - gain * bare - shift) ** 2).mean() / wanted.var(0, unbiased=False).mean().clamp_min(1e-300)
    error = float(left.sqrt())
    return Fitted(name, gain, shift, error) if bool(torch.isfinite(gain * shift).all()) and error == error else None


@torch.no_grad()
def _seen(model: nn.Module, names: Sequence[str], x: Tensor) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Inputs and outputs of the norms."""
    with _outputs({name: model.get_submodule(name) for name in names}) as seen:
        model(x)
    return seen


@contextmanager
def _outputs(norms: Mapping[str, nn.Module], detach: bool = True) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """What passes the norms while this is open."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            seen[name] = (given[0].detach(), out.detach() if detach else out)

        return note

    hooks = [norm.register_forward_hook(hook(name)) for name, norm in norms.items()]
    try:
        yield seen
    finally:
        for one in hooks:
            one.remove()
