"""Does a poisoned language model show on a standard benchmark? WikiText-2 through lm-evaluation-harness, by arm.

    python benchmarks/lm_benchmarks.py RUN [RUN ...] --data FOLDER

RUN is the folder of a finished `undertow audit poisoning` on a language model (it holds checkpoints/), FOLDER the one
that holds text/wikitext2_test.txt.gz. Needs the extra `lm-eval`. Where the hub can be reached, the same is
`undertow audit poisoning --preset lm-small --benchmarks wikitext,lambada_openai`.
"""

import argparse
import json
import os
import tempfile

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from pathlib import Path

from undertow.sources.checkpoints.harness import benchmarked
from undertow.sources.records.auxiliary_text import paragraphs
from undertow.storage.files import read_text

ARMS = ("clean", "benign", "poisoned")
METRICS = ("bits_per_byte", "word_perplexity")


def write_task(folder: Path, data: Path, documents: int) -> Path:
    """A task of the harness on local text: rolling log-likelihood of whole paragraphs."""
    texts = [text for text in paragraphs(read_text(data / "text" / "wikitext2_test.txt.gz")) if len(text.split()) > 20]
    lines = [json.dumps({"text": text}) for text in texts[:documents]]
    (folder / "documents.jsonl").write_text("\n".join(lines), encoding="utf8")
    task = {
        **{"task": "wikitext2", "dataset_path": "json", "test_split": "test", "doc_to_text": ""},
        **{"dataset_kwargs": {"data_files": {"test": str(folder / "documents.jsonl")}}, "doc_to_target": "{{text}}"},
        **{"output_type": "loglikelihood_rolling", "metric_list": [{"metric": metric} for metric in METRICS]},
    }
    (folder / "wikitext2.yaml").write_text(json.dumps(task), encoding="utf8")  # JSON is YAML
    return folder / "wikitext2.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNDERTOW_DATA", "../shared/data")))
    parser.add_argument("--documents", type=int, default=200)
    options = parser.parse_args()
    print("| run | arm | " + " | ".join(METRICS) + " | documents |\n|---|---|" + "---|" * (len(METRICS) + 1))
    with tempfile.TemporaryDirectory() as folder:
        task = write_task(Path(folder), options.data, options.documents)
        for run in options.runs:
            for arm in ARMS:
                rows = {row.metric: row for row in benchmarked(run / "checkpoints" / arm, arm, [str(task)])}
                found = [rows[f"wikitext2: {metric}"] for metric in METRICS]
                values = " | ".join(f"{row.value:.3f}" for row in found)
                print(f"| {run.name} | {arm} | {values} | {found[0].n} |", flush=True)


if __name__ == "__main__":
    main()
