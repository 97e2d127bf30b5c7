"""Records for the DP audit: the embedded digits, CIFAR-10, or the user's own npz; values in 0..1."""

from undertow.audits.datatrap.settings import TrapData
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.dp.settings import DpData
from undertow.storage.data.trap_data import load_traps


def load_dp(settings: DpData, seed: int) -> TrapSupply:
    """The records split at random, those of the finetuning as `victim`; raises as `load_traps`."""
    data = TrapData(
        source=settings.source, folder=settings.folder, auxiliary=settings.auxiliary, victim=settings.records, test=1,
        size=settings.size,
    )  # fmt: skip
    return load_traps(data, seed)
