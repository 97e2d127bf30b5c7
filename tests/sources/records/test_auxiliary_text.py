"""Auxiliary text: paragraphs, each once, from local files, WikiText, or the library's own documentation."""

import gzip
import sys

import pytest

from undertow.sources.records import auxiliary_text as module
from undertow.sources.records.auxiliary_text import FEWEST_WORDS, auxiliary_text
from undertow.types import BadInput


def prose(word):
    return " ".join([word] * FEWEST_WORDS)


def test_a_local_file_is_cut_at_blank_lines(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(f"Title\n\n{prose('a')}\n{prose('b')}\n \n{prose('c')}\n\n{prose('c')}\n", encoding="utf8")
    found = auxiliary_text(str(path))
    assert found.texts == (f"{prose('a')} {prose('b')}", prose("c"))
    assert found.ids == ("mine.txt:0", "mine.txt:1")
    assert found.notes == ("1 of 3 texts repeat another and were left out (the first: mine.txt:2 repeats mine.txt:1)",)


def test_a_folder_is_its_text_files_in_order(tmp_path):
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(prose("b").encode()))
    (tmp_path / "a.txt").write_text(prose("a"), encoding="utf8")
    (tmp_path / "c.md").write_text(prose("c"), encoding="utf8")
    assert auxiliary_text(str(tmp_path)).texts == (prose("a"), prose("b"))


def test_wikitext_keeps_its_own_paragraphs(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    long = " ".join(["word"] * 40)
    (folder / "wikitext2_valid.txt.gz").write_bytes(gzip.compress(f" \n = {long} = \n {long} \n short \n".encode()))
    for data in (tmp_path, folder):
        assert auxiliary_text("wikitext2", str(data)).texts == (long,)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"no wikitext2_\*\.txt\.gz there"):
        auxiliary_text("wikitext2", str(tmp_path))
    with pytest.raises(BadInput, match=r"no such file, and no folder with \.txt"):
        auxiliary_text(str(tmp_path))
    (tmp_path / "short.txt").write_text("too short", encoding="utf8")
    with pytest.raises(BadInput, match="no paragraph has 12 words"):
        auxiliary_text(str(tmp_path))


def test_the_documentation_is_prose():
    found = auxiliary_text()
    assert len(set(found.texts)) == len(set(found.ids)) == len(found)
    assert sum(map(len, found.texts)) > 500_000
    assert all(len(text.split()) >= FEWEST_WORDS and ">>> " not in text for text in found.texts)
    assert found.notes[0].startswith("the documentation of Python 3.")


def test_the_documentation_runs_no_code(tmp_path, monkeypatch):
    """Not that of the standard library, and not that of a file of the same name in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "colorsys.py").write_text('"""Mine."""\nraise RuntimeError', encoding="utf8")
    monkeypatch.setattr(module, "MODULES", ["colorsys", "turtle"])
    before = set(sys.modules)
    texts = auxiliary_text().texts
    assert texts == auxiliary_text().texts
    assert any("turtle" in text for text in texts)
    assert "Mine." not in texts
    assert not {"colorsys", "turtle"} & (set(sys.modules) - before)


def test_a_python_without_sources_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(BadInput, match="holds no sources of the standard library; name a text file instead"):
        auxiliary_text()


def test_the_real_sets(shared_data):
    assert len(auxiliary_text("wikitext2", str(shared_data))) == 3324
    assert len(auxiliary_text(str(shared_data / "text" / "tinyshakespeare.txt.gz"))) > 4000
