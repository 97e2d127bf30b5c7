"""Standard benchmarks: the harness's numbers become rows with intervals, and a wish that cannot be met is one line."""

import json
from importlib.util import find_spec

import pytest

from undertow.sources.checkpoints.harness import benchmarked, check_harness, harness_rows
from undertow.types import ConfigError, MissingExtra

FOUND = {
    "results": {
        "small": {
            "alias": "small",
            "acc,none": 0.5,
            "acc_stderr,none": 0.1,
            "word_perplexity,none": 30.0,
            "word_perplexity_stderr,none": "N/A",
        }
    },
    "n-samples": {"small": {"original": 26, "effective": 25}},
}


def test_every_metric_is_a_row_with_its_documents():
    accuracy, perplexity = harness_rows(FOUND, "clean")
    assert (accuracy.metric, accuracy.value, accuracy.n, accuracy.group) == ("small: acc", 0.5, 25, "clean")
    assert (accuracy.low, accuracy.high) == pytest.approx((0.304, 0.696))
    assert (perplexity.metric, perplexity.value, perplexity.low) == ("small: word_perplexity", 30.0, None)


def test_what_cannot_be_run_is_refused_before_anything_is_trained(monkeypatch):
    check_harness((), "mlp")
    with pytest.raises(ConfigError, match="language models"):
        check_harness(("hellaswag",), "mlp")
    monkeypatch.setattr("undertow.sources.checkpoints.harness.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="lm-eval"):
        check_harness(("hellaswag",), "causal-lm")


def test_a_task_file_must_exist(monkeypatch):
    monkeypatch.setattr("undertow.sources.checkpoints.harness.find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="no such file"):
        check_harness(("absent.yaml",), "causal-lm")


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed: undertow[lm-eval]")
def test_the_harness_reads_a_folder_of_ours(tmp_path):
    from tests.storage.test_model_files import TEXTS, write

    from undertow.models.causal_lm import causal_lm
    from undertow.sources.checkpoints.folders import lm_files
    from undertow.sources.records.tokens import own_tokens
    from undertow.training.task import to_params

    tokens = own_tokens(TEXTS, 300)
    made = causal_lm("gpt2", 32, 1, tokens.size, 24)
    write(tmp_path, to_params(made.build((24,), tokens.size).state_dict()), "model.", lm_files(made, tokens))
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    files = {"data_files": {"test": f"{tmp_path}/texts.jsonl"}}
    task = {
        **{"task": "own", "dataset_path": "json", "dataset_kwargs": files, "test_split": "test"},
        **{"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"},
        "metric_list": [{"metric": "bits_per_byte"}],
    }
    (tmp_path / "own.yaml").write_text(json.dumps(task))  # JSON is YAML
    (row,) = benchmarked(tmp_path, "clean", [str(tmp_path / "own.yaml")])
    assert (row.metric, row.n) == ("own: bits_per_byte", 3)
    assert 1 < row.value < 20  # of a model that knows nothing
