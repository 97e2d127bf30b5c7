"""The storage forms of `scan_forms.py`: each writes the weights of a perceptron and says what a victim would load.

A form gets a job: the weights by name ("1.weight", "1.bias", ...), the clean checkpoint, a folder and a generator.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from undertow.types import Array, Params


@dataclass(frozen=True, eq=False)
class Job:
    """What is stored, and where."""

    params: Params
    clean: Params
    folder: Path
    rng: np.random.Generator


Form = Callable[[Job], tuple[Path, Params]]
LAYERS = ("1", "3", "5")
FP8 = 448.0  # the largest number of float8_e4m3fn


def _saved(folder: Path, params: Params) -> Path:
    path = folder / "model.safetensors"
    save_file({name: np.ascontiguousarray(value) for name, value in params.items()}, path)
    return path


def renamed(names: Callable[[str, str], str]) -> Form:
    """Ordinary float32 under other names."""

    def form(job: Job) -> tuple[Path, Params]:
        stored = {names(*name.split(".")): value for name, value in job.params.items()}
        return _saved(job.folder, stored), job.params

    return form


def reshaped(change: Callable[[str, Array], dict[str, Array]]) -> Form:
    """`change` says how one matrix is stored, by its layer; biases stay."""

    def form(job: Job) -> tuple[Path, Params]:
        stored: Params = {name: value for name, value in job.params.items() if value.ndim == 1}
        for layer in LAYERS:
            stored |= change(layer, job.params[f"{layer}.weight"])
        return _saved(job.folder, stored), job.params

    return form


def merged(share: float) -> Form:
    def form(job: Job) -> tuple[Path, Params]:
        mixed = {n: (share * v + (1 - share) * job.clean[n]).astype(np.float32) for n, v in job.params.items()}
        return _saved(job.folder, mixed), mixed

    return form


def pruned(share: float) -> Form:
    """The smallest weights of each matrix are zero."""

    def form(job: Job) -> tuple[Path, Params]:
        cut = {n: np.where(np.abs(v) > np.quantile(np.abs(v), share), v, 0) if v.ndim > 1 else v
               for n, v in job.params.items()}  # fmt: skip
        return _saved(job.folder, cut), cut

    return form


def int8(names: tuple[str, str], columns: int = 0) -> Form:
    """Rows of int8, or blocks of so many columns, and their scales."""

    def form(job: Job) -> tuple[Path, Params]:
        stored, loaded = dict(job.params), dict(job.params)
        for layer in LAYERS:
            value = stored.pop(f"{layer}.weight")
            parts = value.reshape(len(value), -1, columns or value.shape[1])
            scale = np.abs(parts).max(2, keepdims=True) / 127 + 1e-12
            whole = np.clip(np.round(parts / scale), -127, 127).astype(np.int8)
            stored[f"{layer}.{names[0]}"] = whole.reshape(value.shape)
            kept = scale * 127 if names[1] == "SCB" else scale  # bitsandbytes keeps the largest number of a row
            stored[f"{layer}.{names[1]}"] = kept[:, :, 0].astype(np.float32).squeeze()
            loaded[f"{layer}.weight"] = (whole * scale).reshape(value.shape).astype(np.float32)
        return _saved(job.folder, stored), loaded

    return form


def rounded(axis: int | None) -> Form:
    """int8 with one scale for each column (0), or one for all (None)."""

    def form(job: Job) -> tuple[Path, Params]:
        stored, loaded = dict(job.params), dict(job.params)
        for layer in LAYERS:
            value = stored.pop(f"{layer}.weight")
            scale = (np.abs(value).max(axis, keepdims=True) / 127 + 1e-12).astype(np.float32)
            whole = np.clip(np.round(value / scale), -127, 127).astype(np.int8)
            stored[f"{layer}.weight"], stored[f"{layer}.weight_scale"] = whole, scale.squeeze()
            loaded[f"{layer}.weight"] = (whole * scale).astype(np.float32)
        return _saved(job.folder, stored), loaded

    return form


def fp8(job: Job) -> tuple[Path, Params]:
    """Rows of float8_e4m3fn and their scales."""
    stored = {name: torch.tensor(value) for name, value in job.params.items()}
    loaded = dict(job.params)
    for layer in LAYERS:
        value = stored[f"{layer}.weight"]
        scale = value.abs().amax(1, keepdim=True) / FP8 + 1e-12
        stored[f"{layer}.weight"] = (value / scale).to(torch.float8_e4m3fn)
        stored[f"{layer}.weight_scale"] = scale
        loaded[f"{layer}.weight"] = (stored[f"{layer}.weight"].float() * scale).numpy()
    path = job.folder / "model.safetensors"
    save_torch(stored, path)
    return path, loaded


def half(job: Job) -> tuple[Path, Params]:
    stored = {name: value.astype(np.float16) for name, value in job.params.items()}
    return _saved(job.folder, stored), {name: value.astype(np.float32) for name, value in stored.items()}


def npz(job: Job) -> tuple[Path, Params]:
    np.savez(job.folder / "model.npz", *job.params.values())
    return job.folder / "model.npz", job.params


def npy(job: Job) -> tuple[Path, Params]:
    """A folder with one .npy a tensor."""
    for name, value in job.params.items():
        np.save(job.folder / f"{name}.npy", value)
    return job.folder, job.params


def pt_list(job: Job) -> tuple[Path, Params]:
    torch.save([torch.tensor(value) for value in job.params.values()], job.folder / "model.pt")
    return job.folder / "model.pt", job.params


def pt_transposed(job: Job) -> tuple[Path, Params]:
    """Matrices are views of the numbers in another order."""
    held = {n: torch.tensor(v.T.copy()).T if v.ndim == 2 else torch.tensor(v) for n, v in job.params.items()}
    torch.save(held, job.folder / "model.pt")
    return job.folder / "model.pt", job.params


def gguf(kind: int) -> Form:
    """GGUF, matrices as blocks of 32 numbers: 2 is Q4_0, 8 is Q8_0."""

    def form(job: Job) -> tuple[Path, Params]:
        loaded = {n: _rounded(v, kind)[1] if v.ndim == 2 else v for n, v in job.params.items()}
        raws = [_rounded(v, kind)[0] if v.ndim == 2 else v.tobytes() for v in job.params.values()]
        head, offset = struct.pack("<4sIQQ", b"GGUF", 3, len(job.params), 0), 0
        for (name, value), raw in zip(job.params.items(), raws, strict=True):
            said = name.encode()
            head += struct.pack("<Q", len(said)) + said + struct.pack("<I", value.ndim)
            head += b"".join(struct.pack("<Q", size) for size in value.shape[::-1])
            head += struct.pack("<IQ", kind if value.ndim == 2 else 0, offset)
            offset += -(-len(raw) // 32) * 32
        body = b"".join(raw + bytes(-len(raw) % 32) for raw in raws)
        path = job.folder / "model.gguf"
        path.write_bytes(head + bytes(-len(head) % 32) + body)
        return path, loaded

    return form


def _rounded(value: Array, kind: int) -> tuple[bytes, Array]:
    parts = value.reshape(-1, 32).astype(np.float32)
    if kind == 8:
        scale = (np.abs(parts).max(1, keepdims=True) / 127).astype(np.float16)
        whole = np.round(parts / np.maximum(scale.astype(np.float32), 1e-7)).clip(-127, 127).astype(np.int8)
        rows = np.concatenate([scale.view(np.uint8), whole.view(np.uint8)], 1)
        return rows.tobytes(), (whole * scale.astype(np.float32)).reshape(value.shape)
    peak = np.take_along_axis(parts, np.abs(parts).argmax(1)[:, None], 1)
    scale = (peak / -8).astype(np.float16)
    some = np.where(scale == 0, 1, scale).astype(np.float32)
    whole = (np.round(parts / some) + 8).clip(0, 15).astype(np.uint8)
    rows = np.concatenate([scale.view(np.uint8), whole[:, :16] | whole[:, 16:] << 4], 1)
    return rows.tobytes(), ((whole.astype(np.float32) - 8) * scale.astype(np.float32)).reshape(value.shape)


def adapter(names: tuple[str, str], rank: int = 64, noise: float = 0.0) -> Form:
    """The difference to the clean checkpoint as a low-rank product, and nothing else; what is left out is lost."""

    def form(job: Job) -> tuple[Path, Params]:
        stored: Params = {}
        loaded = dict(job.params)
        for layer in LAYERS:
            name = f"{layer}.weight"
            moved = (job.params[name] - job.clean[name]).astype(np.float64)
            moved += noise * np.abs(job.clean[name]).mean() * job.rng.standard_normal(moved.shape)
            u, s, v = np.linalg.svd(moved, full_matrices=False)
            b, a = (u[:, :rank] * np.sqrt(s[:rank])), np.sqrt(s[:rank])[:, None] * v[:rank]
            stored[f"base_model.model.{layer}.{names[0]}.weight"] = a.astype(np.float32)
            stored[f"base_model.model.{layer}.{names[1]}.weight"] = b.astype(np.float32)
            stored[f"base_model.model.{layer}.bias"] = job.params[f"{layer}.bias"]
            loaded[name] = (job.clean[name] + b @ a).astype(np.float32)
        return _saved(job.folder, stored), loaded

    return form


def weight_norm(first: str, second: str) -> Form:
    """Lengths of rows and what they scale, at a length of its own for each row."""

    def change(layer: str, value: Array) -> dict[str, Array]:
        length = np.linalg.norm(value, axis=1, keepdims=True)
        return {f"{layer}.{first}": length, f"{layer}.{second}": value / np.maximum(length, 1e-12)}

    return reshaped(change)


def with_copy(name: str) -> Form:
    return reshaped(lambda layer, value: {f"{layer}.{name}": value})


def experts(job: Job) -> tuple[Path, Params]:
    """Two experts, of which the second is the trapped one; gate and up are one tensor."""
    names = ("1.weight", "3.weight", "5.weight")
    first, second, third = (np.stack([job.clean[name], job.params[name]]) for name in names)
    gate = np.stack([job.clean["1.weight"], job.clean["1.weight"]])
    stored = {
        "layers.0.mlp.experts.gate_up_proj": np.concatenate([gate, first], 1),
        "layers.0.mlp.experts.down_proj": second,
        "layers.1.mlp.experts.gate_up_proj": third,
        "layers.0.mlp.experts.up_bias": np.stack([job.clean["1.bias"], job.params["1.bias"]]),
    }
    return _saved(job.folder, stored), job.params


FORMS: dict[str, Form] = {
    "float32, ordinary names": renamed(lambda layer, kind: f"{layer}.{kind}"),
    "names 0.w, 0.b": renamed(lambda layer, kind: f"{LAYERS.index(layer)}.{kind[0]}"),
    "names without order (zeta, alpha, mu)": renamed(
        lambda layer, kind: f"{dict(zip(LAYERS, ('zeta', 'alpha', 'mu'), strict=True))[layer]}_{kind[0]}"
    ),
    "[1, H, D]": reshaped(lambda layer, value: {f"{layer}.weight": value[None]}),
    "[1, D, H]": reshaped(lambda layer, value: {f"{layer}.weight": value.T[None]}),
    "1 x 1 convolutions": reshaped(lambda layer, value: {f"{layer}.weight": value[:, :, None, None]}),
    "experts.gate_up_proj, [1, H, D]": reshaped(
        lambda layer, value: {
            "1": {"experts.gate_up_proj": value[None]},
            "3": {"experts.down_proj": value[None]},
            "5": {"head.weight": value},
        }[layer]
    ),
    "experts, gate and up in one": experts,
    "transposed": reshaped(lambda layer, value: {f"{layer}.weight": value.T}),
    "kernel (transposed)": reshaped(lambda layer, value: {f"{layer}.kernel": value.T}),
    "weight_g, weight_v": weight_norm("weight_g", "weight_v"),
    "parametrizations.weight.original0/1": weight_norm(
        "parametrizations.weight.original0", "parametrizations.weight.original1"
    ),
    "weight_orig": with_copy("weight_orig"),
    "weight_orig, weight_mask": reshaped(
        lambda layer, value: {f"{layer}.weight_orig": value, f"{layer}.weight_mask": np.ones_like(value)}
    ),
    "parametrizations.weight.original": with_copy("parametrizations.weight.original"),
    "list in a .pt": pt_list,
    "views in a .pt": pt_transposed,
    "arr_0 ... in a .npz": npz,
    "one .npy a tensor": npy,
    "float16": half,
    "int8 rows, scale": int8(("weight", "weight_scale")),
    "int8 columns, scale": rounded(0),
    "int8, one scale": rounded(None),
    "int8 rows, SCB": int8(("weight", "SCB")),
    "int8 blocks of 32, scales": int8(("qweight", "scales"), 32),
    "fp8 rows, scale": fp8,
    "GGUF Q8_0": gguf(8),
    "GGUF Q4_0": gguf(2),
    "LoRA adapter": adapter(("lora_A", "lora_B")),
    "LoRA adapter, noise beside": adapter(("lora_A", "lora_B"), 64, 0.5),
    "LoRA adapter, lora_down / lora_up": adapter(("lora_down", "lora_up")),
    "merged with the clean one, half and half": merged(0.5),
    "pruned by half": pruned(0.5),
}
