"""Room for traps in a vision transformer: dimensions of the residual stream that benign computation leaves alone.

Reserved are the last dimensions: a channel (two, mirrored), the record (a patch), and for whole images a key of the
image and a code of the position. All are codes that sum to zero (`zero_sum`), so that nothing, no patch's mean
either, is lost in a LayerNorm that acts linearly. The first two blocks and the last one are given up.
"""

from dataclasses import dataclass

import numpy as np

from undertow.traps.layer_norm import LinearNorm
from undertow.traps.trap import Draft
from undertow.types import Array, BadInput, Params

QUIET = -1e4  # bias of hidden units that must never fire
GIVEN_UP = 3  # blocks: trap, amplifier and eraser, output
GREY = np.array([0.0, 1.0, 0.0])  # of red, green and blue: what grey mostly is, and on the grid of the pixels
SWING = 1.0  # of units that copy, at the largest signals: the larger, the more steps on their weights move features
PLACE = 4  # numbers that tell a position
HIDDEN = "vit.layers.{}.{}".format


@dataclass(frozen=True)
class Room:
    """What is reserved in a ViT of this shape, for patches recorded as grey squares of `side` x `side` pixels."""

    width: int
    blocks: int
    hidden: int
    channels: int
    patch: int  # pixels per side
    grid: tuple[int, int]  # patches per column and row
    side: int
    key: int = 0  # numbers that tell images apart; 0: traps record single patches
    constant: float = 1e4  # on the reserved dimensions of the first two blocks
    loud: float = 2.0**30  # on those that the last block's attention reads
    end: float = 2.0**17  # on those that its MLP and the last LayerNorm read
    gain: float = 0.01  # of the last LayerNorm, which is linear, on the benign features

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def pixels(self) -> int:
        """Numbers per recorded patch."""
        return self.side**2

    @property
    def features(self) -> Array:
        """The dimensions of benign computation."""
        return np.arange(self.width - self._sizes.sum())

    @property
    def channel(self) -> Array:
        """(2,) plus and minus."""
        return self._part(0)

    @property
    def record(self) -> Array:
        """(pixels + 1,): a patch."""
        return self._part(1)

    @property
    def keys(self) -> Array:
        return self._part(2)

    @property
    def place(self) -> Array:
        return self._part(3)

    @property
    def right(self) -> Array:
        """All dimensions that may hold the constant: the reserved ones but for the channel."""
        return np.concatenate([self.record, self.keys, self.place])

    @property
    def _sizes(self) -> Array:
        return np.array([2, self.pixels + 1, *((self.key + 1, PLACE + 1) if self.key else (0, 0))])

    def _part(self, which: int) -> Array:
        start = len(self.features) + self._sizes[:which].sum()
        return np.arange(start, start + self._sizes[which])

    def grey(self, images: Array) -> Array:
        """The patches (N, P, side^2) of images (N, C, H, W) as the traps see them: grey, averaged over squares."""
        n, (rows, columns), square = len(images), self.grid, self.patch // self.side
        grey = sum(weight * images[:, c].astype(np.float64) for c, weight in enumerate(self.colours))
        cells = np.reshape(grey, (n, rows, self.side, square, columns, self.side, square)).mean((3, 6))
        patches: Array = cells.transpose(0, 1, 3, 2, 4).reshape(n, self.patches, self.pixels)
        return patches

    def pictures(self, patches: Array) -> Array:
        """Grey images (N, rows * side, columns * side) of patches (N, P, side^2)."""
        cells = patches.reshape(-1, *self.grid, self.side, self.side).transpose(0, 1, 3, 2, 4)
        return cells.reshape(len(patches), self.grid[0] * self.side, self.grid[1] * self.side)

    @property
    def colours(self) -> Array:
        """(C,) weights of the colours that make grey."""
        return GREY if self.channels == 3 else np.full(self.channels, 1 / self.channels)


def room_in(params: Params, size: tuple[int, int], *, side: int = 8, key: int = 0, **constants: float) -> Room:
    """The room in a ViT that sees images of `size` (H, W); BadInput where there is none."""
    conv, places = "vit.embeddings.patch_embeddings.projection.weight", "vit.embeddings.position_embeddings"
    if conv not in params or places not in params:
        raise BadInput(
            "not a checkpoint of ViTForImageClassification as transformers 5 names it (vit.embeddings..., "
            "vit.layers.0...): load it there and save it again"
        )
    width, channels, patch = params[conv].shape[:3]
    grid = size[0] // patch, size[1] // patch
    if grid[0] * grid[1] + 1 != params[places].shape[1]:
        raise BadInput(
            f"images of {size} in patches of {patch} are not the {params[places].shape[1] - 1} it is made for"
        )
    side = min(side, patch)
    if patch % side:
        raise BadInput(f"patches of {patch} pixels cannot be averaged to {side}; take a divisor")
    blocks = 0
    while HIDDEN(blocks, "mlp.fc1.weight") in params:
        blocks += 1
    if blocks <= GIVEN_UP:
        raise BadInput(f"no room: the traps take {GIVEN_UP} blocks, and the model has {blocks}")
    wrong = [name for name, value in params.items() if value.dtype.kind == "f" and value.dtype.itemsize < 4]
    if wrong:
        raise BadInput(f"{wrong[0]} is {params[wrong[0]].dtype}: the traps need float32; convert the checkpoint first")
    hidden = len(params[HIDDEN(0, "mlp.fc1.weight")])
    room = Room(width, blocks, hidden, channels, patch, grid, side, key, **constants)
    if len(room.features) < width // 4:
        raise BadInput(
            f"no room: {width - len(room.features)} of {width} dimensions would be reserved; record patches at a "
            f"smaller side than {side}"
        )
    return room


def clear(params: Params, room: Room) -> Params:
    """The tensors, changed, that keep `room` free: benign computation neither reads nor writes what is reserved.

    What an attacker who pretrains does after every step, so that the room costs no utility later. On any other
    checkpoint the cost is that of three blocks, of the reserved dimensions and of the last norm. Idempotent.
    """
    draft = Draft(params)
    taken = np.arange(len(room.features), room.width)
    for name in ("cls_token", "position_embeddings"):
        draft[f"vit.embeddings.{name}"][..., taken] = 0
    for name in ("weight", "bias"):
        draft[f"vit.embeddings.patch_embeddings.projection.{name}"][taken] = 0
    for block in range(room.blocks):
        if block in (0, 1, room.blocks - 1):
            silence(draft, block)
        else:
            for part in ("layernorm_before", "layernorm_after", "attention.o_proj", "mlp.fc2"):
                for name in ("weight", "bias"):
                    draft[HIDDEN(block, f"{part}.{name}")][taken] = 0
    draft[HIDDEN(room.blocks - 2, "mlp.fc2.bias")][room.right] = room.loud
    draft[HIDDEN(room.blocks - 1, "attention.o_proj.bias")][room.right] = room.end - room.loud
    calm(draft, room)
    weight, bias = draft["vit.layernorm.weight"], draft["vit.layernorm.bias"]
    weight[:], bias[:] = 0, 0
    norm = LinearNorm(room.width, room.right, room.end)
    norm.write(weight, bias, room.features, room.gain)
    norm.write(weight, bias, room.channel, 1.0)
    return dict(draft)


def calm(draft: Draft, room: Room) -> None:
    """Let the last block take off the channel what norms leave of the benign features there: their mean."""
    last, pair = room.blocks - 1, np.zeros((1, room.width))
    weight, bias = (draft[HIDDEN(last, f"layernorm_after.{name}")] for name in ("weight", "bias"))
    LinearNorm(room.width, room.right, room.end).write(weight, bias, room.channel, SWING)
    pair[:, room.channel] = 1 / len(room.channel)
    back = -(1 + len(room.channel) / len(room.features)) / SWING
    identity(draft, last, 0, pair, back * (pair.T > 0))


def identity(draft: Draft, block: int, first: int, read: Array, write: Array) -> None:
    """Let hidden units from `first` on add write (D, n) @ read (n, D) @ what the block's MLP reads.

    By gelu(x) - gelu(-x) = x, with two units for each of the n numbers.
    """
    units = first + np.arange(2 * len(read))
    draft[HIDDEN(block, "mlp.fc1.weight")][units] = np.concatenate([read, -read])
    draft[HIDDEN(block, "mlp.fc1.bias")][units] = 0
    draft[HIDDEN(block, "mlp.fc2.weight")][:, units] = np.concatenate([write, -write], 1)


def scaled(params: Params, room: Room, factor: float) -> dict[str, Array]:
    """The tensors, changed, that make the benign features `factor` times as large, and change nothing else.

    In a cleared model every norm but the last, which is linear, takes their size out again.
    """
    draft, features = Draft(params), room.features
    for name in ("cls_token", "position_embeddings"):
        draft[f"vit.embeddings.{name}"][..., features] *= factor
    parts = ["vit.embeddings.patch_embeddings.projection"]
    parts += [HIDDEN(block, part) for block in range(room.blocks) for part in ("attention.o_proj", "mlp.fc2")]
    for part in parts:
        for name in ("weight", "bias"):
            draft[f"{part}.{name}"][features] *= factor
    return dict(draft)


def silence(draft: Draft, block: int) -> None:
    """Let the block add nothing, whatever it reads."""
    parts = [f"attention.{name}_proj" for name in "qkvo"] + [
        "mlp.fc1",
        "mlp.fc2",
        "layernorm_before",
        "layernorm_after",
    ]
    for part in parts:
        draft[HIDDEN(block, f"{part}.weight")][...] = 0
        draft[HIDDEN(block, f"{part}.bias")][...] = QUIET if part == "mlp.fc1" else 0
