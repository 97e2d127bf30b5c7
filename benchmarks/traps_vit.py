"""Data traps in a vision transformer: what they capture, and what they cost in accuracy.

    python benchmarks/traps_vit.py --data DIR --mode patch|image [--seeds 0 1 2] [--out runs/traps-vit]
    python benchmarks/traps_vit.py --mode full-size [--data DIR]

The attacker pretrains on CIFAR-100 with room kept free, plants (thresholds from CIFAR-100 alone), the victim puts a
fresh head on it and finetunes all of it on CIFAR-10 with SGD. The clean twin is the same pretrained model without
traps, finetuned with the same head, batches and seeds. No seed is left out. `full-size`: ViT-B/32 from its config,
planted, one step, read; with time and memory.
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
from safetensors.numpy import load_file, save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn.functional import cross_entropy
from transformers import ViTConfig, ViTForImageClassification

from undertow.audits.settings import DataSettings
from undertow.audits.supply import Supply
from undertow.rng import seed_for, stream
from undertow.storage.data.pairs import load_pair
from undertow.traps import Candidates, best_expected, captures, plant, read, vit_trap
from undertow.traps.vit import VitTrap
from undertow.traps.vit_room import clear, room_in
from undertow.types import Examples, Params

SMALL = {
    "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 768,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
BASE = {"image_size": 224, "patch_size": 32}
RANGE = 4.0  # of pixels, from black to white
NEAR = 0.05  # largest error of a pixel that counts as captured
TESTS = 5000  # downstream records that only test, beside the pair's own 1,000
KEY = 16  # numbers that tell images apart


def model(classes: int, seed: int, shape: dict[str, int]) -> ViTForImageClassification:
    """Random weights."""
    torch.manual_seed(seed)
    return ViTForImageClassification(ViTConfig(num_labels=classes, **shape))


def arrays(net: torch.nn.Module) -> Params:
    """The weights as NumPy arrays of their own."""
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def loaded(net: torch.nn.Module, params: Params) -> torch.nn.Module:
    """The model with these weights, a fresh head where they have none."""
    body = {name: torch.from_numpy(value) for name, value in params.items() if not name.startswith("classifier")}
    net.load_state_dict(body, strict=False)
    return net


def accuracy(net: torch.nn.Module, data: Examples) -> float:
    """Share of `data` classified right."""
    with torch.no_grad():
        right = [(net(x).logits.argmax(1) == y).sum() for x, y in batches(data, np.arange(len(data.y)), 250)]
    return float(sum(right)) / len(data.y)


def batches(data: Examples, order: np.ndarray, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The records in this order."""
    cuts = np.split(order, range(size, len(order), size))
    return [(torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows]).long()) for rows in cuts]


def pretrain(data: Examples, options: argparse.Namespace) -> Params:
    """A benign ViT with the room for whole images kept free after each step; kept in --out."""
    path = options.out / f"pretrained-{len(data.y)}-{options.pretrain_epochs}.safetensors"
    if path.is_file():
        return load_file(path)
    # The blocks that are given up add nothing: they are left out here and put back afterwards.
    blocks = SMALL["num_hidden_layers"]
    net = model(int(data.y.max()) + 1, 0, SMALL)
    room = room_in(arrays(net), (32, 32), key=KEY)
    ones = {name: np.ones_like(value) for name, value in arrays(net).items()}
    low, high = (clear({name: value * s for name, value in ones.items()}, room) for s in (2, 3))
    fixed = {n: (torch.from_numpy(low[n] == high[n]), torch.from_numpy(low[n])) for n in low}
    idle = [net.vit.layers[i] for i in (0, 1, blocks - 1)]
    net.vit.layers = torch.nn.ModuleList(net.vit.layers[2 : blocks - 1])
    names = {f"vit.layers.{i}.": f"vit.layers.{i + 2}." for i in range(blocks - 3)}
    where = {name: names.get(name[:13], name[:13]) + name[13:] for name, _ in net.named_parameters()}

    def keep_free() -> None:
        with torch.no_grad():
            for name, value in net.named_parameters():
                mask, constant = fixed.get(where[name], (None, None))
                if mask is not None:
                    value[mask] = constant[mask]

    steps = options.pretrain_epochs * -(-len(data.y) // 100)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps, pct_start=0.1)
    keep_free()
    began = time.process_time()
    for epoch in range(options.pretrain_epochs):
        losses = []
        for x, y in batches(data, stream(0, "pretrain", epoch).permutation(len(data.y)), 100):
            flip, down, right = torch.rand(len(x)) < 0.5, *torch.randint(-3, 4, (2,)).tolist()
            x = torch.where(flip[:, None, None, None], x.flip(3), x).roll((down, right), (2, 3))
            loss = cross_entropy(net(x).logits, y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            keep_free()
            losses.append(loss.item())
        print(f"pretraining epoch {epoch}: loss {np.mean(losses):.3f}, {time.process_time() - began:.0f} s", flush=True)
    net.vit.layers = torch.nn.ModuleList([*idle[:2], *net.vit.layers, idle[2]])
    params = arrays(net)
    params = {**params, **clear(params, room)}
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(params, path)
    return params


def finetune(params: Params, data: Examples, seed: int, options: argparse.Namespace) -> torch.nn.Module:
    """Plain SGD on everything, shuffled, not augmented; a fresh head."""
    net = loaded(model(int(data.y.max()) + 1, seed_for(seed, "head") % 2**31, SMALL), params)
    groups = [
        {"params": net.vit.parameters(), "lr": options.lr},
        {"params": net.classifier.parameters(), "lr": options.head_lr},
    ]
    optimiser = torch.optim.SGD(groups)
    for epoch in range(options.epochs):
        for x, y in batches(data, stream(seed, "finetune", epoch).permutation(len(data.y)), options.batch):
            optimiser.zero_grad()
            cross_entropy(net(x).logits, y).backward()
            optimiser.step()
    return net.eval()


def score(trap: VitTrap, found: Candidates, images: np.ndarray) -> dict[str, float]:
    """What was captured: whole readings against whole records (patches or images)."""
    truth = trap.room.grey(images)
    truth = truth.reshape(len(truth), -1) if trap.whole else truth.reshape(-1, trap.room.pixels)
    held = found.values.reshape(len(found), 1, -1)
    accepted = found.accepted.all(1)[:, None]
    result = captures(replace(found, values=held, accepted=accepted), truth, NEAR)
    similar, noise = np.full(len(found), np.nan), np.full(len(found), np.nan)
    for k in np.flatnonzero(np.isfinite(result.error)):
        a, b = (picture(trap, value) for value in (truth[result.nearest[k]], held[k, 0]))
        similar[k] = structural_similarity(a, b, data_range=RANGE)
        noise[k] = peak_signal_noise_ratio(a, b, data_range=RANGE)
    good = similar >= (0.8 if trap.whole else 0.95)
    return {
        **result.counts, "similar_unique": len(np.unique(result.nearest[good])),
        "precision": result.precision or np.nan, "max_error": result.max_error or np.nan,
        "ssim": float(np.nanmean(similar)), "psnr": float(np.nanmedian(noise)),
    }  # fmt: skip


def picture(trap: VitTrap, values: np.ndarray) -> np.ndarray:
    """Grey pixels of one reading, a patch or an image."""
    if trap.whole:
        return trap.room.pictures(values.reshape(1, trap.room.patches, -1))[0]
    return values.reshape(trap.room.side, -1)


def one_seed(seed: int, pretrained: Params, supply: Supply, options: argparse.Namespace) -> dict[str, float]:
    """Plant, finetune, read; and the clean twin."""
    whole = options.mode == "image"
    rows = stream(seed, "victim").permutation(len(supply.other.y))
    victim = supply.other.take(rows[: options.records])
    test = supply.other.take(rows[options.records :][:TESTS])
    test = Examples(np.concatenate([test.x, supply.test.x]), np.concatenate([test.y, supply.test.y]), "test")
    expected = options.expected or best_expected(options.records, options.batch, classes=10)
    share = expected / options.records / (1 if whole else 16)
    aux = supply.secret.x[: options.auxiliary]
    settings = {k: getattr(options, k) for k in ("slope", "latch", "steep", "rows") if getattr(options, k)}
    trap = vit_trap(pretrained, aux, options.traps, share, stream(seed, "traps"), whole=whole, key=KEY, **settings)
    free = {**pretrained, **clear(pretrained, trap.room)}
    planted = plant(pretrained, trap)
    began = time.process_time()
    after = finetune(planted, victim, seed, options)
    result = {"seed": seed, **score(trap, read(planted, arrays(after), trap), victim.x)}
    result["planted"] = accuracy(after, test)
    if not options.no_twin:
        result["twin"] = accuracy(finetune(free, victim, seed, options), test)
    result["seconds"] = time.process_time() - began
    if options.verbose:
        diagnose(trap, read(planted, arrays(after), trap), victim)
    return result


def diagnose(trap: VitTrap, found: Candidates, victim: Examples) -> None:
    """How many records fire each trap, beside what came of it."""
    patches = trap.room.grey(victim.x)
    seen = patches.mean(1, keepdims=True) if trap.whole else patches
    margin = trap.white(seen) @ trap.baits.directions.T - trap.baits.thresholds
    for k in range(len(found)):
        print(k, "fired by", int((margin[..., k] > 0).sum()), "images", int((margin[..., k] > 0).any(1).sum()),
              f"largest {margin[..., k].max():.2f}", f"step {found.step[k, 0]:.3g}", found.reasons[k, 0])  # fmt: skip


def small(options: argparse.Namespace) -> None:
    """The table over seeds."""
    pool = options.pool
    supply = load_pair(
        DataSettings(pair="cifar100-cifar10", source=str(options.data), pool=pool, other=TESTS + options.records), 0
    )
    pretrained = pretrain(supply.secret, options)
    rows = []
    for seed in options.seeds:
        rows.append(one_seed(seed, pretrained, supply, options))
        print("  ".join(f"{k} {v:.4g}" for k, v in rows[-1].items()), flush=True)
    print("mean: " + "  ".join(f"{k} {np.mean([r[k] for r in rows]):.4g}" for k in rows[0] if k != "seed"))


def full_size(options: argparse.Namespace) -> None:
    """ViT-B/32 with random weights: plant, one step on eight images of which one fires one trap, read."""
    side = BASE["image_size"]
    aux = stream(0, "auxiliary").normal(size=(256, 3, 32, 32)).astype(np.float32)
    if options.data:
        settings = DataSettings(pair="cifar100-cifar10", source=str(options.data), pool=1000, other=1000)
        aux = load_pair(settings, 0).secret.x[:256]
    aux = aux.repeat(side // 32, 2).repeat(side // 32, 3)
    for whole in (False, True):
        net = model(10, 0, BASE)
        params, times = arrays(net), [time.process_time()]
        share = 4 / 256 / (1 if whole else 49)
        trap = vit_trap(params, aux, options.traps, share, stream(0, "traps"), whole=whole)
        times.append(time.process_time())
        planted = plant(params, trap)
        times.append(time.process_time())
        patches = trap.room.grey(aux)
        margin = trap.white(patches.mean(1, keepdims=True) if whole else patches) @ trap.baits.directions.T
        margin -= trap.baits.thresholds
        quiet, alone = ((margin > -0.1).sum((1, 2)) == count for count in (0, 1))
        image, place, k = next(index for index in np.argwhere(margin > 0.1) if alone[index[0]])
        rows = np.append(image, np.flatnonzero(quiet)[:7])
        x = torch.from_numpy(aux[rows])
        loaded(net, planted)
        logits = net(x).logits
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
        print(
            f"{('patch', 'image')[whole]}: {options.traps} traps; "
            f"choosing {choosing:.1f} s, planting {planting:.1f} s, "
            f"one step on 8 images {step:.1f} s, reading {reading:.1f} s; largest error of a pixel "
            f"{np.abs(found.values[k] - truth).max():.1e}, "
            f"other traps written {int((found.step != 0).any(1).sum()) - 1}; "
            f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB", flush=True,
        )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path)
    p.add_argument("--mode", choices=("patch", "image", "full-size"), default="patch")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--out", type=Path, default=Path("runs/traps-vit"))
    p.add_argument("--traps", type=int, default=32)
    p.add_argument("--records", type=int, default=1000)
    p.add_argument("--auxiliary", type=int, default=4000)
    p.add_argument("--expected", type=float, default=3, help="auxiliary share times records; 0: the planner's")
    p.add_argument("--epochs", type=int, default=5)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=1e-5)
    p.add_argument("--head-lr", type=float, default=0.05)
    p.add_argument("--pool", type=int, default=20000)
    p.add_argument("--pretrain-epochs", type=int, default=10)
    for name in ("slope", "latch", "steep", "rows"):
        p.add_argument(f"--{name}", type=float, default=0, help="0: the default of vit_trap")
    p.add_argument("--no-twin", action="store_true")
    p.add_argument("--verbose", action="store_true")
    return p


if __name__ == "__main__":
    options = parser().parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    full_size(options) if options.mode == "full-size" else small(options)
