"""Data traps in a full ViT-B/32 from its configuration: plant, one step, read; with time and memory.

    python benchmarks/traps_vit.py [--data DIR] [--traps 32]

What traps capture of whole finetunings, and what they cost: `benchmarks/traps.py --presets vit vit-image vit-cifar10
vit-cifar10-image`. With --data the auxiliary images are of CIFAR-100, else they are noise.
"""

import argparse
import os
import resource
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import ViTConfig, ViTForImageClassification

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.audits.settings import DataSettings
from undertow.engine.executor import Serial
from undertow.rng import stream
from undertow.sources.records.pairs import load_pair
from undertow.sources.records.trap_source import trap_source
from undertow.storage.store import DiskStore
from undertow.traps import plant, read, vit_trap
from undertow.types import Params

BASE = {"image_size": 224, "patch_size": 32}


def table_of(name: str, seed: int, data: Path | None, out: Path) -> Table:
    """The stages of one experiment of a preset, with whatever `out` holds already."""
    config = replace(preset(name), seed=seed)
    if data:
        config = replace(config, data=replace(config.data, folder=str(data)))
    load, base = trap_source(config)
    return Table(config, load(seed), Host(DiskStore(out), Serial()), base)


def arrays(net: torch.nn.Module) -> Params:
    """The weights as NumPy arrays of their own."""
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def auxiliary_images(data: Path | None) -> np.ndarray:
    """(256, 3, 224, 224) float32."""
    images = stream(0, "auxiliary").normal(size=(256, 3, 32, 32)).astype(np.float32)
    if data:
        settings = DataSettings(pair="cifar100-cifar10", source=str(data), pool=1000, other=1000)
        images = load_pair(settings, 0).secret.x[:256]
    return images.repeat(BASE["image_size"] // 32, 2).repeat(BASE["image_size"] // 32, 3)


def one_step(images: np.ndarray, traps: int, whole: bool) -> str:
    """A step on eight images of which one fires one trap, and what is read."""
    torch.manual_seed(0)
    net = ViTForImageClassification(ViTConfig(num_labels=10, **BASE))
    params, times = arrays(net), [time.process_time()]
    trap = vit_trap(params, images, traps, 4 / 256 / (1 if whole else 49), stream(0, "traps"), whole=whole)
    times.append(time.process_time())
    planted = plant(params, trap)
    times.append(time.process_time())
    patches = trap.room.grey(images)
    margin = trap.white(patches.mean(1, keepdims=True) if whole else patches) @ trap.baits.directions.T
    margin -= trap.baits.thresholds
    quiet, alone = ((margin > -0.1).sum((1, 2)) == count for count in (0, 1))
    image, place, k = next(index for index in np.argwhere(margin > 0.1) if alone[index[0]])
    net.load_state_dict({name: torch.from_numpy(value) for name, value in planted.items()})
    logits = net(torch.from_numpy(images[np.append(image, np.flatnonzero(quiet)[:7])])).logits
    groups = [{"params": net.vit.parameters(), "lr": 1e-5}, {"params": net.classifier.parameters(), "lr": 0.05}]
    optimiser = torch.optim.SGD(groups)
    cross_entropy(logits, logits.argmin(1)).backward()
    optimiser.step()
    times.append(time.process_time())
    after = arrays(net)
    times.append(time.process_time())
    found = read(planted, after, trap)
    times.append(time.process_time())
    truth = patches[image] if whole else patches[image, place]
    choosing, planting, step, _, reading = np.diff(times)
    return (
        f"{('patch', 'image')[whole]}: {traps} traps; choosing {choosing:.1f} s, planting {planting:.1f} s, "
        f"one step on 8 images {step:.1f} s, reading {reading:.1f} s; largest error of a pixel "
        f"{np.abs(found.values[k] - truth).max():.1e}, "
        f"other traps written {int((found.step != 0).any(1).sum()) - 1}; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--traps", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    images = auxiliary_images(options.data)
    for whole in (False, True):
        print(one_step(images, options.traps, whole), flush=True)


if __name__ == "__main__":
    main()
