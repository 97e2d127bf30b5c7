"""What `undertow theory` does, below the screen. Nothing here prints."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from undertow.report.curve import Point


def run_theory(
    dimension: int, pretraining: int, finetuning: int, tau: float, noise: float, trials: int, seed: int, out: Path
) -> "list[Point]":
    """Closed form and simulation at eleven alphas, drawn into `out`."""
    import numpy as np

    from undertow.report.curve import draw, points
    from undertow.storage.files import write_atomic
    from undertow.theory import Gaussian

    model = Gaussian(dimension, pretraining, finetuning, 1.0, tau=tau, nu=noise)
    found = points(model, np.linspace(0, 1, 11).tolist(), trials, seed)
    write_atomic(out, draw(model, found).encode())
    return found
