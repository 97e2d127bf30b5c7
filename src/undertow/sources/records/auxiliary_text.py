"""Ordinary text for the poisoner's stealth term and the victim's bulk data; the default ships with Python."""

import ast
import platform
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from undertow.sources.records.records_text import TextRecords, first_of_each
from undertow.sources.records.text_pairs import DOCUMENTS, paragraphs
from undertow.storage.files import read_text
from undertow.types import BadInput

DOCUMENTATION = "documentation"
WIKITEXT = "wikitext2"
FEWEST_WORDS = 12  # of a paragraph of documentation or of a local file; WikiText keeps its own limit

# Written in Python and there on every platform; they are parsed, never imported.
_LIST = """
    abc aifc argparse ast base64 bdb bisect bz2 calendar cmd code codecs codeop colorsys configparser contextlib
    copy copyreg csv dataclasses datetime _pydecimal difflib dis doctest enum filecmp fileinput fnmatch fractions
    ftplib functools getopt getpass gettext glob graphlib gzip heapq hmac imaplib inspect io ipaddress keyword
    linecache locale lzma mailbox mimetypes numbers operator optparse os pathlib pdb pickletools pkgutil platform
    plistlib poplib posixpath pprint profile pstats pty py_compile pyclbr pydoc queue quopri random reprlib
    rlcompleter runpy sched secrets selectors shelve shlex shutil signal site smtplib socket socketserver ssl stat
    statistics string stringprep subprocess symtable sysconfig tabnanny tarfile tempfile textwrap threading timeit
    tokenize trace traceback tracemalloc turtle types typing uuid warnings wave weakref webbrowser zipapp
    asyncio/base_events asyncio/events asyncio/locks asyncio/queues asyncio/streams asyncio/tasks
    collections/__init__ concurrent/futures/_base concurrent/futures/process concurrent/futures/thread email/charset
    email/generator email/header email/headerregistry email/message email/parser email/policy html/parser
    http/client http/cookiejar http/cookies http/server importlib/abc importlib/resources/abc json/__init__
    json/decoder json/encoder logging/__init__ logging/config logging/handlers multiprocessing/managers
    multiprocessing/pool multiprocessing/shared_memory tkinter/__init__ unittest/case unittest/mock unittest/suite
    urllib/parse urllib/request urllib/robotparser wsgiref/handlers wsgiref/headers xml/dom/minidom
    xml/etree/ElementTree xml/sax/handler xmlrpc/client xmlrpc/server zipfile
"""
MODULES = tuple(_LIST.split())
TOPICS = "pydoc_data/topics"  # the language reference, one string for each topic


def auxiliary_text(source: str = DOCUMENTATION, data: str = "") -> TextRecords:
    """Paragraphs of ordinary text, each once.

    `source` is "documentation" (embedded: the standard library's own), "wikitext2" (its files in the folder `data` or
    `data`/text), a .txt or .txt.gz file, or a folder of such files. Raises BadInput naming what is missing.
    """
    if source == DOCUMENTATION:
        version = platform.python_version()
        note = f"the documentation of Python {version}'s standard library; another version has other texts"
        return _once(DOCUMENTATION, list(documentation()), note)
    if source == WIKITEXT:
        files = next((found for place in ("", "text") if (found := sorted((Path(data) / place).glob(DOCUMENTS)))), [])
        if not files:
            raise BadInput(f"--data {data}: no {DOCUMENTS} there, nor in its folder text")
        return _once(WIKITEXT, [place for f in files for place in _numbered(f.name, paragraphs(read_text(f)))])
    local = [place for f in _files(Path(source)) for place in _numbered(f.name, split_paragraphs(read_text(f)))]
    return _once(Path(source).name, local)


def documentation() -> Iterator[tuple[str, str]]:
    """Places and paragraphs of the standard library's documentation strings, in a fixed order; no code is run.

    Modules that this Python lacks are passed over. Raises BadInput for a Python without its sources.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = [file for name in (TOPICS, *MODULES) if (file := root / f"{name}.py").is_file()]
    if not files:
        raise BadInput(f"{root} holds no sources of the standard library; name a text file instead")
    for file in files:
        tree = ast.parse(read_text(file))
        strings = _topics(tree) if file.stem == "topics" else _docstrings(tree)
        found = [paragraph for string in strings for paragraph in split_paragraphs(string)]
        yield from _numbered(file.relative_to(root).with_suffix("").as_posix(), found)


def split_paragraphs(text: str) -> list[str]:
    """Parts between blank lines with at least FEWEST_WORDS words and no doctest, tables or rules, on one line each.

    >>> split_paragraphs("Too short.\\n\\n" + "One two three\\nfour five six. " * 2 + "\\n\\n>>> " + "print(1) " * 12)
    ['One two three four five six. One two three four five six.']
    """
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n"))]
    return [part for part in parts if len(part.split()) >= FEWEST_WORDS and not re.search(r">>> |[-=+*#~_]{4}", part)]


def _docstrings(scope: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Those of a module, its classes and functions, and theirs, in the order of the file."""
    yield ast.get_docstring(scope) or ""
    for node in scope.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(node)


def _topics(tree: ast.AST) -> Iterator[str]:
    """The values of a dictionary of strings that is written out in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            yield from (v.value for v in node.values if isinstance(v, ast.Constant) and isinstance(v.value, str))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(f for f in path.glob("*") if f.name.endswith((".txt", ".txt.gz")))
    if not files:
        raise BadInput(f"{path}: no such file, and no folder with .txt or .txt.gz files")
    return files


def _numbered(name: str, found: list[str]) -> list[tuple[str, str]]:
    return [(f"{name}:{i}", paragraph) for i, paragraph in enumerate(found)]


def _once(name: str, found: list[tuple[str, str]], *notes: str) -> TextRecords:
    if not found:
        raise BadInput(f"{name}: no paragraph has {FEWEST_WORDS} words; auxiliary text is ordinary prose")
    places, texts = [place for place, _ in found], [text for _, text in found]
    kept, repeated = first_of_each(texts, places)
    return TextRecords(name, tuple(texts[i] for i in kept), tuple(places[i] for i in kept), (*notes, *repeated))
