"""result.json is what its JSON schema says, for every kind of audit; results of the old schema are still read."""

import json
from importlib.resources import files

import pytest
from tests.report import poisoned, trapped
from tests.report.situations import SITUATIONS

from undertow.storage.results import load_result, result_json, save_result
from undertow.types import METRICS, SCHEMA, StoreError, metric_of

SHAPE = json.loads(files("undertow.storage").joinpath("schemas", "result-2.json").read_text(encoding="utf8"))
RESULTS = {**SITUATIONS, "poisoning": poisoned.build, "judged": poisoned.judged, "datatrap": trapped.several}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_valid(name):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(result_json(RESULTS[name]())), SHAPE)


@pytest.mark.parametrize("name", RESULTS)
def test_required_keys_are_there_and_no_key_is_unknown(name):
    body = json.loads(result_json(RESULTS[name]()))
    assert body["schema"] == SCHEMA == SHAPE["$id"]
    assert set(SHAPE["required"]) <= body.keys() <= SHAPE["properties"].keys()
    row = SHAPE["$defs"]["row"]["required"]
    assert all(set(row) <= m.keys() for m in (*body["measurements"], *body["controls"]))
    assert {m["metric"] for m in (*body["measurements"], *body["controls"])} == body["metrics"].keys()


def test_a_result_of_the_first_schema_is_read_and_rewritten(tmp_path):
    result = poisoned.build()
    old = json.loads(result_json(result))
    del old["metrics"]
    (tmp_path / "result.json").write_text(json.dumps({**old, "schema": "undertow.result/1"}))
    again = load_result(tmp_path)
    assert again.measurements == result.measurements
    save_result(again, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["schema"] == SCHEMA


def test_a_schema_of_the_future_is_refused_in_one_line(tmp_path):
    body = json.loads(result_json(poisoned.build()))
    (tmp_path / "result.json").write_text(json.dumps({**body, "schema": "undertow.result/9"}))
    with pytest.raises(StoreError, match=r"undertow\.result/9") as said:
        load_result(tmp_path)
    assert "\n" not in str(said.value)


def test_a_metric_says_its_direction_or_that_it_has_none():
    assert metric_of("epsilon_lower").higher is True
    assert metric_of("claim_p_value").higher is False
    assert metric_of("accuracy").higher is None
    assert all(metric.gate in ("", "share", "rate", "count", "bound") for metric in METRICS.values())
