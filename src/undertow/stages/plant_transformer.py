"""The link an attacker adds, for transformers: data traps in a ViT, a BERT or a GPT-2 as transformers names tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from undertow.rng import stream
from undertow.stages.common import load_examples
from undertow.traps import BertTrap, Gpt2Trap, VitTrap, bert_trap, gpt2_trap, plant, vit_trap
from undertow.types import Params, Slot, Store

PREFIX = "model."  # of a transformers model inside its wrapper (models.huggingface)
SEEN = 4000  # auxiliary records that thresholds are set on, at most


def bare(state: Params) -> Params:
    """The state dict as transformers itself names it."""
    return {name.removeprefix(PREFIX): value for name, value in state.items()}


def wrapped(state: Params) -> Params:
    """The state dict as the wrapper names it."""
    return {PREFIX + name: value for name, value in state.items()}


@dataclass(frozen=True)
class PlantVit:
    """Traps for patches or whole images in the first block of a ViT; thresholds are set on auxiliary images alone."""

    auxiliary: str  # store key of images that no victim has
    traps: int
    share: float  # of all records, patches or images, that fire a trap
    whole: bool  # records are images, not patches
    side: int  # pixels a side that are recorded of a patch
    key: int  # numbers that tell images apart
    name: ClassVar[str] = "plant"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        return [wrapped(plant(bare(b), self.trap(s, b, store))) for s, b in zip(slots, before, strict=True)]

    def trap(self, slot: Slot, state: Params, store: Store) -> VitTrap:
        """The key of what is planted in the checkpoint `state`: the same from the same, whenever it is asked for."""
        images = load_examples(store, self.auxiliary).x[:SEEN]
        rng = stream(slot.seed, self.name, slot.role, slot.index, "baits")
        return vit_trap(
            bare(state), images, self.traps, self.share, rng, whole=self.whole, side=self.side, key=self.key
        )


@dataclass(frozen=True)
class PlantBert:
    """Traps for whole texts in the first layer of a BERT; thresholds are set on auxiliary texts alone."""

    auxiliary: str  # store key of texts (token ids) that no victim has
    traps: int
    share: float  # of all texts, that fire a trap
    heads: int  # of the model's attention
    name: ClassVar[str] = "plant"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        return [wrapped(plant(bare(b), self.trap(s, b, store))) for s, b in zip(slots, before, strict=True)]

    def trap(self, slot: Slot, state: Params, store: Store) -> BertTrap:
        """The key of what is planted in the checkpoint `state`: the same from the same, whenever it is asked for."""
        texts = load_examples(store, self.auxiliary).x[:SEEN]
        rng = stream(slot.seed, self.name, slot.role, slot.index, "baits")
        return bert_trap(bare(state), texts, self.traps, self.share, rng, heads=self.heads)


@dataclass(frozen=True)
class PlantGpt2:
    """Traps for the first tokens of texts in block 0 of a GPT-2; thresholds are set on auxiliary texts alone."""

    auxiliary: str  # store key of texts (token ids) that no victim has
    traps: int
    share: float  # of all texts, that fire a trap
    heads: int  # of the model's attention
    pad: int  # token id of padding, on the right
    name: ClassVar[str] = "plant"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        return [wrapped(plant(bare(b), self.trap(s, b, store))) for s, b in zip(slots, before, strict=True)]

    def trap(self, slot: Slot, state: Params, store: Store) -> Gpt2Trap:
        """The key of what is planted in the checkpoint `state`: the same from the same, whenever it is asked for."""
        texts = load_examples(store, self.auxiliary).x[:SEEN]
        rng = stream(slot.seed, self.name, slot.role, slot.index, "baits")
        return gpt2_trap(bare(state), texts, self.traps, self.share, rng, heads=self.heads, pad=self.pad)
