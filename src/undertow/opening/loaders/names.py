"""Names of code anywhere in a JSON configuration: under keys that a loader imports by, and under any key at all.

The first are judged as what that loader runs. The others are the net below all rules: a value that names a function of
the system, or a module that lies beside the file, is no setting, whichever loader may act on it.
"""

import re

from undertow.opening.loaders.place import Place
from undertow.opening.loaders.targets import judge
from undertow.opening.loaders.texts import Pairs

DOTTED = re.compile(r"[A-Za-z_]\w{0,100}(?:[.:][A-Za-z_]\w{0,100}){1,12}\Z", re.ASCII)
SYSTEM_WORDS = """
    os posix nt subprocess builtins __builtin__ shutil importlib runpy pty ctypes pickle cPickle dill cloudpickle
    marshal socket sys commands popen2
"""
SYSTEM = frozenset(SYSTEM_WORDS.split())
ENDINGS_WORDS = """
    py json txt bin model yaml yml safetensors pt pth onnx h5 md cfg csv tsv npy npz so jinja vocab gz zip log png jpg
    wav mp3 html toml ini xml pb
"""
ENDINGS = frozenset(ENDINGS_WORDS.split())  # of names of files
SENTENCE = "sentence-transformers loads it, before 5.0 with default arguments"
IMPORTED = {  # keys whose value is imported as it stands: the loader
    "activation_function": SENTENCE,
    "activation_fn": SENTENCE,
    "sbert_ce_default_activation_function": SENTENCE,
    "tokenizer_class": SENTENCE,
    "characters_class": "Coqui TTS loads it",
    "uses": "Rasa loads it",
}
CLASSES = re.compile(r"(^|_)(class|cls|class_name|constructor|factory)\Z")
CALLS = re.compile(r"__import__\s{0,9}\(|\bos\.(?:system|popen)\s{0,9}\(|\bsubprocess\.\w{1,40}\s{0,9}\(")
OPTIONS = {  # keys that name code or a library: what that is
    "user_dir": ("config-target", "a folder of code, which fairseq imports"),
    "custom_generate": ("custom-generate", "a generation loop, which transformers runs under trust_remote_code=True"),
    "custom_pipeline": ("pipeline-class", "a pipeline of its own, which diffusers runs where it is asked for"),
    "custom_ops_library": ("shared-library", "a compiled library, which ONNX Runtime loads and so runs"),
}


def check_names(place: Place, path: str, table: Pairs) -> None:
    """Every text of one object, and of the lists of texts in it; an auto_map has a rule of its own."""
    if path.rpartition(".")[2] in ("auto_map", "custom_pipelines"):
        return
    for key, value in table:
        where = f"{path}.{key}" if path else key
        for one in value if isinstance(value, list) and not isinstance(value, Pairs) else [value]:
            if isinstance(one, str) and one:
                _name(place, key, one, where)
        if key == "custom_imports" and isinstance(value, Pairs):
            _imports(place, value, where)


def _name(place: Place, key: str, value: str, where: str) -> None:
    if key in OPTIONS:
        kind, what = OPTIONS[key]
        place.unknown(kind, f"{where} is {value[:100]!a}: {what}")
    elif key == "megatron_core" and value != "megatron.core":
        place.target("adapter-library", value, where, "peft loads an adapter with a megatron_config", known=False)
    elif key == "architecture" and value.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        place.unknown("other-weights", f"{where} is {value[:100]!a}: timm loads that in place of this")
    elif DOTTED.match(value) and re.split(r"[.:]", value)[-1] not in ENDINGS:
        _dotted(place, key, value, where)
    elif CALLS.search(value) and "template" not in key:
        place.unknown(
            "config-target", f"{where} holds a call of the system, which a loader that evaluates it would run"
        )


def _dotted(place: Place, key: str, value: str, where: str) -> None:
    first, last = re.split(r"[.:]", value)[0], re.split(r"[.:]", value)[-1]
    if key in IMPORTED:
        place.target("module-class", value, where, IMPORTED[key])
    elif first in SYSTEM:
        place.unknown("config-target", f"{where} names {value[:100]!a}, which is no setting of a model")
    elif first in place.beside:
        place.unknown("config-target", f"{where} names {value[:100]!a}, code that lies beside it")
    elif CLASSES.search(key) and last[:1].isupper() and judge(value) == "foreign":
        place.unknown("config-target", f"{where} names {value[:100]!a}, a class of no library that is known")


def _imports(place: Place, table: Pairs, where: str) -> None:
    """custom_imports of MMEngine: modules that Config.fromfile imports, with default arguments."""
    for value in table.all("imports"):
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                place.target("config-target", f"{one}.X", f"{where}.imports", "MMEngine reads it", known=False)


def router(place: Place, value: object) -> None:
    """Router and Asym of sentence-transformers: "types" says the class of each module."""
    if not isinstance(value, Pairs) or not value.all("structure"):
        return
    for types in value.all("types"):
        for key, kind in types if isinstance(types, Pairs) else []:
            if isinstance(kind, str) and not kind.startswith("sentence_transformers."):
                place.target("module-class", kind, f"types.{key[:60]}", SENTENCE)
