"""Records for the DP audit: the embedded digits, CIFAR-10, or the user's own npz; values in 0..1."""

from dataclasses import replace
from pathlib import Path

from undertow.audits.datatrap.settings import TrapData
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.dp.settings import DpConfig, DpData
from undertow.audits.supply import row_hashes
from undertow.sources.records.npz_records import npz_examples
from undertow.sources.records.trap_data import NAMED, load_traps
from undertow.types import BadInput

SPARE = 1  # record that is in neither part; load_traps tests on it


def load_dp(settings: DpData, seed: int) -> TrapSupply:
    """The records split at random, those of the finetuning as `victim`.

    Raises as `load_traps`, and BadInput that names data.records and data.auxiliary where there are too few.
    """
    data = TrapData(
        source=settings.source, folder=settings.folder, auxiliary=settings.auxiliary, victim=settings.records,
        test=SPARE, size=settings.size,
    )  # fmt: skip
    try:
        return load_traps(data, seed)
    except BadInput as error:
        if "too few for" not in str(error):
            raise
        most = int(str(error).split(" different records")[0].split()[-1]) - SPARE
        raise BadInput(
            f"{settings.source}: data.records = {settings.records} and data.auxiliary = {settings.auxiliary} need "
            f"{settings.records + settings.auxiliary + SPARE} different records, and there are {most + SPARE}: set "
            f"both (in --config, under [data]) so that they add up to at most {most}"
        ) from error


def sized(config: DpConfig, given: frozenset[str]) -> DpConfig:
    """The configuration with the sizes that the user's own records allow; sizes that were `given` are kept.

    The finetuning keeps its records as long as it can, the auditor has what is left: at least the canaries where they
    are records of its own, and half of all where the checkpoint is pretrained on them.
    """
    data = config.data
    if data.source == "digits" or data.source in NAMED or {"records", "auxiliary"} <= given:
        return config
    n = len(set(row_hashes(npz_examples(Path(data.source)).x))) - SPARE
    if data.records + data.auxiliary <= n:
        return config
    least = max(1, config.canaries if config.one_run and config.canary in ("mislabelled", "random") else 1)
    wanted = n // 2 if config.checkpoint == "pretrained" else n - data.records
    auxiliary = data.auxiliary if "auxiliary" in given else min(data.auxiliary, max(least, wanted))
    if "records" in given:
        auxiliary = min(auxiliary, n - data.records) if "auxiliary" not in given else auxiliary
    records = data.records if "records" in given else min(data.records, n - auxiliary)
    if auxiliary < least or records < 1:
        return config  # load_dp says what is missing
    return replace(config, data=replace(data, records=records, auxiliary=auxiliary))
