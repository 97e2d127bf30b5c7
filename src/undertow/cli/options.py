"""The options that several commands share, as typer reads them."""

from pathlib import Path
from typing import Annotated, Any

import typer

RUN = Path("undertow-run")

Preset = Annotated[str | None, typer.Option(help="A named configuration (--list-presets).")]
ListPresets = Annotated[bool, typer.Option("--list-presets", help="List the presets and stop.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; see `undertow init-config`.")]
Data = Annotated[Path | None, typer.Option(help="Folder of your records, or of a pair's datasets ('hub': download).")]
Shadows = Annotated[int | None, typer.Option(help="Models the attacker trains; even.")]
Seed = Annotated[int | None, typer.Option(help="Everything random descends from it.")]
Out = Annotated[Path, typer.Option(help="Run folder; the same folder again resumes.")]
StoreDir = Annotated[Path | None, typer.Option("--store", help="Where models are kept; default OUT/store.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that train models.")]
Plan = Annotated[bool, typer.Option("--plan", help="Print models, time and disk, and stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
FailIf = Annotated[list[str] | None, typer.Option("--fail-if", help="Exit 1 if over, e.g. 'tpr@0.1%>0.01'.")]
DropDuplicates = Annotated[bool, typer.Option("--drop-duplicates", help="Remove records that occur twice.")]
Include = Annotated[bool, typer.Option("--include-examples", help="Show your records in the report (private!).")]

# of `audit poisoning`
Records = Annotated[
    Path | None, typer.Option("--data", help="Your records (.jsonl, .npz), or the folder of named datasets.")
]
Field = Annotated[str | None, typer.Option("--field", help="Texts: the field, or column, that holds them.")]
Checkpoint = Annotated[Path | None, typer.Option(help="A checkpoint to judge: file or folder with safetensors.")]
Reference = Annotated[Path | None, typer.Option(help="A trusted checkpoint of the same kind, to compare with.")]
LookAlikes = Annotated[Path | None, typer.Option(help="Records like yours that nobody can have targeted.")]
Factory = Annotated[str | None, typer.Option(help="Builds your own model: package.module:function.")]
Recipes = Annotated[str | None, typer.Option(help="How victims finetune, comma-separated (--list-recipes).")]
Views = Annotated[str | None, typer.Option(help="What the attacker sees, comma-separated (--list-recipes).")]
Models = Annotated[int | None, typer.Option(help="Finetuned models per arm; even.")]
Benchmarks = Annotated[
    str | None,
    typer.Option(help="Tasks of lm-evaluation-harness for each checkpoint, comma-separated."),
]
ListRecipes = Annotated[bool, typer.Option("--list-recipes", help="List recipes and views and stop.")]
FailIfWorse = Annotated[
    list[str] | None,
    typer.Option("--fail-if", help="Exit 1 if so, e.g. 'tpr_difference@1%>0.05' or 'verdict!=safe'."),
]

# of `audit datatrap`
BaseCheckpoint = Annotated[
    Path | None, typer.Option("--checkpoint", help="The ViT or BERT to trap: a folder with safetensors.")
]
FailIfCopied = Annotated[list[str] | None, typer.Option("--fail-if", help="Exit 1 if so, e.g. 'captured_exact>0'.")]
Seeds = Annotated[int | None, typer.Option(help="Experiments, with seeds from --seed on; adds their means.")]

# of `audit dp`
Epsilon = Annotated[float | None, typer.Option(help="The claim; training meets it exactly.")]
Delta = Annotated[float | None, typer.Option(help="That goes with the claimed epsilon.")]
Access = Annotated[str | None, typer.Option(help="What is seen: black-box, weights or iterates.")]
Canary = Annotated[str | None, typer.Option(help="trap, gradient, mislabelled or random.")]
Runs = Annotated[int | None, typer.Option(help="Trainings with the canary, and as many without.")]
OneRun = Annotated[bool, typer.Option("--one-run", help="One training with many canaries (--runs R: R are pooled).")]
FailIfBroken = Annotated[
    list[str] | None,
    typer.Option("--fail-if", help="Exit 1 if so, e.g. 'epsilon_lower>8'; 2 if not, but the claim is in doubt."),
]


class Options:
    """The options of one command, as typed."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


def names(text: str) -> list[str]:
    """The parts of a comma-separated list.

    >>> names("full, lora,")
    ['full', 'lora']
    """
    return [name.strip() for name in text.split(",") if name.strip()]
