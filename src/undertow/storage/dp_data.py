"""Records for the DP audit: the embedded digits, CIFAR-10, or the user's own npz; values in 0..1."""

from undertow.audits.datatrap_settings import TrapData
from undertow.audits.dp_settings import DpData
from undertow.audits.trap_supply import TrapSupply
from undertow.storage.trap_data import load_traps


def load_dp(settings: DpData, seed: int) -> TrapSupply:
    """The records split at random, those of the finetuning as `victim`; raises as `load_traps`."""
    data = TrapData(
        source=settings.source, folder=settings.folder, auxiliary=settings.auxiliary, victim=settings.records, test=1,
        size=settings.size,
    )  # fmt: skip
    return load_traps(data, seed)
