"""The terminal: narrow enough, complete, no colour, nothing that drives the terminal."""

import io
from dataclasses import replace

from rich.console import Console

from undertow.report.leakage.text import table
from undertow.report.lines import warnings
from undertow.report.text import summary
from undertow.types import Measurement


def test_the_summary_fits_a_terminal_and_names_every_row(tmi):
    text = summary(tmi)
    assert max(map(len, text.splitlines())) <= 90
    for m in (*tmi.measurements, *tmi.controls):
        assert f"  {m.attack} " in text
    for heading in (
        "Attacks:",
        "Baselines:",
        "Direct access:",
        "Blind:",
        "Control: no-pretraining:",
        "VERDICT",
        "CHECKS",
    ):
        assert heading in text
    assert text.count("non-member (model, record) pairs") == 1


def test_what_finetuning_trained_is_said_in_words(tmi):
    """Victims first; the shadows' only where they differ; nothing where the configuration does not say."""
    data = {**tmi.data, "sizes": {"audited": 4, "other": 4}}

    def head(**config):
        shown = summary(replace(tmi, config=config, data=data)).split("95%")[0]
        assert max(map(len, shown.splitlines())) <= 90
        return " ".join(shown.split())

    assert "finetuned: the head alone (linear probe)" in head(strategy="linear", victim_strategy="")
    assert "finetuned: the last 3 layers" in head(strategy="last-k", last_layers=3)
    both = head(strategy="linear", victim_strategy="lora", lora_rank=8)
    assert "finetuned: the head and LoRA updates of rank 8; the attacker's shadows: the head alone" in both
    assert "finetuned" not in head()
    assert "finetuned" not in head(strategy="unheard of")


def test_numbers_stand_under_each_other(tmi):
    lines = [
        line for line in summary(tmi).splitlines() if line.startswith("  ") and " [" in line and line.endswith("]")
    ]
    assert len({len(line) for line in lines}) == 1


def test_the_summary_is_plain_ascii_and_says_nothing_of_none(tmi, null, said):
    for result in (tmi, null, said(tmi=(0.7, 0.6, 0.8))):
        text = summary(result)
        assert text.isascii()
        assert "None" not in text
        assert "nan" not in text.split()


def test_a_name_from_a_file_cannot_drive_the_terminal(said):
    name = "\x1b[31m" + "x" * 90 + "\n[red]"
    row = Measurement(name, "auc", 0.7, 0.65, 0.75, 16, "models", warning="odd \x1b[0m")
    result = replace(said(blind=(0.5, 0.48, 0.52)), measurements=(row,), data={"name": "\x1b]0;owned\x07"})
    text = summary(result)
    assert "\x1b" not in text
    assert "\x07" not in text
    console = Console(width=100, record=True, color_system=None, file=io.StringIO())
    console.print(table(result))
    assert "\x1b" not in console.export_text()


def test_the_rich_table_has_the_same_rows(tmi):
    drawn = table(tmi)
    names = {str(cell).strip() for cell in drawn.columns[0].cells}
    assert {m.attack for m in tmi.measurements} <= names
    assert len(drawn.columns) == 4


def test_unresolved_columns_give_way_to_resolved_ones(tmi):
    assert "TPR@0.01%" not in summary(tmi).split("VERDICT")[0]
    assert "0.01%: not resolvable" in summary(tmi).replace("\n     ", " ")


def test_a_warning_is_said_once_with_the_numbers_it_concerns(said):
    m = Measurement("lira", "tpr", 0.1, 0.0, 0.2, 16, "models", fpr=0.001, warning="only 2 expected false positives")
    one = replace(said("mia", lira=(0.6, 0.55, 0.65), tpr=[m]), warnings=("few records", "few records"))
    assert warnings(one) == ("few records", "TPR@0.1% of lira: only 2 expected false positives")
    many = replace(one, measurements=tuple(replace(m, attack=name) for name in "abcd"))
    assert warnings(many)[1].startswith("TPR@0.1% of 4 rows: ")


def test_attacks_measured_on_different_pairs_are_counted_by_their_unit(tmi):
    odd = replace(tmi.measurements[0], members=3)
    assert "counts 16 models\n" in summary(replace(tmi, measurements=(odd, *tmi.measurements[1:])))


def test_an_attack_outside_the_catalog_is_an_attack(said):
    row = Measurement("my-rule", "auc", 0.7, 0.65, 0.75, 16, "models")
    result = replace(said("score", blind=(0.5, 0.48, 0.52)), measurements=(row,))
    assert "Attacks:" in summary(result)
    assert "my-rule" in summary(result)
