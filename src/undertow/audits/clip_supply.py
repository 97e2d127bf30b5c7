"""The records of a poisoning audit of CLIP."""

from dataclasses import dataclass, field

import numpy as np

from undertow.types import Array, BadInput, Examples


@dataclass(frozen=True, eq=False)
class ClipSupply:
    """Image-caption pairs and labelled images, no image in two of the parts.

    Images are (N, 3, H, W) float32. Labels of pairs are captions: class x templates + template.
    """

    name: str
    pretrain: Examples | None  # pairs the base is trained on; None: the base is given
    auxiliary: Examples  # pairs of the attacker, for stealth
    candidates: Examples  # labelled; their membership is the secret. Any first part is balanced over classes
    test: Examples  # labelled; no model is trained on them
    lookalikes: Examples  # labelled, drawn like the candidates, unknown to attacker and victims
    class_names: tuple[str, ...]
    templates: int  # captions per class
    ids: tuple[str, ...]  # names of the candidates
    pictures: Array | None = None  # (N, H, W, 3) uint8, the candidates to look at
    embedded: bool = False  # public data that may be shown in a report
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.candidates):
            raise BadInput(f"{self.name}: {len(self.ids)} ids for {len(self.candidates)} candidates")
        for part in (self.pretrain, self.auxiliary):
            if part is not None and int(part.y.max()) >= len(self.class_names) * self.templates:
                raise BadInput(f"{self.name}: {part.name} has a caption beyond the table")

    @property
    def ordinary(self) -> Examples:
        """All pairs: what an attacker holds who also trained the base. The more there are, the better it hides."""
        if self.pretrain is None:
            return self.auxiliary
        both = (self.auxiliary, self.pretrain)
        return Examples(np.concatenate([p.x for p in both]), np.concatenate([p.y for p in both]), f"{self.name}-pairs")
