"""A configuration is refused in one clear line, or means exactly what it says."""

import tomllib

import pytest

pytest.importorskip("torch")
from undertow.audits.membership.presets import PRESETS, preset
from undertow.audits.settings import LeakageConfig
from undertow.config import override, to_dict, to_toml
from undertow.storage.files import read_toml
from undertow.types import ConfigError
from undertow.workflows.audit import Given
from undertow.workflows.leakage import TMI, split_tables


@pytest.mark.parametrize(("audit", "name"), [(audit, name) for audit, known in PRESETS.items() for name in known])
def test_a_printed_configuration_reads_back_as_itself(audit, name):
    config = preset(audit, name)
    text = to_toml(config, "heading\nof two lines")
    assert override(LeakageConfig(), tomllib.loads(text)) == config


def test_every_key_is_explained():
    for line in to_toml(preset("tmi", "digits"), "x").splitlines():
        if "=" in line:
            assert "# " in line, line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shadow": 8}, "unknown key 'shadow'; did you mean 'shadows'"),
        ({"data": {"pol": 8}}, "unknown key 'data.pol'; did you mean 'data.pool'"),
        ({"shadows": "64"}, "shadows = '64'"),
        ({"shadows": 64.5}, "shadows = 64.5"),
        ({"pretrain": {"optimizer": "adam"}}, "pretrain.optimizer = 'adam'.*sgd.*adamw"),
        ({"pretrain": 3}, "pretrain is a table"),
        ({"views": 0}, "views"),
        ({"model": {"hidden": [0]}}, "width"),
        ({"data": {"label_noise": 1.5}}, "share"),
        ({"finetune": {"momentum": 1.0}}, "momentum"),
        ({"finetune": {"epochs": -1}}, "epochs"),
    ],
)
def test_a_wrong_key_or_type_is_one_line_that_names_it(changes, says):
    with pytest.raises(ConfigError, match=says) as error:
        override(preset("tmi", "digits"), changes)
    assert "\n" not in str(error.value)


def test_options_win_over_the_file_and_the_file_over_the_preset():
    config = TMI.configure(Given(None, {"shadows": 8, "views": 2}, {"shadows": 16}))
    assert (config.shadows, config.views, config.data.pool) == (16, 2, 400)


def test_own_data_starts_from_settings_without_label_noise():
    config = TMI.configure(Given(options={"data": {"source": "somewhere"}}))
    assert (config.data.label_noise, config.data.pool, config.data.source) == (0.0, 0, "somewhere")
    assert TMI.configure(Given(file={"data": {"source": "x"}})).data.label_noise == 0.0


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ConfigError, match="digits, folder"):
        TMI.configure(Given("mnist"))


def test_a_file_that_is_not_toml_or_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_toml(tmp_path / "x.toml")
    (tmp_path / "x.toml").write_text("a = = 2")
    with pytest.raises(ConfigError, match=r"x.toml.*line 1"):
        read_toml(tmp_path / "x.toml")


def test_a_file_for_both_audits_holds_their_tables():
    assert split_tables({"mia": {"seed": 1}})["tmi"] == {}
    with pytest.raises(ConfigError, match="shadows"):
        split_tables({"shadows": 8})


def test_plain_data_has_no_surprises():
    assert to_dict(preset("mia", "digits"))["model"]["hidden"] == [128, 128]
