"""The settings that `undertow init-config` writes: neutral ones, or those that fit a user's records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from undertow.types import ConfigError


def settings_for(audit: str, preset_name: str | None, data: Path | None) -> tuple[Any, str]:
    """What `undertow init-config` prints: the configuration and its heading.

    Without a preset the settings change no record and leave none out; with `data` they fit what lies there.
    """
    config = _configured(audit, preset_name, data)
    command = f"undertow audit {audit} --config THIS-FILE"
    if data is not None or preset_name:
        return config, command
    return config, f"{command} --data YOUR-RECORDS\nThe demonstration on the embedded digits: undertow audit {audit}"


def _configured(audit: str, preset_name: str | None, data: Path | None) -> Any:
    from undertow.config import override
    from undertow.workflows import audit as leakage
    from undertow.workflows import datatrap, dp, poisoning

    others: Mapping[str, Any] = {
        "poisoning": poisoning.configure, "datatrap": datatrap.configure, "dp": dp.configure,
    }  # fmt: skip
    if audit in others:
        where = {"data": poisoning.where(data)} if data is not None else {}
        config = others[audit](preset_name, {}, where)
        plain = audit == "poisoning" and preset_name is None and data is None
        return override(config, {"data": {"noise": 0.0}}) if plain else config
    if audit not in leakage.AUDITS:
        raise ConfigError(f"no audit {audit!r}; there are: {', '.join((*leakage.AUDITS, *others))}")
    if data is None:
        return leakage.configure(audit, preset_name or "folder", {}, {})
    config = leakage.configure(audit, preset_name, {}, {"data": {"source": str(data)}})
    return config if preset_name else _fitting(audit, config)


def _fitting(audit: str, config: Any) -> Any:
    """The settings with a model that can read the records of their folder."""
    from undertow.config import override
    from undertow.sources.records.datasets import load_supply

    x = load_supply(audit, config.data, config.seed, config.model).secret.x
    shape = x.shape[1:]
    return override(config, {"model": {"kind": "cnn"}}) if len(shape) == 3 and min(shape[1:]) >= 8 else config
