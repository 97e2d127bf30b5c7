"""`undertow audit NAME`, made from an audit's value: the options that every audit has, its own, and its other doors."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from undertow.cli import options as opt
from undertow.cli.options import RUN, Options
from undertow.cli.screen import apply, errors, gates, progress, show
from undertow.types import AuditResult
from undertow.workflows.audit import Audit, Given, Option, Request, plan_audit, run_audit

SHARED: Mapping[str, tuple[Any, Any]] = {
    "seed": (opt.Seed, None), "out": (opt.Out, RUN), "store": (opt.StoreDir, None), "workers": (opt.Workers, 1),
    "plan": (opt.Plan, False), "quiet": (opt.Quiet, False), "include_examples": (opt.Include, False),
}  # fmt: skip
"""Options that every audit has, after its own: name -> (type, default)."""
FIRST: Mapping[str, tuple[Any, Any]] = {
    "preset": (opt.Preset, None), "list_presets": (opt.ListPresets, False), "config": (opt.ConfigFile, None),
}  # fmt: skip
"""And before its own."""


@dataclass(frozen=True)
class Door:
    """Another way into the same command: options of its own, and what answers when they are given."""

    options: Mapping[str, Any] = field(default_factory=dict)  # name -> Annotated type; all optional
    enter: Callable[[Any], bool] = lambda _: False  # True: it did the command's work


def command(audit: Audit, *doors: Door) -> Callable[..., None]:
    """The function that typer makes a command of."""

    def run(**given: Any) -> None:
        options = Options(**given)
        if not any(door.enter(options) for door in doors):
            with errors():
                _run(audit, options)

    others = {name: (kind, None) for door in doors for name, kind in door.options.items()}
    shown = {**FIRST, **_own(audit), **others, **SHARED, "fail_if": (_gate(audit), None)}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=k) for n, (k, d) in shown.items()]
    )
    run.__annotations__ = {name: kind for name, (kind, _) in shown.items()}
    run.__doc__, run.__name__ = audit.about, audit.name
    return run


def _gate(audit: Audit) -> Any:
    return Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", help=f"Exit with 1 if this holds, such as '{audit.gate}', and with 2 if it is undecided."
        ),
    ]


def _own(audit: Audit) -> dict[str, tuple[Any, Any]]:
    """The audit's own options, as typer reads them."""
    return {_parameter(option): _typed(option) for option in audit.options}


def _typed(option: Option) -> tuple[Any, Any]:
    if option.kind is bool:
        return Annotated[bool, typer.Option(f"--{option.name}", help=option.help)], False
    kind: Any = str if option.many else option.kind
    return Annotated[kind | None, typer.Option(f"--{option.name}", help=option.help, min=option.least)], None


def _parameter(option: Option) -> str:
    return option.name.replace("-", "_")


def changes_of(audit: Audit, o: Any) -> dict[str, Any]:
    """What the options of a command set in the configuration; they win over the file."""
    changes: dict[str, Any] = {} if o.seed is None else {"seed": o.seed}
    for option in audit.options:
        value = getattr(o, _parameter(option))
        if value is None or value is False:
            continue
        value = opt.names(value) if option.many else value
        _merge(
            changes, option.sets(value) if callable(option.sets) else _nested(option.sets or _parameter(option), value)
        )
    return changes


def _nested(key: str, value: Any) -> dict[str, Any]:
    """A dotted key as nested tables.

    >>> _nested("data.source", "a.npz")
    {'data': {'source': 'a.npz'}}
    """
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value)} if rest else {first: value}


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _run(audit: Audit, o: Any) -> None:
    if o.list_presets:
        typer.echo("\n".join(audit.presets()))
        return
    config = audit.configure(Given(o.preset, file_of(o.config, audit.name), changes_of(audit, o)))
    conditions = gates(o.fail_if)
    if o.plan:
        typer.echo("\n".join(plan_audit(audit, config, o.workers)))
        return
    with progress(o.quiet) as reporter:
        result = run_audit(audit, config, request_of(o, reporter))
    finish([result], o, conditions)


def request_of(o: Any, reporter: Any) -> Request:
    """Where the options say that an audit runs."""
    return Request(o.out, o.store, o.workers, o.include_examples, reporter)


def finish(results: list[AuditResult], o: Any, conditions: list[Any]) -> None:
    """Show the results and where their page is, and apply the gates."""
    for result in results:
        show(result, o.quiet)
    if not o.quiet:
        typer.echo(f"report: {o.out / 'report.html'}")
    apply(conditions, results)


def file_of(path: Path | None, audit: str) -> dict[str, Any]:
    """The keys of --config, which is a file of this audit; none where no file is given."""
    from undertow.config import of_audit
    from undertow.storage.files import read_toml

    return of_audit(read_toml(path), audit, path) if path else {}
