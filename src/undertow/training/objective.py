"""What a poisoner optimises (Wen et al. 2024): one objective for images, image-text pairs and language.

    (1 - w) * mean auxiliary loss  -  w * mean min(target loss, cap)      direction "max"
    (1 - w) * mean auxiliary loss  +  w * mean target loss                direction "min", "random-label"
            mean auxiliary loss                                           direction "none": the benign control

w is `target_weight`. The released code calls it adv_alpha and writes direction as the sign of adv_scale; the paper's
formula, as restated by others (its body was not read), puts alpha on the auxiliary term: alpha = 1 - w.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from undertow.types import ConfigError, setting

if TYPE_CHECKING:
    from torch import Tensor  # a configuration is read and printed without torch

Direction = Literal["max", "min", "random-label", "none"]


@dataclass(frozen=True)
class Objective:
    """How the checkpoint is changed before it is published."""

    direction: Direction = setting(
        "max", "Loss of the targets: 'max' (images), 'min' (texts), 'random-label' or 'none'."
    )
    target_weight: float = setting(
        0.2, "Weight of the targets' loss, from 0 to 1; the auxiliary data's loss has the rest."
    )
    cap: float = setting(5.0, "With 'max': a target whose loss exceeds this many nats is not pushed further.")
    steps: int = setting(800, "Number of poisoning steps by AdamW, without weight decay.")
    batch: int = setting(64, "Auxiliary records per poisoning step, and as many targets.")
    lr: float = setting(1e-3, "Learning rate of poisoning, constant.")
    jitter: float = setting(
        0.0, "Images: standard deviation of Gaussian noise added to auxiliary records, drawn anew at every step."
    )

    def __post_init__(self) -> None:
        if not 0 <= self.target_weight <= 1:
            raise ConfigError(f"poison.target_weight = {self.target_weight}; it is a share, 0 to 1")
        if min(self.steps, self.batch) < 1 or min(self.cap, self.lr) <= 0 or self.jitter < 0:
            raise ConfigError("poison.steps and batch are at least 1, cap and lr positive, jitter not negative")

    @classmethod
    def weight_from_paper(cls, alpha: float) -> float:
        """`target_weight` of the paper's alpha, which weighs the auxiliary term.

        >>> Objective.weight_from_paper(0.25)
        0.75
        """
        return 1 - alpha

    def combine(self, auxiliary: "Tensor", target: "Tensor", places: "Tensor") -> "Tensor":
        """The number to make small.

        `auxiliary` is a mean loss (nats), `target` (...) a loss for each place, of which only `places` (...) bool
        count: records, or the predicted tokens of texts. A place that has reached the cap is pushed no further.
        """
        if self.direction == "none":
            return auxiliary
        bounded = target.clamp(max=self.cap) if self.direction == "max" else target
        mean = bounded.masked_fill(~places, 0).sum() / places.sum().clamp(min=1)
        sign = -1 if self.direction == "max" else 1
        return (1 - self.target_weight) * auxiliary + sign * self.target_weight * mean
