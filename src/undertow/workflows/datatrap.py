"""The data-trap audit as a value. Nothing here prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from undertow.types import AuditResult
from undertow.workflows.audit import Audit, Given, Option, Played, Table, duration, need_torch, nowhere
from undertow.workflows.own_data import RECORDS

if TYPE_CHECKING:
    from undertow.audits.chain import Host
    from undertow.audits.datatrap.game import Capture
    from undertow.audits.datatrap.settings import DataTrapConfig
    from undertow.audits.datatrap.supply import TrapSupply
    from undertow.report.reading import Pictures
    from undertow.storage.captures_file import Held


def configure(given: Given) -> "DataTrapConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked.

    Sizes that nobody gave follow the user's own records, where those are fewer.
    """
    from undertow.audits.datatrap.presets import preset
    from undertow.config import override
    from undertow.workflows.own_data import fewer, given_keys

    config = override(override(preset(given.preset or "digits-mlp"), given.file), given.options)
    sized = given_keys(given.file, given.options) & {"auxiliary", "victim", "test"}
    return (
        override(config, {"data": fewer(config.data)}) if config.data.source.endswith(".npz") and not sized else config
    )


def load(config: "DataTrapConfig") -> Table:
    """The records of the first seed, and the way to those of the others."""
    need_torch()
    from undertow.audits.datatrap.game import Table as Experiment
    from undertow.sources.records.trap_source import trap_source

    of_seed, base = trap_source(config)
    supply = of_seed(config.seed)
    Experiment(config, supply, nowhere(), base).check()
    return Table(config, supply.describe(), (of_seed, base, supply), supply.notes)


def play(table: Table, host: "Host") -> Played:
    """Plant, finetune and read; the planted checkpoints, their keys and what was read are kept beside the result."""
    from undertow.audits.datatrap.game import audit_datatrap

    of_seed, base, supply = table.held
    result, runs = audit_datatrap(table.config, of_seed, host, base)
    return Played(result, lambda out: _keep(runs, supply, out))


def cost(table: Table, workers: int) -> Sequence[str]:
    """What will be trained and about how long that takes; a few steps are timed. Experiments run one after another."""
    del workers
    from undertow.audits.datatrap.estimate import seconds
    from undertow.audits.datatrap.game import Table as Experiment

    _, base, supply = table.held
    experiment = Experiment(table.config, supply, nowhere(), base)
    made = "a checkpoint that is given" if experiment.given else "a checkpoint pretrained here"
    n = table.config.seeds
    return (
        f"{n} experiment{'s' * (n > 1)} with {made}: {2 * n} finetunings (planted and clean twin), "
        f"about {duration(n * seconds(experiment))}",
    )


def pictures(result: AuditResult, run: Path, include_examples: bool) -> "Pictures":
    """What the traps hold, where the records are public, or where that is asked for."""
    from undertow.report.datatrap.gallery import image_gallery, text_gallery
    from undertow.report.reading import Pictures
    from undertow.storage.captures_file import load_captures

    held = load_captures(run) if result.data.get("embedded") or include_examples else None
    if held is not None and held.shape:
        return Pictures(
            gallery=image_gallery(held.seed, held.candidates, held.captures, held.truth, held.ids, held.shape)
        )
    if held is not None and held.read:
        return Pictures(gallery=text_gallery(held.seed, held.candidates, held.captures, held.read, held.true, held.ids))
    return Pictures()


def _presets() -> Sequence[str]:
    from undertow.audits.datatrap.presets import listing

    return [f"datatrap  {name:<20}{about}" for name, about in listing()]


def _keep(runs: "Sequence[Capture]", supply: "TrapSupply", out: Path) -> tuple[()]:
    """The planted checkpoints, their keys, and what the first experiment read."""
    from undertow.storage.captures_file import save_captures

    for run in runs:
        _write_checkpoint(run, out)
    save_captures(_held(runs[0], supply), out)
    return ()


def _held(run: "Capture", supply: "TrapSupply") -> "Held":
    """What the page can show of one experiment: its readings, and of each the victim's nearest record."""
    from undertow.storage.captures_file import Held, named

    judged, words = run.judged, supply.words
    nearest = judged.truth[judged.captures.nearest]
    ids = named(supply.ids, judged)
    if not words:
        return Held(run.seed, judged.candidates, judged.captures, nearest, ids, judged.picture)
    read = np.nan_to_num(judged.candidates.values[:, 0]).astype(int)
    texts = [[tuple("" if i == 0 else words[i] for i in row) for row in rows] for rows in (read, nearest)]
    return Held(run.seed, judged.candidates, judged.captures, nearest, ids, (), tuple(texts[0]), tuple(texts[1]))


def _write_checkpoint(run: "Capture", out: Path) -> None:
    """The planted checkpoint, marked as such, and apart from it the key that reads it."""
    from undertow.sources.checkpoints.files import PLANTED, write_checkpoint
    from undertow.sources.checkpoints.trap_key import write_key

    said = {PLANTED: "true", "undertow.traps": run.trap.kind}
    write_checkpoint(out / "checkpoints" / f"planted-{run.seed}.safetensors", run.planted, said)
    write_key(out / "key" / f"traps-{run.seed}.safetensors", run.trap)


DATATRAP = Audit(
    "datatrap",
    "Can a checkpoint carry finetuning records away? Plants data traps, finetunes, and reads them back.",
    configure, load, play, cost, _presets,
    (
        *RECORDS,
        Option("seeds", "Number of experiments, with consecutive seeds from --seed on; their means are added.", int),
        Option("checkpoint", "Folder with the safetensors of the ViT, BERT or GPT-2 to plant traps in.", Path,
               lambda path: {"model": {"checkpoint": str(path)}}),
    ),
    "captured_exact>0", pictures,
)  # fmt: skip
