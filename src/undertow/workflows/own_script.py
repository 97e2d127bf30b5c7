"""A person's own training from the shell: a function in their script, with the records in a file or in the script."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from undertow.audits.own.pool import Pool, as_pool
from undertow.sources.records.record_files import OwnRecords, read_own
from undertow.types import BadInput, ConfigError

PARTS = ("x", "y", "id", "ids", "group", "groups", "features")  # of what a records function may return as a dictionary


def load_function(place: str, option: str) -> Any:
    """The function that `my_script.py:train` or `package.module:train` names; the script is imported once.

    BadInput where it cannot be imported (caused by the user's error), or has no such function.
    """
    where, mark, name = place.rpartition(":")
    if not mark or not where or not name.isidentifier():
        raise ConfigError(f"{option} {place}: write my_script.py:function, or package.module:function")
    module = _module(where, option)
    found = getattr(module, name, None)
    if not callable(found):
        there = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise BadInput(f"{option} {place}: {where} has no function {name!r}; it has: {', '.join(there) or 'none'}")
    return found


def load_pool(data: str | None, drop_duplicates: bool = False) -> Pool:
    """The records of --data: a folder, npz, csv or jsonl, or a function of a script that returns them."""
    if data is None:
        raise ConfigError(
            "--train needs --data: your records as npz (x, y), csv, jsonl, a folder with finetune.npz, or a function "
            "my_script.py:records that returns (x, y)"
        )
    where, _, name = data.rpartition(":")
    if where.endswith(".py") or (name.isidentifier() and where and not Path(data).exists() and len(where) > 1):
        return _called(data, drop_duplicates)
    return pool_of(read_own(Path(data)), drop_duplicates)


def pool_of(own: OwnRecords, drop_duplicates: bool = False) -> Pool:
    """Records of a file as the pool that is audited."""
    return as_pool(
        (own.x, own.y),
        ids=own.ids,
        groups=own.groups,
        features=own.features,
        name=own.name,
        drop_duplicates=drop_duplicates,
    )


def _called(data: str, drop_duplicates: bool) -> Pool:
    function = load_function(data, "--data")
    try:
        found = function()
    except Exception as error:
        raise BadInput(f"--data {data} failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        return as_pool(found, name=data, drop_duplicates=drop_duplicates)
    odd = [key for key in found if key not in PARTS]
    if odd:
        raise BadInput(f"--data {data} returned a dictionary with {odd[0]!r}; known: {', '.join(PARTS)}")
    ids, groups = found.get("id", found.get("ids")), found.get("group", found.get("groups"))
    more = {"ids": ids, "groups": groups, "features": found.get("features")}
    return as_pool({k: found[k] for k in ("x", "y") if k in found}, name=data, drop_duplicates=drop_duplicates, **more)


def _module(where: str, option: str) -> ModuleType:
    try:
        if not where.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(where)
        path = Path(where).resolve()
        if not path.is_file():
            raise BadInput(f"{option} {where}: no such file")
        known = sys.modules.get(path.stem)
        if known is not None and getattr(known, "__file__", None) == str(path):
            return known
        sys.path.insert(0, str(path.parent))  # so that it can import what lies beside it
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise BadInput(f"{option} {where} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(f"{option} {where} cannot be imported: {type(error).__name__}: {error}") from error
