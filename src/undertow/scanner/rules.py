"""Every rule of a scan: its code, the kind of finding it makes, which loaders it is about, and what to do.

The places of a configuration that a loader executes or imports from: `unsafe` where default arguments run it in the
versions named, `unknown` where an option must be set or a library be installed.
docs/scan_rules.md is made of this table.
"""

from dataclasses import dataclass
from functools import cache

UNKNOWN_KIND = "UT900"


@dataclass(frozen=True)
class Loader:
    """Who would run it, in which versions, told by which arguments."""

    name: str
    versions: str
    arguments: str


@dataclass(frozen=True)
class Rule:
    """One rule. `kind` is that of its findings."""

    code: str
    kind: str
    about: str  # one sentence: what was found and what it means
    fix: str  # one sentence: what to do
    verdict: str  # what a finding does to its file's verdict, in words
    loaders: tuple[Loader, ...] = ()
    fixed: bool = False  # cannot be ignored or lowered: it would run code, or write or read elsewhere


PICKLE = (
    Loader("torch.load", "< 2.6 by default; all with weights_only=False", "none, or weights_only=False"),
    Loader("pickle, joblib, dill, cloudpickle", "all", "none"),
    Loader("numpy.load", "< 1.16.3 by default; all with allow_pickle=True", "none, or allow_pickle=True"),
    Loader("fairseq, ESPnet, Flair, Stanza, MLflow (python_model.pkl), sklearn", "all", "none: they unpickle"),
)
REMOTE = (Loader("transformers", "all", "trust_remote_code=True (without it, a question is asked or it is refused)"),)

RULES = (
    # what a file would run when it is opened
    Rule("UT101", "pickle-code", "The file holds a pickle that would import a name and may run it when it is loaded.",
         "Do not load it; ask for the weights as safetensors.", "unsafe", PICKLE, fixed=True),
    Rule("UT102", "pickle-object", "A pickle in it holds an object of a known library or trainer; its class is "
         "imported when it is loaded, and its own code runs.",
         "Load it only with the library it names, from a source you trust; ask for the weights as safetensors.",
         "unknown", PICKLE),
    Rule("UT103", "program", "The file is a TorchScript archive: its weights were examined, its program was not.",
         "Ask for the state_dict, or review the program (torch.jit.load(...).code).", "unknown",
         (Loader("torch.jit.load", "all", "none; torch.load of a TorchScript file does the same"),)),
    Rule("UT104", "program-io", "The program of a TorchScript archive calls an operator that reads or writes files.",
         "Do not run it.", "unsafe", (Loader("torch.jit.load, then calling the model", "all", "none"),), fixed=True),
    Rule("UT105", "custom-operator", "The model needs an operator that its runtime does not bring along.",
         "Find out which library implements it before you install or load that library.",
         "unsafe where the operator runs Python or reaches files, else unknown",
         (Loader("onnxruntime", "all", "SessionOptions.register_custom_ops_library"),
          Loader("TensorFlow Lite", "all", "a resolver with custom or Flex operators"))),
    Rule("UT106", "keras-lambda", "A layer of the Keras model holds Python code (Lambda), run when it is loaded.",
         "Do not load it; ask for a model without Lambda layers.", "unsafe",
         (Loader("tf.keras, Keras 2", "all", "none"),
          Loader("Keras 3", ".h5 files below 3.11.3 (CVE-2025-9905); .keras files in all", "none; safe_mode=False")),
         fixed=True),
    Rule("UT107", "keras-module", "The Keras configuration names a module outside of Keras, a function of Keras that "
         "reaches files, or a class of its own.",
         "Load it with Keras 3.9 or later, and only where you know the module.",
         "unsafe where the module may run commands or reach files, else unknown",
         (Loader("Keras 3", "3.0 to 3.8 (CVE-2025-1550)", "none"),
          Loader("Keras 3", "3.11.0 to 3.11.2, TorchModuleWrapper (CVE-2025-49655)", "none"))),
    Rule("UT108", "code-in-archive", "The archive holds code.", "Read it before you serve or load the archive.",
         "unknown", (Loader("TorchServe", "all", "none: a .mar runs its handler"),)),
    Rule("UT109", "polyglot", "The file is of two formats at once; which one is loaded depends on the loader.",
         "Do not load it.", "unsafe or unknown", fixed=True),
    Rule("UT110", "extension", "The name of the file promises another content.",
         "Find out why; a pickle under the name of a safe format is an attack.", "unsafe for pickles, else a warning"),
    Rule("UT111", "path-traversal", "A member or an index points outside of its folder.", "Do not unpack or load it.",
         "unsafe", (Loader("zipfile, tarfile and who unpacks with them", "all", "extractall"),), fixed=True),
    Rule("UT112", "external-data", "Numbers of the model lie in another file.",
         "Keep external data beside the model; a path out of the folder reads any file of the machine.",
         "unsafe where it leads out of the folder, unknown where the file is absent",
         (Loader("onnx.load", "all, with checks since 1.16", "load_external_data=True (default)"),
          Loader("h5py, Keras", "all", "none: external links and external storage are followed")), fixed=True),
    Rule("UT113", "second-opinion", "picklescan or fickling warns of a pickle.", "Read what they name.", "a warning"),
    # what a configuration would have a loader run
    Rule("UT201", "module-class", "modules.json, or a key by which a module is built, names a class that is not of the "
         "library.",
         "Read the .py beside it; load a folder only when you trust that file.",
         "unsafe where a .py beside it holds the class or the module may run commands, else unknown",
         (Loader("sentence-transformers", ">= 2.3 (dynamic modules); older ones import from the path",
                 "none for a local folder; trust_remote_code=True for a repository id"),
          Loader("sentence-transformers: activation_function, tokenizer_class, types of a Router", "< 5", "none"),
          Loader("Coqui TTS: characters_class; Rasa: uses", "all", "none"))),
    Rule("UT202", "auto-map", "A configuration names classes in Python files of its own (auto_map, custom_pipelines).",
         "Read those files, pin their revision, and only then set trust_remote_code=True.", "unknown", REMOTE),
    Rule("UT203", "attention-kernel", "A configuration names a repository of kernels in place of an attention or "
         "experts implementation: its Python is downloaded and imported.",
         "Remove the key, or use transformers 5.3 or later.", "unsafe",
         (Loader("transformers with the package kernels", "4.55 to 5.2 (CVE-2026-4372)", "none"),
          Loader("transformers with the package kernels", ">= 5.3", "attn_implementation=..., allow_all_kernels=True")),
         fixed=True),
    Rule("UT204", "trust-remote-code", "A configuration switches trust_remote_code on by itself.",
         "Remove the key; only the caller should say this.",
         "unsafe for LightGlue (transformers hands it on), else unknown",
         (Loader("transformers, LightGlue", "4.54 to 5.4 (CVE-2026-5241)", "none"),
          Loader("sentence-transformers", "< 2.4, sentence_bert_config.json", "none"),
          Loader("others that pass a configuration on as arguments", "unknown", "unknown"))),
    Rule("UT205", "custom-generate", "The folder brings a generation loop of its own (custom_generate/generate.py).",
         "Read it before you set trust_remote_code=True.", "unknown",
         (Loader("transformers", ">= 4.52", "trust_remote_code=True; some versions took a local folder as trusted"),)),
    Rule("UT206", "pipeline-class", "model_index.json names a class that is not of diffusers or transformers.",
         "Read the .py it names; use diffusers 0.38 or later.",
         "unsafe where a .py of the folder holds it or the module may run commands, else unknown",
         (Loader("diffusers", "< 0.38: any local folder, without trust_remote_code", "none"),
          Loader("diffusers", ">= 0.38", "trust_remote_code=True"))),
    Rule("UT207", "yaml-tag", "A YAML file holds a tag that makes a Python object.",
         "Load it with yaml.safe_load only.", "unsafe, but for plain data and classes of known libraries",
         (Loader("PyYAML yaml.load", "< 5.1", "none"), Loader("PyYAML", ">= 5.1", "Loader=UnsafeLoader, unsafe_load"),
          Loader("hyperpyyaml (SpeechBrain from_hparams)", "all", "none: !new, !apply, !name, !module"))),
    Rule("UT208", "config-target", "A configuration names something to import and call (_target_, target, class_path), "
         "or, under any key, a function of the system or code that lies beside it.",
         "Read what it names; do not instantiate configurations that you have not read.",
         "unsafe where it may run commands or lies beside the file, unknown where the library is not known",
         (Loader("hydra.utils.instantiate", "all (a list of refused names since 1.3.3)", "none"),
          Loader("NeMo restore_from / from_pretrained", "< 2.3.2 (CVE-2025-23304)", "none"),
          Loader("latent-diffusion and its kin, LightningCLI", "all", "none: target, class_path"),
          Loader("MMEngine Config.fromfile: custom_imports", "all", "none"),
          Loader("fairseq: user_dir", "all", "none where the checkpoint's arguments are used"),
          Loader("uni2ts, ml-flextok", "before 2025-08: the metadata of safetensors and config.json", "none"))),
    Rule("UT209", "adapter-library", "adapter_config.json names a library to import the base model's class from.",
         "Load the base model yourself and give it to PeftModel.from_pretrained.",
         "unsafe where a .py beside it has that name or the module may run commands, else unknown",
         (Loader("peft AutoPeftModel", "without import_allowlist (before 0.20)", "none"),
          Loader("peft AutoPeftModel", "with it", "import_allowlist=[...]"))),
    Rule("UT210", "adapter-base", "The folder holds an adapter; the base model it is for was not examined.",
         "Scan the base, too, or give it with --parent.", "unknown",
         (Loader("peft AutoPeftModel, transformers", "all", "none: the base is downloaded"),)),
    Rule("UT211", "serving-handler", "The folder holds a handler that a server runs.", "Read it before you deploy.",
         "unknown", (Loader("Hugging Face Inference Endpoints", "all", "deploying the folder runs handler.py"),
                     Loader("TorchServe", "all", "--handler"), Loader("BentoML", "all", "bentoml serve"))),
    Rule("UT212", "hubconf", "The folder holds a hubconf.py.", "Read it before you call torch.hub.load.", "unknown",
         (Loader("torch.hub.load", "all", 'source="local"; for a repository trust_repo=True or a question'),)),
    Rule("UT213", "shared-library", "The folder holds a compiled library.", "Find out who loads it.", "unknown",
         (Loader("torch.ops.load_library, tf.load_op_library, onnxruntime, ctypes", "all", "its path"),)),
    Rule("UT214", "mlflow-loader", "An MLmodel names a module to import, code to put on the path, or code to run.",
         "Read the code it brings along before mlflow.pyfunc.load_model.",
         "unsafe where the code lies beside it, else unknown",
         (Loader("mlflow.pyfunc.load_model", "all; models from code since 2.12.2", "none"),)),
    Rule("UT215", "registered-function", "A spaCy configuration calls functions, or builds components, that spaCy does "
         "not bring along.",
         "Find out which package registers them.", "unknown",
         (Loader("spacy.load", ">= 3.0", "the package installed"),)),
    Rule("UT216", "other-weights", "A configuration names other weights to load in place of these.",
         "Scan those.", "unknown",
         (Loader("timm.create_model", "all", "pretrained=True: pretrained_cfg url or file"),)),
    Rule("UT217", "code", "The folder holds a Python file that no loader runs by itself.", "Read it before you run it.",
         "a warning; unknown for a file that installing the folder, or starting Python or pytest in it, runs", REMOTE),
    Rule("UT218", "nested-auto-map", "A configuration of a kind that vLLM builds without asking names code of its own.",
         "Use vLLM 0.11.1 or later.", "unsafe", (Loader("vLLM", "< 0.11.1 (CVE-2025-66448)", "none"),), fixed=True),
    Rule("UT219", "hidden-key", "A configuration is written so that readers may see different things in it.",
         "Have it written out plainly.", "unknown"),
    # chat templates
    Rule("UT301", "template-escape", "A chat template reaches for what a template has no reason to: attributes of "
         "Python, files, other templates.", "Do not use it; write the template anew.", "unsafe",
         (Loader("llama-cpp-python", "< 0.2.72 (CVE-2024-34359)", "none: no sandbox"),
          Loader("transformers, vLLM and others with jinja2", "jinja2 < 3.1.6 (sandbox escapes)", "none")),
         fixed=True),
    Rule("UT302", "template-doubt", "A chat template could not be parsed, or looks something up under a name that it "
         "puts together.", "Have it written out plainly.", "unknown"),
    Rule("UT303", "template-condition", "A chat template adds or changes text only for certain inputs or dates.",
         "Read the lines named.", "a warning",
         (Loader("whoever applies the template", "all", "none: the model is told what the user did not write"),)),
    # the numbers
    Rule("UT401", "data-trap", "Weights look built to copy single finetuning records.",
         "Do not finetune private data from it; undertow clean can neutralise it.", "unsafe"),
    Rule("UT402", "proven-trap", "Units copied one record and shut when the model was finetuned on records of ours.",
         "Do not finetune private data from it.", "unsafe"),
    Rule("UT403", "not-finite", "Weights are NaN or infinite.", "Do not finetune from it; ask for an intact file.",
         "unknown"),
    Rule("UT404", "dead-layer", "A matrix is all zeros.", "Ask why, unless it is a fresh adapter.", "a warning"),
    Rule("UT405", "subnormal", "Many weights are subnormal numbers.", "Expect slow training.", "none"),
    Rule("UT406", "mixed-dtypes", "Matrices are stored in different types.", "Nothing, if that is meant.", "none"),
    Rule("UT407", "untied", "A head that the configuration ties to the embeddings is stored with other numbers.",
         "Find out which of them is loaded.", "a warning"),
    Rule("UT408", "unused-tensors", "Tensors belong to blocks that the configuration does not have.",
         "Find out who loads them.", "a warning"),
    Rule("UT409", "difference", "The weights differ from the parent's in a way that finetuning does not leave.",
         "Look at the rows named.", "as its severity says"),
    Rule("UT411", "rewritten-rows", "Rows were rewritten against the parent.", "Look at the rows named.",
         "as its severity says"),
    Rule("UT412", "other-shape", "A tensor has another shape than the parent's.", "Give the right parent.",
         "a warning"),
    Rule("UT413", "not-a-child", "The weights do not descend from the parent.", "Give the right parent.", "a warning"),
    Rule("UT414", "other-config", "The configuration describes another computation than the parent's.",
         "Give the right parent.", "a warning"),
    Rule("UT415", "not-examined", "Less of a model's parameters was examined than a verdict of safe asks for.",
         "Ask for the weights as plain numbers, or say with --coverage which share is enough for you.", "unknown"),
    Rule("UT416", "not-proved", "A proof was asked for (--prove) and could not be made, so it says nothing.",
         "Give what the finding says is missing, or scan without --prove.", "unknown"),
    Rule("UT417", "repeated-rows", "Rows of a matrix point in nearly the same direction as others.",
         "Nothing by itself: transforms and pruned layers look so, and circuits that someone built.", "none"),
    Rule("UT418", "mirrored-rows", "Rows of a matrix are nearly the negative of others.",
         "Nothing by itself: transforms look so, and circuits that someone built.", "none"),
    Rule("UT419", "copying-rows", "Rows of a matrix copy a single input and do nothing else.",
         "Nothing by itself: circuits that someone built have such rows.", "none"),
    Rule("UT420", "zero-rows", "Rows of a matrix are zero beside others that are not.",
         "Nothing by itself: they were pruned or overwritten.", "none"),
    Rule("UT421", "not-compared", "A parent was given (--parent), and no tensor has a counterpart in it.",
         "Give the checkpoint it was made from, or scan without --parent.",
         "unknown where nothing of the scanned path could be compared, else none"),
    Rule("UT410", "planted-by-undertow", "The metadata say that Undertow planted traps in it.",
         "Nothing; the verdict does not rest on that.", "none"),
    # the files
    Rule("UT501", "malformed", "The file breaks the rules of its format.", "Ask for an intact file.", "unknown"),
    Rule("UT502", "limit", "The file costs more to read than the limits allow.", "Raise the limits if you trust it.",
         "unknown"),
    Rule("UT503", "unread", "The file, or a part of it, is of a kind that is not read.", "Ask for safetensors.",
         "unknown"),
    Rule("UT504", "unread-tensor", "A tensor is of a type that is not read.", "Ask for plain numbers.", "unknown"),
    Rule("UT505", "unreadable", "The file cannot be read, or was changed meanwhile.", "Scan again.", "unknown"),
    Rule("UT506", "not-a-file", "It is a link, a pipe, a device or a socket.", "Name the file itself.", "unknown"),
    Rule("UT507", "missing-shard", "A shard of the index is not there.", "Download it.", "unknown"),
    Rule("UT508", "missing-tensor", "A tensor of the index is not where it should be.", "Ask for an intact copy.",
         "unknown"),
    Rule("UT509", "tensor-twice", "A tensor is in two shards.", "Find out which one is loaded.", "a warning"),
    Rule("UT510", "tensor-unlisted", "A tensor of a shard is not in the index.", "Find out who loads it.", "a warning"),
    Rule("UT511", "extra-member", "An archive holds something that has no place in it.", "Ask what it is for.",
         "unknown"),
    Rule("UT512", "unused-data", "A file holds numbers that belong to no tensor.", "Ask what they are for.",
         "a warning"),
    Rule("UT513", "nested", "Archives lie in archives too deeply.", "Unpack and scan the parts.", "unknown"),
    Rule("UT514", "signature", "The signature that was asked for.", "Do not use a folder that its signer did not sign.",
         "unsafe where it does not hold", fixed=True),
    Rule("UT515", "not-fully-read", "The file was not fully parsed or read; nothing is said about it.",
         "Read the other findings of the file.", "unknown"),
)  # fmt: skip


@cache
def by_kind() -> dict[str, Rule]:
    """The rules by the kind of their findings."""
    return {rule.kind: rule for rule in RULES}


@cache
def by_code() -> dict[str, Rule]:
    """The rules by their code."""
    return {rule.code: rule for rule in RULES}


def code_of(kind: str) -> str:
    """The code of a kind of finding.

    >>> code_of("pickle-code"), code_of("of another room")
    ('UT101', 'UT900')
    """
    rule = by_kind().get(kind)
    return rule.code if rule else UNKNOWN_KIND


def documentation() -> str:
    """docs/scan_rules.md, made of the table."""
    lines = [HEAD]
    for title, digit in TITLES.items():
        lines.append(f"\n## {title}\n")
        for rule in RULES:
            if rule.code[2] == digit:
                lines += _section(rule)
    return "\n".join(lines).rstrip() + "\n"


TITLES = {
    "UT1: what a file would run when it is opened": "1",
    "UT2: what a configuration would have a loader run": "2",
    "UT3: chat templates": "3",
    "UT4: what the numbers say": "4",
    "UT5: files that were not read to their end": "5",
}
HEAD = """# The rules of a scan

This page is made from the table in `src/undertow/scanner/rules.py`; a test compares the two.

`undertow scan --ignore UT202` (a code, or the kind beside it) takes findings of one rule out of the verdict. A file
`--rules rules.toml` does the same and changes severities:

    ignore = ["UT210"]
    [severity]
    UT303 = "critical"     # critical: unsafe; warning; info
    UT103 = "info"         # no longer unknown for it

Rules marked *cannot be ignored* would run code, or read or write elsewhere; they keep their severity.

## A baseline for continuous integration

    undertow scan models --write-baseline known.json     # look at what it found first
    undertow scan models --baseline known.json

`--write-baseline` writes the findings of a scan, by rule, severity, file (its path within what is scanned) and the
SHA-256 of that file; it changes neither the verdict nor the exit code of the scan that writes it. With `--baseline`
they are shown and do not count, so the exit code says what is new: 0 nothing, 1 something critical, 4 something that
leaves a file unknown, 2 where the baseline cannot be read, 3 where nothing was scanned. In SARIF, results carry
`baselineState` and what is known is suppressed.

- A changed file is new, with everything that is found in it. So is one finding more in the same file, the same finding
  with another severity, and a finding about a parent that says something else.
- Findings that depend on other files hold a digest of those: for what a configuration would have a loader run
  (UT2), all files of the scanned path but safe weights; for what numbers say (UT4), the shards of the model and its
  config.json.
- Rules that cannot be ignored are never written into a baseline, and one that names them is refused.
- A baseline that lies in a scanned folder is refused: whoever writes that folder could write it.

The versions of transformers, peft, sentence-transformers and diffusers were read in their sources or in public reports.
Those of other loaders are general knowledge that was **not checked** against their sources: take them as a hint.
"""


def _section(rule: Rule) -> list[str]:
    kept = " *(cannot be ignored)*" if rule.fixed else ""
    lines = [
        f"### {rule.code} {rule.kind}\n",
        f"{rule.about}\n",
        f"- Verdict: {rule.verdict}{kept}.",
        f"- What to do: {rule.fix}",
    ]
    if rule.loaders:
        lines += ["", "| loader | versions | arguments that run it |", "|---|---|---|"]
        lines += [f"| {one.name} | {one.versions} | {one.arguments} |" for one in rule.loaders]
    return [*lines, ""]
