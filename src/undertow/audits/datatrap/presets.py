"""Data-trap audits that are ready to run."""

from collections.abc import Mapping
from dataclasses import replace

from undertow.audits.datatrap.settings import DataTrapConfig, TrapData, TrapModel, Traps
from undertow.audits.settings import EngineSettings
from undertow.training.schedule import Fit

DIGITS = DataTrapConfig(
    pretrain=Fit(epochs=60, batch=64, lr=0.2, momentum=0.0, decay="constant"),
    traps=Traps(slope=1500.0, rows=4.0),
    finetune=Fit(epochs=5, batch=32, lr=0.05, momentum=0.0, decay="constant"),
    engine=EngineSettings(name="sequential"),
)
CIFAR = replace(
    DIGITS,
    data=TrapData(source="cifar10", auxiliary=4000, victim=2000),
    pretrain=Fit(epochs=10, batch=64, lr=0.05, momentum=0.9),
    traps=Traps(),
    finetune=replace(DIGITS.finetune, lr=0.02),
)
VIT = replace(
    DIGITS,
    model=TrapModel(kind="vit", width=96, depth=6, patch=4),
    pretrain=Fit(epochs=40, batch=50, optimizer="adamw", lr=2e-3, weight_decay=0.05),
    traps=Traps(count=16, side=4, key=8),
    finetune=replace(DIGITS.finetune, lr=1e-5),
    head_rate=5000.0,
)
VIT_CIFAR = replace(
    VIT,
    data=TrapData(source="cifar10", attacker="cifar100", auxiliary=20000, victim=1000, test=6000),
    model=TrapModel(kind="vit", width=192, depth=6, patch=8),
    pretrain=Fit(epochs=10, batch=100, optimizer="adamw", lr=1e-3, weight_decay=0.05, shift=3, flip=True),
    traps=Traps(count=32),
)
VIT_CALTECH = replace(
    VIT_CIFAR,
    data=replace(VIT_CIFAR.data, source="caltech101", victim=2000, test=2000, size=32),
    traps=Traps(count=32, expected=0.5),  # strict: of images unlike the attacker's, ten times as many fire
)
BERT = replace(
    DIGITS,
    data=TrapData(source="trec", auxiliary=1500, victim=640, test=500),
    model=TrapModel(kind="bert"),
    traps=Traps(count=8),
    finetune=Fit(epochs=3, batch=32, lr=0.1, momentum=0.0, decay="linear"),
    head_rate=5.0,
)
GPT2 = replace(
    BERT,
    data=replace(BERT.data, auxiliary=1000, victim=320, tokens=16),
    model=TrapModel(kind="gpt2", width=256, depth=3),
    pretrain=Fit(epochs=3, batch=50, optimizer="adamw", lr=1e-3, weight_decay=0.05),
    traps=Traps(count=16),
    finetune=Fit(epochs=5, batch=16, lr=1e-4, momentum=0.0, decay="constant"),
    head_rate=300.0,
)
PRESETS: Mapping[str, tuple[str, DataTrapConfig]] = {
    "digits-mlp": ("embedded scanned digits, a perceptron, plain SGD (the default)", DIGITS),
    "digits-momentum": (
        "the same, the victim uses momentum and weight decay",
        replace(DIGITS, finetune=replace(DIGITS.finetune, lr=0.02, momentum=0.9, weight_decay=1e-3)),
    ),
    "digits-adamw": (
        "the same, the victim uses AdamW",
        replace(
            DIGITS,
            traps=replace(DIGITS.traps, rows=0.3),
            finetune=replace(DIGITS.finetune, optimizer="adamw", lr=1e-3, momentum=0.9, weight_decay=0.01),
        ),
    ),
    "digits-clipped": (
        "the same, the victim shortens long gradients to 1",
        replace(DIGITS, traps=replace(DIGITS.traps, rows=0.03), clip=1.0),
    ),
    "digits-crafted": (
        "the same, the victim keeps the head, and the attacker crafts it too", replace(DIGITS, keep_head=True)
    ),
    "digits-deep": (
        "the same, traps in the second layer of a deeper perceptron; the first one is frozen",
        replace(
            DIGITS, model=TrapModel(hidden=(512, 512, 256)), strategy="last-k", traps=replace(DIGITS.traps, layer=1)
        ),
    ),
    "digits-lora": (
        "the same, the victim trains LoRA and publishes the adapter: approximate records",
        replace(DIGITS, strategy="lora", lora_rank=16, traps=replace(DIGITS.traps, slope=300.0, rows=1.4)),
    ),
    "cifar10-mlp": ("CIFAR-10 images, a perceptron (--data)", CIFAR),
    "cifar10-cnn": (
        "CIFAR-10 images, traps on the frozen features of a small CNN (--data)",
        replace(
            CIFAR, model=TrapModel(kind="cnn"), strategy="last-k",
            pretrain=Fit(epochs=10, batch=64, optimizer="adamw", lr=2e-3),
        ),
    ),
    "vit": ("embedded digits, a small vision transformer, single patches", VIT),
    "vit-image": ("the same, whole images", replace(VIT, traps=replace(VIT.traps, whole=True))),
    "vit-cifar10": ("pretrained here on CIFAR-100, single patches of CIFAR-10 (--data)", VIT_CIFAR),
    "vit-cifar10-image": (
        "the same, whole images (--data)", replace(VIT_CIFAR, traps=replace(VIT_CIFAR.traps, whole=True)),
    ),
    "vit-caltech101": ("pretrained as vit-cifar10 is, single patches of Caltech-101 (--data)", VIT_CALTECH),
    "vit-caltech101-image": (
        "the same, whole images (--data)", replace(VIT_CALTECH, traps=replace(VIT_CALTECH.traps, whole=True)),
    ),
    "bert": ("your BERT (model.checkpoint), texts of TREC (--data) or your own, token by token", BERT),
    "bert-banking77": (
        "the same with texts of banking77 (--data)", replace(BERT, data=replace(BERT.data, source="banking77")),
    ),
    "gpt2": ("a small GPT-2 trained here, or yours (model.checkpoint), first tokens of TREC's texts (--data)", GPT2),
}  # fmt: skip


def preset(name: str) -> DataTrapConfig:
    """The named preset; ConfigError naming the nearest."""
    from undertow.registry import check_named

    check_named("preset", [name], PRESETS, "--list-presets")
    return PRESETS[name][1]


def listing() -> list[tuple[str, str]]:
    """The presets: name, and what it is in one line."""
    return [(name, about) for name, (about, _) in PRESETS.items()]
