"""Is this machine ready? Versions, extras, device, known traps, and what the engine probe picks."""

import importlib.util
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

EXTRAS = {
    "train": ("torch", "sklearn", "PIL"),
    "data": ("pyarrow", "huggingface_hub"),
    "hf": ("transformers",),
    "llm": ("peft", "accelerate"),
    "qlora": ("bitsandbytes",),
    "dp": ("opacus", "dp_accounting"),
    "scan": ("picklescan", "fickling"),
    "pii": ("faker",),
    "quality": ("skimage",),
    "ray": ("ray",),
}


def findings() -> Iterator[tuple[str, str]]:
    """(what, how it is), in the order a person wants to read it."""
    from undertow.storage.run import environment

    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401  so that the device is known
    here = environment()
    yield "undertow", str(here["undertow"])
    yield "python", f"{here['python']} on {here['platform']}, {here['cpus']} CPUs"
    for package in ("numpy", "scipy", "torch"):
        yield package, str(here[package])
    for extra, modules in EXTRAS.items():
        absent = [m for m in modules if importlib.util.find_spec(m) is None]
        yield f"extra [{extra}]", f"absent; pip install 'undertow[{extra}]'" if absent else "found"
    yield "device", str(here["device"])
    trap = torchvision_trap()
    if trap:
        yield "warning", trap
    if importlib.util.find_spec("torch"):
        yield from _engines()


def torchvision_trap() -> str | None:
    """A CUDA torchvision beside a CPU torch breaks every import of transformers models; None where all is well."""
    try:
        vision, torch = version("torchvision"), version("torch")
    except PackageNotFoundError:
        return None
    if ("+cpu" in torch) != ("+cpu" in vision):
        return f"torchvision {vision} does not match torch {torch}: uninstall torchvision (undertow needs none)"
    return None


def _engines() -> Iterator[tuple[str, str]]:
    """What the probe picks for a small perceptron and for linear heads, here."""
    from undertow.training.choose import choose
    from undertow.training.yardstick import timings

    for name, seconds in timings().items():
        each = ", ".join(f"{engine} {1e6 * s:.0f} us" for engine, s in seconds.items())
        yield f"engine, {name}", f"{choose(seconds)} ({each} per model-step)"
