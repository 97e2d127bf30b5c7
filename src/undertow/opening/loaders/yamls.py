"""YAML and other plain configurations, read by their words: no parser that could be told to make an object."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from undertow.opening.loaders.place import Place
from undertow.opening.loaders.targets import judge

TAG = re.compile(r"(?<![^\s\[\]{},:\-?\"'&])!(<[^>\n]{0,300}>?|[!\w][^\s,\[\]{}\"']{0,300}|(?=[\s]))")
DIRECTIVE = re.compile(r"^%TAG\s+(\S+)\s+(\S+)", re.M)
PLAIN_TAGS = re.compile(
    r"(python/)?(tuple|none|bool|str|unicode|int|long|float|complex|list|dict|bytes|set|map|seq|null|timestamp|binary|"
    r"merge|value|omap|pairs)\Z"
)
HYPER = re.compile(r"(new|apply|applyref|name|module|call|obj|factory)(:.*)?\Z")  # of hyperpyyaml and its kin
HARMLESS_HYPER = re.compile(r"(ref|copy|include|tuple|list|placeholder|PLACEHOLDER)(:.*)?\Z")
KEY = re.compile(
    r"(?:^|[\s{,?\"'])(?P<key>_target_|class_path|target|loader_module|python_model|model_code_path|user_dir)[\"']?\s*:"
    r"\s*(?:[|>][+-]?\s*)?(?P<value>[^\n,}#]{0,300})", re.M,
)  # fmt: skip
ESCAPED = re.compile(r"\\[xuU][0-9a-fA-F]{2}[^\"\n]{0,200}\"\s*:")
MLFLOW = re.compile(
    r"(?:^|[\s{,\"'])(loader_module|code|model_code_path|python_model)[\"']?[ \t]*:[ \t]*([^\n,}]{1,300})", re.M
)
DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)+\Z")
FACTORY = re.compile(r"^[ \t]*@(\w{1,80})[ \t]*[=:]\s*[\"']([^\"'\n]{1,300})[\"']", re.M)
INLINE = re.compile(r"[\"']@(\w{1,80})[\"']\s{0,9}:\s{0,9}[\"']([^\"'\n]{1,300})[\"']")
COMPONENT = re.compile(r"^[ \t]{0,40}factory[ \t]{0,9}=[ \t]{0,9}[\"']([^\"'\n]{1,300})[\"']", re.M)
COMPONENTS_WORDS = """
    tok2vec transformer curated_transformer tagger parser ner beam_ner beam_parser lemmatizer trainable_lemmatizer
    attribute_ruler senter sentencizer morphologizer entity_linker entity_ruler future_entity_ruler span_ruler spancat
    spancat_singlelabel span_finder span_cleaner textcat textcat_multilabel token_splitter doc_cleaner
    merge_noun_chunks merge_entities merge_subtokens nn_labeller llm
"""
COMPONENTS = frozenset(COMPONENTS_WORDS.split())
CALL = re.compile(
    r"(?:^|[\s:\[{,\"'(-])((?:os|posix|nt|subprocess|builtins|importlib|runpy|pty|ctypes|pickle|marshal|shutil)\.[a-z_]\w{0,60}"
    r"|__import__\s{0,9}\()", re.M,
)  # fmt: skip
IMPORTS = re.compile(r"^[ \t]{0,40}[\"']?custom_imports[\"']?[ \t]{0,9}:", re.M)
SPACY = ("spacy.", "spacy-legacy.", "spacy-transformers.", "spacy-curated-transformers.", "spacy-llm.", "thinc.",
         "spacy_", "spacy-", "curated-transformers", "catalogue")  # fmt: skip
SPACY_NAMES = (
    "Adam.v1",
    "RAdam.v1",
    "SGD.v1",
    "warmup_linear.v1",
    "compounding.v1",
    "constant.v1",
    "glorot_uniform_init.v1",
)


def check_yaml(place: Place) -> None:
    """Tags that make objects, and keys that name something to import and call."""
    text = "\n".join(line for line in place.text.splitlines() if not line.lstrip().startswith("#"))
    _tags(place, text)
    if ESCAPED.search(text):
        place.unknown("hidden-key", "a key in it is written with escapes")
    if IMPORTS.search(text):
        place.unknown("config-target", "custom_imports names modules that MMEngine imports when it reads it")
    found = {match[1].strip() for match in CALL.finditer(text)} - {
        match["value"].strip() for match in KEY.finditer(text)
    }
    for name in sorted(found)[:3]:
        place.unknown("config-target", f"it names {name[:60]!a}, which is no setting of a model")
    for match in KEY.finditer(text):
        _named(place, match["key"], match["value"].strip())


def _tags(place: Place, text: str) -> None:
    handles = {handle: unquote(prefix) for handle, prefix in DIRECTIVE.findall(text)}
    for match in TAG.finditer(text):
        raw = match[1]
        name = unquote(raw.strip("<>")).removeprefix("tag:yaml.org,2002:")
        for handle, prefix in handles.items():
            if f"!{raw}".startswith(handle):
                name = (prefix + f"!{raw}"[len(handle) :]).removeprefix("tag:yaml.org,2002:")
        name = unquote(name).lstrip("!")
        if not name or PLAIN_TAGS.match(name) or HARMLESS_HYPER.match(name):
            continue
        if name.startswith("python/"):
            _python(place, name.removeprefix("python/"))
        elif HYPER.match(name):
            target = name.partition(":")[2]
            place.target("yaml-tag", target, f"the tag !{name[:80]}", "hyperpyyaml reads it (SpeechBrain)")
        else:
            place.unknown("yaml-tag", f"the tag !{name[:80]} is of no set that is known")


def _python(place: Place, name: str) -> None:
    """A tag of PyYAML: object, object/new, object/apply, name, module, followed by a colon and a dotted name."""
    how, _, target = name.partition(":")
    what = judge(target, place.beside)
    harmless = target in HARMLESS or (what == "library" and how in ("name", "object"))
    if harmless and how in ("object", "name", "object/new", "object/apply"):
        place.warn("yaml-tag", f"the tag !!python/{name[:80]} makes a Python object where an unsafe loader reads it")
    else:
        place.unsafe("yaml-tag", f"the tag !!python/{name[:80]} runs code where PyYAML reads it (yaml.load before 5.1)")


HARMLESS = frozenset({"argparse.Namespace", "collections.OrderedDict", "pathlib.PosixPath", "pathlib.Path",
                      "types.SimpleNamespace", "datetime.datetime", "datetime.date", "enum.Enum"})  # fmt: skip


def _named(place: Place, key: str, value: str) -> None:
    value = value.split(" #")[0].strip().strip("\"'")
    if key in ("loader_module", "python_model", "model_code_path"):
        return  # of MLmodel, which has its own rules
    if value.startswith(("*", "&", "${", "!")):
        place.unknown("config-target", f"{key} is written as {value[:60]!a}, so what it names is not plain")
    elif key == "target" and not DOTTED.match(value):
        return
    elif value and value not in ("null", "~"):
        place.target("config-target", value, key, "the configuration is instantiated (hydra, NeMo and their kin)")


def check_mlmodel(place: Place) -> None:
    """MLmodel: the module that mlflow.pyfunc.load_model imports, and the code it puts on the path or runs."""
    found: dict[str, list[str]] = {}
    for match in MLFLOW.finditer(place.text):
        value = match[2].strip().strip("\"'")
        if value not in ("", "null", "~"):
            found.setdefault(match[1], []).append(value)
    modules = found.get("loader_module", [])
    for script in found.get("model_code_path", []):
        place.unsafe("mlflow-loader", f"model_code_path is {script[:100]!a}, which mlflow.pyfunc.load_model runs")
    for code in found.get("code", []):
        text = f"code is {code[:100]!a}, put on the path before {', '.join(modules)[:80]!a} is imported"
        place.unsafe("mlflow-loader", text)
    for module in modules:
        if not module.startswith("mlflow."):
            loader = "mlflow.pyfunc.load_model loads it"
            place.target("mlflow-loader", f"{module}.X", "loader_module", loader, known=False)
    for model in found.get("python_model", []):
        place.unknown("mlflow-loader", f"python_model is {model[:100]!a}, which cloudpickle loads")


def check_spacy(place: Place) -> None:
    """config.cfg: functions by registered name; only those of spaCy and its own packages are known."""
    for name in COMPONENT.findall(place.text):
        if name not in COMPONENTS and not name.startswith(("spacy.", "experimental_", "llm_")):
            place.unknown("registered-function", f"factory {name[:80]!a} is no component that spaCy brings along")
    for registry, name in (*FACTORY.findall(place.text), *INLINE.findall(place.text)):
        if not name.startswith(SPACY) and name not in SPACY_NAMES:
            place.unknown("registered-function", f"@{registry} = {name[:80]!a} is no function that spaCy brings along")


BY_NAME: dict[str, Callable[[Place], None]] = {"MLmodel": check_mlmodel, "config.cfg": check_spacy}
