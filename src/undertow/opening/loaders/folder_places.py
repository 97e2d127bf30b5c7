"""Files that are code, by their place: what a server, torch.hub or transformers looks for under a fixed name."""

from collections.abc import Collection, Mapping
from pathlib import Path

from undertow.opening.reading import Reading

LIBRARIES = (".so", ".pyd", ".dll", ".dylib")
SERVED = ("bentofile.yaml", "bento.yaml", "MAR-INF/MANIFEST.json", "model-config.yaml", "service.py")


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
    elif path.name in SERVED and path.parent in weighed:
        reading.stop("serving-handler", "it says which code a server runs when the folder is deployed")
    elif suffix in (".py", ".pyc"):
        reading.say("code", "warning", "it is code; a loader that is told trust_remote_code=True would run such files")
