"""Files that are code, by their place: what a server, torch.hub or transformers looks for under a fixed name."""

from collections.abc import Collection, Mapping
from pathlib import Path

from undertow.opening.reading import Reading

LIBRARIES = (".so", ".pyd", ".dll", ".dylib")
SERVED = ("bentofile.yaml", "bento.yaml", "MAR-INF/MANIFEST.json", "model-config.yaml", "service.py")

STARTED = {  # names under which code is looked for: when it runs
    "setup.py": "the folder is installed with pip",
    "sitecustomize.py": "Python starts with the folder on its path",
    "usercustomize.py": "Python starts with the folder on its path",
    "conftest.py": "pytest is started in the folder",
    "custom_interface.py": "SpeechBrain loads the folder by foreign_class",
}


def modules(paths: Collection[Path]) -> Mapping[Path, frozenset[str]]:
    """By folder: the modules that lie in it, as `name`, and in the folders below, as `folder/name`."""
    found: dict[Path, set[str]] = {}
    for path in paths:
        if path.suffix.lower() in (".py", ".pyc", ".so", ".pyd"):
            stem = path.name.split(".")[0]
            found.setdefault(path.parent, set()).add(stem)
            found.setdefault(path.parent.parent, set()).update({path.parent.name, f"{path.parent.name}/{stem}"})
    return {folder: frozenset(names) for folder, names in found.items()}


def check_code(reading: Reading, weighed: Collection[Path]) -> None:
    """Say what a file that is code is for; `weighed`: folders that hold weights or a config.json."""
    path, suffix = reading.path, reading.path.suffix.lower()
    if suffix in LIBRARIES or ".so." in path.name:
        reading.doubts = [kind for kind in reading.doubts if kind != "unread"]  # said better here
        reading.findings = [found for found in reading.findings if found.kind != "unread"]
        reading.stop("shared-library", "it is a compiled library, which is not read; loading it runs it")
    elif path.name == "generate.py" and path.parent.name == "custom_generate":
        reading.stop("custom-generate", "it is a generation loop, which transformers runs under trust_remote_code=True")
    elif path.name == "hubconf.py":
        reading.stop("hubconf", 'it is what torch.hub.load runs with source="local", or after a question')
    elif path.name == "handler.py" and path.parent in weighed:
        reading.stop("serving-handler", "it is a handler, which an inference server runs when the folder is deployed")
    elif _is_served(path) and {path.parent, path.parent.parent} & set(weighed):
        reading.stop("serving-handler", "it says which code a server runs when the folder is deployed")
    elif path.name in STARTED:
        reading.stop("code", f"it is code, which runs when {STARTED[path.name]}")
    elif suffix in (".py", ".pyc"):
        reading.say("code", "warning", "it is code; a loader that is told trust_remote_code=True would run such files")


def _is_served(path: Path) -> bool:
    """A file in which a server looks for code: its name, or its name and folder; Triton's is model.py in "1"."""
    triton = path.name == "model.py" and path.parent.name.isdigit()
    return triton or path.name in SERVED or "/".join(path.parts[-2:]) in SERVED
