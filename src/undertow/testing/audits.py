"""What an audit must keep: a checked configuration, refusals before a file, runs that resume, results that are read."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from undertow.config import AUDIT, of_audit, to_toml
from undertow.report.reading import page_of
from undertow.report.text import summary
from undertow.storage.results import load_result
from undertow.types import AuditError, AuditResult, ConfigError, StoreError
from undertow.workflows.audit import Audit, Given, Request, plan_audit, run_audit


class AuditContract:
    """Inherit it and give a fixture `audit`; `small` are settings with which it runs in seconds.

    `refused` are settings that only the records can refuse (more models than there are records for, a folder that is
    not there): the run must end before it writes anything.
    """

    small: ClassVar[Mapping[str, Any]] = {}
    refused: ClassVar[Mapping[str, Any] | None] = None
    presets: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def audit(self) -> Audit:
        """The audit to test."""
        raise NotImplementedError("give a fixture `audit`")

    def config(self, audit: Audit, **changes: Any) -> Any:
        """The small configuration, changed."""
        return audit.configure(Given(options={**self.small, **changes}))

    def test_it_is_declared_well(self, audit: Audit) -> None:
        assert audit.name
        assert audit.name == audit.name.lower().strip()
        assert not set(audit.name) & set(" ,:;/\n")
        assert audit.about.split("\n")[0].strip()
        options = [option.name for option in audit.options]
        assert len(options) == len(set(options))
        assert all(option.help.strip() for option in audit.options)

    def test_a_configuration_goes_through_toml_and_back(self, audit: Audit) -> None:
        config = self.config(audit)
        written = tomllib.loads(to_toml(config, "a heading", audit.name))
        assert written[AUDIT] == audit.name
        assert audit.configure(Given(file=of_audit(written, audit.name, "file"))) == config
        with pytest.raises(ConfigError):
            of_audit(written, "another audit", "file")

    def test_a_key_that_is_none_is_refused_and_named(self, audit: Audit) -> None:
        with pytest.raises(ConfigError, match="no_such_key"):
            audit.configure(Given(file={"no_such_key": 1}))

    def test_the_seed_is_a_setting(self, audit: Audit) -> None:
        assert self.config(audit, seed=7).seed == 7

    def test_presets_load_and_others_are_refused(self, audit: Audit) -> None:
        lines = "\n".join(audit.presets())
        for name in self.presets:
            assert name in lines
            audit.configure(Given(preset=name))
        if lines:
            with pytest.raises(ConfigError, match="no-such-preset"):
                audit.configure(Given(preset="no-such-preset"))

    def test_what_is_refused_is_refused_before_a_file_is_written(self, audit: Audit, tmp_path: Path) -> None:
        if self.refused is None:
            pytest.skip("no settings are given that the records refuse")
        out = tmp_path / "run"
        with pytest.raises(AuditError) as refusal:
            run_audit(audit, self.config(audit, **self.refused), Request(out))
        assert "\n" not in str(refusal.value)
        assert not out.exists()

    def test_a_plan_is_lines_and_writes_nothing(
        self, audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        lines = plan_audit(audit, self.config(audit))
        assert lines[0].startswith(f"{audit.name}: ")
        assert not list(tmp_path.iterdir())

    def test_a_run_resumes_with_the_same_result_and_is_read(self, audit: Audit, tmp_path: Path) -> None:
        """Twice in one folder, in another one with the same store, and in one of its own."""
        config, out = self.config(audit), tmp_path / "run"
        first = run_audit(audit, config, Request(out))
        self._read(first, out)
        entries = stored(out / "store")
        again = run_audit(audit, config, Request(out))
        elsewhere = run_audit(audit, config, Request(tmp_path / "other", store=out / "store"))
        assert stored(out / "store") == entries, "a finished run made something anew"
        fresh = run_audit(audit, config, Request(tmp_path / "fresh"))
        for result in (again, elsewhere, fresh):
            assert numbers(result) == numbers(first)
        with pytest.raises(StoreError):
            run_audit(audit, self.config(audit, seed=config.seed + 1), Request(out))
        assert numbers(load_result(out)) == numbers(first)

    def _read(self, result: AuditResult, out: Path) -> None:
        """What was saved is the result, and gives the same text and page years later."""
        loaded = load_result(out)
        assert numbers(loaded) == numbers(result)
        assert (loaded.audit, loaded.seed) == (result.audit, result.seed)
        assert loaded.config == result.config
        assert summary(loaded).strip()
        assert page_of(loaded) == page_of(load_result(out))
        assert (out / "report.html").read_text(encoding="utf8").startswith("<!")


def stored(folder: Path) -> set[str]:
    """The entries of a store on disk, by the paths of their files."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")}


def numbers(result: AuditResult) -> tuple[Any, ...]:
    """What was measured, without the time that it took."""
    return tuple(replace(row) for row in (*result.measurements, *result.controls))
