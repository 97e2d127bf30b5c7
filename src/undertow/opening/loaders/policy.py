"""Which rules count, and how much: --ignore, and a file of severities. The file is named by the user, never found."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from undertow.opening.opened import OpenedFile
from undertow.scanner.findings import Finding, Severity
from undertow.scanner.rules import Rule, by_code, by_kind, code_of
from undertow.types import BadInput, ConfigError


@dataclass(frozen=True)
class Policy:
    """Kinds of findings that do not count, and the severities of others. ConfigError for rules that must count."""

    ignore: frozenset[str] = frozenset()  # kinds
    severity: Mapping[str, Severity] = field(default_factory=dict)  # by kind

    def findings(self, found: Iterable[Finding]) -> list[Finding]:
        """The findings as the policy weighs them; what is ignored is kept as information, and says so."""
        return [self._weighed(one) for one in found]

    def _weighed(self, one: Finding) -> Finding:
        if one.kind in self.ignore and one.severity != "info":
            text = f"{one.explanation} (ignored: {code_of(one.kind)})"
            return replace(one, severity="info", explanation=text)
        return replace(one, severity=self.severity.get(one.kind, one.severity))

    def files(self, files: Iterable[OpenedFile]) -> tuple[OpenedFile, ...]:
        """The files without the doubts that do not count."""
        quiet = self.ignore | {kind for kind, severity in self.severity.items() if severity == "info"}
        return tuple(_without(file, quiet) for file in files)

    def without(self, kinds: Iterable[str]) -> "Policy":
        """The policy with more kinds ignored."""
        return replace(self, ignore=self.ignore | set(kinds))


def _without(file: OpenedFile, quiet: Iterable[str]) -> OpenedFile:
    left = tuple(kind for kind in file.doubts if kind not in quiet)
    return replace(file, doubts=left, complete=not left) if left != file.doubts else file


def policy(ignore: Sequence[str] = (), rules: Path | None = None) -> Policy:
    """The policy of --ignore and of a file of rules (TOML: ignore = [...], a table [severity]).

    BadInput where the file is none or names a rule that does not exist; ConfigError for a rule that must count.
    """
    table = _table(rules) if rules else {}
    listed = table.get("ignore", [])
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise BadInput(f'{rules}: ignore must be a list of codes, such as ignore = ["UT202"]')
    severity = table.get("severity", {})
    if not isinstance(severity, dict) or not set(map(str, severity.values())) <= set(get_args(Severity)):
        raise BadInput(f"{rules}: [severity] gives codes one of {', '.join(get_args(Severity))}")
    weights = {_rule(name).kind: value for name, value in severity.items() if value != "critical"}
    worse = {_rule(name, any_rule=True).kind: value for name, value in severity.items() if value == "critical"}
    return Policy(frozenset(_rule(name).kind for name in (*ignore, *listed)), {**weights, **worse})


def _table(path: Path) -> dict[str, object]:
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise BadInput(f"--rules {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"--rules {path} is no TOML: {error}") from error
    if odd := sorted(set(found) - {"ignore", "severity"}):
        raise BadInput(f"--rules {path}: {odd[0]!r} is no key of it; there are ignore and [severity]")
    return found


def _rule(name: str, any_rule: bool = False) -> Rule:
    rule = by_code().get(name.upper()) or by_kind().get(name)
    if rule is None:
        raise BadInput(f"{name!r} is no rule of a scan; docs/scan_rules.md lists them, such as UT202 or auto-map")
    if rule.fixed and not any_rule:
        raise ConfigError(f"{rule.code} {rule.kind} cannot be ignored or lowered: {rule.about}")
    return rule
