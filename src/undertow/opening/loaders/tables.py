"""JSON configurations: the keys by which transformers, diffusers, peft, Keras and others are told what to run."""

import re
from collections.abc import Callable
from dataclasses import replace

from undertow.opening.loaders.names import check_names, router
from undertow.opening.loaders.place import Place
from undertow.opening.loaders.targets import judge
from undertow.opening.loaders.texts import Pairs, parse, tables

KERNEL_KEYS = re.compile(r"_?(attn|attention|experts|mlp|rotary|kernel)\w*_implementation(_internal)?\Z")
KERNEL = re.compile(r"[^/:\s]+/[^/:\s]+(?:@[^/:\s]+)?(?::[^/:\s]+)?\Z")  # as transformers tells a repository of kernels
LONGEST = 500  # characters of a name of a repository
MARKS = ("lightglue", "nemotron_nano_vl")  # kinds of models whose loaders hand options on, or build parts unasked
TARGETS = ("_target_", "class_path")  # hydra, jsonargparse
PLAIN_TARGETS = ("target", "cls", "_partial_target_")  # of others: only where the value is a dotted name
DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)+\Z")
CODE_KEYS = ("auto_map", "custom_pipelines")
KERAS = ("keras", "tf_keras", "tensorflow", "keras_hub", "keras_nlp", "keras_cv", "builtins", "tf")
KERAS_TOOLS = frozenset(
    {"utils", "saving", "models", "export", "datasets", "applications"}
)  # functions that reach files
KNOWN_PARENTS = ("transformers", "diffusers", "lerobot", "megatron-core", "timm", "sentence_transformers", "torch")


def check_json(place: Place) -> None:
    """Every rule on every object of one JSON text."""
    try:
        value = parse(place.text)
    except ValueError:
        if place.name.endswith("config.json") or place.name in WHOLE:
            place.unknown("malformed", "it is no JSON, so nothing is known of what it would have a loader do")
        return
    try:
        found = list(tables(value))
    except ValueError:
        place.unknown("limit", "it is nested too deeply to be examined")
        return
    lower = place.text.lower()
    place = replace(place, marks=frozenset(mark for mark in MARKS if mark in lower))
    for path, table in found:
        for rule in RULES:
            rule(place, path, table)
    name = place.name.split("/")[-1]
    if name in WHOLE:
        WHOLE[name](place, value)


def _repeated(place: Place, path: str, table: Pairs) -> None:
    keys = [key for key in table.repeated() if _acts(key)]
    if keys:
        place.unknown(
            "hidden-key", f"{keys[0][:60]!a} stands twice in {path or 'it'}: readers may see different things"
        )


def _acts(key: str) -> bool:
    return key in (
        *CODE_KEYS,
        *TARGETS,
        *PLAIN_TARGETS,
        "type",
        "module",
        "chat_template",
        "trust_remote_code",
    ) or bool(KERNEL_KEYS.match(key))


def _auto_map(place: Place, path: str, table: Pairs) -> None:
    for key in CODE_KEYS:
        for value in table.all(key):
            if not value:
                continue
            where = f"{path}.{key}" if path else key
            if path and "nemotron_nano_vl" in place.marks:
                place.unsafe("nested-auto-map", f"{where} names code, which vLLM before 0.11.1 runs without asking")
            text = f"{where} names Python code of its own, run under trust_remote_code=True"
            place.unknown("auto-map", text)


def _kernels(place: Place, path: str, table: Pairs) -> None:
    for key, value in table:
        if not KERNEL_KEYS.match(key):
            continue
        values = [item for _, item in value] if isinstance(value, Pairs) else [value]
        for one in values:
            if isinstance(one, str) and len(one) < LONGEST and KERNEL.search(one.split("|")[-1]):
                text = f"{path + '.' if path else ''}{key} is {one[:100]!a}: transformers fetches and imports its code"
                place.unsafe("attention-kernel", text)


def _trust(place: Place, path: str, table: Pairs) -> None:
    for value in table.all("trust_remote_code"):
        if value in (None, False, 0, "", "false", "False"):
            continue
        where = f"{path}.trust_remote_code" if path else "trust_remote_code"
        if "lightglue" in place.marks:
            place.unsafe("trust-remote-code", f"{where} is set, and transformers 4.54 to 5.4 hand it on for LightGlue")
        else:
            place.unknown("trust-remote-code", f"{where} is set by the configuration, where only the caller should")


def _targets(place: Place, path: str, table: Pairs) -> None:
    for key, value in table:
        where = f"{path}.{key}" if path else key
        if isinstance(value, str) and (key in TARGETS or (key in PLAIN_TARGETS and DOTTED.match(value))):
            place.target("config-target", value, where, "the configuration is instantiated (hydra and its kin)")


def _keras(place: Place, path: str, table: Pairs) -> None:
    """Objects of Keras: {"class_name": ..., "config": ..., "module": ..., "registered_name": ...}."""
    name = table.last("class_name")
    if not isinstance(name, str) or not any(isinstance(item, list | str) for item in table.all("config")):
        return
    where = path or "it"
    config = table.last("config")
    if name in ("Lambda", "__lambda__") and _holds_code(config, name):
        place.unsafe("keras-lambda", f"{where} is a {name} layer with Python code, which runs when the model is loaded")
    elif name == "Lambda":
        place.unknown("keras-lambda", f"{where} is a Lambda layer; the function it names must be given by the caller")
    if name == "TorchModuleWrapper":
        place.unsafe("keras-module", f"{where} is a TorchModuleWrapper, which unpickles what it holds")
    registered = table.last("registered_name") or name
    if isinstance(registered, str) and ">" in registered and table.last("module") is None:
        text = f"{where} is {registered[:80]!a}, a class of its own, which the caller must give"
        place.unknown("keras-module", text)
    for module in table.all("module"):
        if isinstance(module, str) and module.split(".")[0] not in KERAS:
            place.target(
                "keras-module", f"{module}.{name}", f"{where}.module", "Keras 3.0 to 3.8 loads it", known=False
            )
        elif isinstance(module, str) and set(module.split(".")) & KERAS_TOOLS:
            for one in (name, config):
                if isinstance(one, str) and one[:1].islower() and one != "function":
                    text = f"{where} calls {module[:60]}.{one[:60]}, which downloads, reads or writes files"
                    place.unsafe("keras-module", text)
        elif module == "builtins" and judge(f"builtins.{name}") and name not in ("function", "__tuple__", "slice"):
            place.unsafe("keras-module", f"{where} names {name[:60]!a} of builtins")
    if isinstance(config, Pairs) and isinstance(config.last("vocabulary"), str):
        place.unknown("external-data", f"{where} reads its vocabulary from {str(config.last('vocabulary'))[:80]!a}")


def _holds_code(config: object, name: str) -> bool:
    if name == "__lambda__":
        return True
    function = config.last("function") if isinstance(config, Pairs) else None
    kind = config.last("function_type") if isinstance(config, Pairs) else None
    return isinstance(function, list) or kind == "lambda"


RULES: tuple[Callable[[Place, str, Pairs], None], ...] = (
    _repeated, _auto_map, _kernels, _trust, _targets, _keras, check_names
)  # fmt: skip


def _modules(place: Place, value: object) -> None:
    """modules.json of sentence-transformers: a list of {"type": dotted class}."""
    for item in value if isinstance(value, list) else []:
        for kind in item.all("type") if isinstance(item, Pairs) else []:
            if not isinstance(kind, str) or kind.startswith("sentence_transformers."):
                if isinstance(kind, str) and judge(kind, ()) == "dangerous":
                    place.unsafe("module-class", f"its type {kind[:100]!a} is no module of sentence-transformers")
                continue
            loader = "sentence-transformers loads the folder, with default arguments"
            what = judge(kind, place.beside)
            if "--" in kind:
                place.unknown("module-class", f"its type {kind[:100]!a} is code of another repository")
            elif what == "library":
                place.warn("module-class", f"its type {kind[:100]!a} is of another library")
            else:
                place.target("module-class", kind, "its type", loader, known=False)


def _pipeline(place: Place, value: object) -> None:
    """model_index.json of diffusers: name -> [library, class]; _class_name may be [file, class]."""
    for key, item in value if isinstance(value, Pairs) else []:
        if not isinstance(item, list) or isinstance(item, Pairs) or len(item) not in (2, 3):
            continue
        library, name = item[:2]
        if library is None and name is None:
            continue
        if not (isinstance(library, str) and isinstance(name, str)):
            place.unknown(
                "pipeline-class", f"{key[:60]!a} is odd: diffusers may take it for no custom code, and run it"
            )
        elif key == "_class_name" or library in place.beside or f"{key}/{library}" in place.beside:
            text = f"{key[:60]!a} names {library[:60]!a}, a Python file of the folder, which diffusers before 0.38 ran"
            place.unsafe("pipeline-class", text)
        elif library not in PIPELINES:
            place.target("pipeline-class", f"{library}.{name}", repr(key[:60]), "diffusers loads the folder")


PIPELINES_WORDS = """
    diffusers transformers onnxruntime optimum stable_diffusion latent_diffusion audioldm audioldm2 deepfloyd_if
    kandinsky kandinsky2_2 paint_by_example semantic_stable_diffusion shap_e spectrogram_diffusion unclip
    unidiffuser wuerstchen stable_diffusion_safe alt_diffusion versatile_diffusion t2i_adapter controlnet peft
    blip_diffusion stable_cascade kolors musicldm flux stable_diffusion_xl
"""
PIPELINES = frozenset(PIPELINES_WORDS.split())


def _adapter(place: Place, value: object) -> None:
    """adapter_config.json of peft: whose class is imported for the base model, and which base that is."""
    if not isinstance(value, Pairs):
        return
    for mapping in value.all("auto_mapping"):
        if not isinstance(mapping, Pairs):
            continue
        for library in mapping.all("parent_library"):
            name, cls = str(library or ""), str(mapping.last("base_model_class") or "X")
            if name and (name.split(".")[0] not in KNOWN_PARENTS or name.split(".")[0] in place.beside):
                place.target("adapter-library", f"{name}.{cls}", "auto_mapping", "AutoPeftModel loads it", known=False)
    base = value.last("base_model_name_or_path")
    if isinstance(base, str) and base:
        place.unknown(
            "adapter-base", f"it is an adapter for {base[:120]!a}, which is loaded with it and was not examined"
        )


def _timm(place: Place, value: object) -> None:
    for path, table in tables(value):
        if path.endswith("pretrained_cfg"):
            for key in ("url", "file"):
                named = table.last(key)
                if isinstance(named, str) and named:
                    place.unknown("other-weights", f"pretrained_cfg.{key} is {named[:120]!a}: timm loads that in place")


def _config(place: Place, value: object) -> None:
    _timm(place, value)
    router(place, value)


WHOLE: dict[str, Callable[[Place, object], None]] = {
    "modules.json": _modules,
    "model_index.json": _pipeline,
    "adapter_config.json": _adapter,
    "config.json": _config,
    "router_config.json": router,
    "modular_model_index.json": _pipeline,
}
