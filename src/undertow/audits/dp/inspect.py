"""What can be read off a module without training it: reasons why DP-SGD on it would not keep its word.

These are no statistical tests: what is found is there (p 0), what is not found was looked at (p 1).
"""

import copy
import warnings
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from undertow.audits.dp.bench import Check
from undertow.types import Array

RECORDS = 3  # of a probe batch


def inspect_module(
    module: nn.Module, x: Array, optimizer: torch.optim.Optimizer | None = None
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """What was found in `module`, given a few inputs (N >= 3, ...), and what could not be looked at.

    The module is copied, put into training mode without dropout, and called on three records together and one by one.
    """
    batch = torch.as_tensor(x[:RECORDS])
    found = [_batch_norm(module), _tied(module), _mixing(module, batch), _buffers(module, batch)]
    missing = []
    if optimizer is None:
        missing.append("parameters outside the optimiser: no optimiser was given (their noise is tested)")
    else:
        found.append(_outside(module, optimizer))
    try:
        found.append(_per_record(module, batch))
    except ImportError:
        missing.append("per-record gradients of the module: Opacus is not installed")
    return tuple(found), tuple(missing)


def _batch_norm(module: nn.Module) -> Check:
    names = [name for name, part in module.named_modules() if isinstance(part, _BatchNorm)]
    return _check("batch norm", names, "it mixes the records of a batch", "replace it by group norm")


def _tied(module: nn.Module) -> Check:
    names = defaultdict(list)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names[id(parameter)].append(name)
    tied = [" = ".join(group) for group in names.values() if len(group) > 1]
    means = "per-record gradients of tied weights are summed by some hooks, overwritten or refused by others"
    return _check("tied weights", tied, means, "untie them, or check the sum of both uses")


def _outside(module: nn.Module, optimizer: torch.optim.Optimizer) -> Check:
    inside = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = [name for name, p in module.named_parameters() if p.requires_grad and id(p) not in inside]
    means = "they ask for gradients and are not in the private optimiser"
    return _check("outside the optimiser", names, means, "give them to it, or set requires_grad to False")


@torch.no_grad()
def _mixing(module: nn.Module, batch: Tensor) -> Check:
    together = _still(module)(batch)
    try:
        alone = torch.cat([_still(module)(batch[i : i + 1]) for i in range(len(batch))])
        wrong = not torch.allclose(together, alone, rtol=1e-3, atol=1e-4)
    except ValueError:  # batch norm refuses a single record
        wrong = True
    means = "a record's output depends on the other records of its batch"
    return _check("mixing of records", ["output"] * wrong, means, "remove what works across a batch")


@torch.no_grad()
def _buffers(module: nn.Module, batch: Tensor) -> Check:
    still = _still(module)
    before = {name: value.clone() for name, value in still.named_buffers()}
    still(batch)
    names = [
        name
        for name, value in still.named_buffers()
        if value.is_floating_point() and not torch.equal(value, before[name])
    ]
    return _check("buffers", names, "they follow the records without noise", "freeze them, or replace their layer")


def _per_record(module: nn.Module, batch: Tensor) -> Check:
    """Does each trained parameter get one gradient per record from Opacus's hooks?"""
    from opacus import GradSampleModule

    still = _still(module)
    means = "Opacus's hooks see another number of gradients than records: clipping does not bound one record"
    fix = "give layers inputs with a batch axis (position_ids of shape (batch, length))"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            GradSampleModule(still, loss_reduction="sum")(batch).sum().backward()
        except (NotImplementedError, RuntimeError, ValueError) as error:
            return _check("per-record gradients", [str(error).splitlines()[0][:80]], "Opacus cannot train it", fix)
    wrong = [name for name, p in still.named_parameters() if p.requires_grad and _samples(p) != len(batch)]
    if not wrong and not _mixing(module, batch).found:
        means = "Opacus's hooks give other gradients than the records have (tied weights): clipping bounds a wrong norm"
        wrong, fix = _other_gradients(module, batch, still), "untie them, or correct the hooks"
    return _check("per-record gradients", wrong, means, fix)


def _other_gradients(module: nn.Module, batch: Tensor, hooked: nn.Module) -> list[str]:
    """Names of parameters whose `grad_sample` in `hooked` is not what each record alone gives in `module`."""
    wrong = set()
    for i in range(len(batch)):
        alone = _still(module)
        alone(batch[i : i + 1]).sum().backward()
        for (name, p), q in zip(alone.named_parameters(), hooked.parameters(), strict=True):
            if p.requires_grad and p.grad is not None:
                sample: Any = getattr(q, "grad_sample", None)
                if not torch.allclose(p.grad, sample[i], rtol=1e-3, atol=1e-4):
                    wrong.add(name)
    return sorted(wrong)


def _samples(parameter: nn.Parameter) -> int:
    sample = getattr(parameter, "grad_sample", None)
    return -1 if sample is None else len(sample)


def _still(module: nn.Module) -> nn.Module:
    """A copy in training mode, without dropout."""
    still = copy.deepcopy(module).train()
    for part in still.modules():
        if isinstance(part, _DropoutNd):
            part.eval()
    return still


def _check(test: str, names: list[str], means: str, fix: str) -> Check:
    about = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else "module"
    return Check(test, about, float(len(names)), float(not names), bool(names), means, fix)
