"""The settings that `undertow init-config` writes: neutral ones, or those that fit a user's records."""

from pathlib import Path
from typing import Any


def settings_for(audit: str, preset_name: str | None, data: Path | None) -> tuple[Any, str]:
    """What `undertow init-config` prints: the configuration and its heading.

    Without a preset the settings change no record and leave none out; with `data` they fit what lies there.
    """
    config = _configured(audit, preset_name, data)
    command = f"undertow audit {audit} --config THIS-FILE"
    if data is not None or preset_name:
        return config, command
    return config, f"{command} --data YOUR-RECORDS\nThe demonstration on the embedded digits: undertow audit {audit}"


def _configured(name: str, preset_name: str | None, data: Path | None) -> Any:
    from undertow.config import override
    from undertow.workflows.audit import Given
    from undertow.workflows.audits import audit_named
    from undertow.workflows.leakage import AUDITS
    from undertow.workflows.own_data import where

    audit = audit_named(name)
    if name in AUDITS:
        if data is None:
            return audit.configure(Given(preset_name or "folder"))
        config = audit.configure(Given(preset_name, options={"data": {"source": str(data)}}))
        return config if preset_name else _fitting(name, config)
    config = audit.configure(Given(preset_name, options={"data": where(data)} if data is not None else {}))
    plain = name == "poisoning" and preset_name is None and data is None
    return override(config, {"data": {"noise": 0.0}}) if plain else config


def _fitting(audit: str, config: Any) -> Any:
    """The settings with a model that can read the records of their folder."""
    from undertow.config import override
    from undertow.sources.records.datasets import load_supply

    x = load_supply(audit, config.data, config.seed, config.model).secret.x
    shape = x.shape[1:]
    return override(config, {"model": {"kind": "cnn"}}) if len(shape) == 3 and min(shape[1:]) >= 8 else config
