"""Scores first: audit three public CIFAR-10 models from their saved logits alone. Nothing is trained, no torch.

    python examples/score_reference_logits.py [FOLDER]

FOLDER holds reference_logits.npz (NAME_train and NAME_test, (N, 10) each) and labels.npz (y_train, y_test). All
three models were trained on the whole official training split, so its images are members and the test images are
not. Any model of yours fits the same three arrays: `member`, `logits`, `labels`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

default = Path(os.environ.get("UNDERTOW_DATA", Path(__file__).parents[2] / "shared" / "data")) / "cifar10"
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
if not (folder / "reference_logits.npz").is_file():
    sys.exit(print(f"skipped: no reference_logits.npz in {folder}; name its folder as the first argument"))

logits, labels = np.load(folder / "reference_logits.npz"), np.load(folder / "labels.npz")
count = len(labels["y_train"])
for model in ("resnet20", "resnet56", "mlperf_resnet8"):
    outputs = np.concatenate([logits[f"{model}_train"], logits[f"{model}_test"]])
    with tempfile.TemporaryDirectory() as scratch:
        signals = Path(scratch) / f"{model}.npz"
        np.savez(
            signals,
            member=(np.arange(len(outputs)) < count)[None],  # (1 model, N examples)
            logits=outputs[None],  # (1 model, N examples, 10 classes)
            labels=np.concatenate([labels["y_train"], labels["y_test"]]).astype(int),
        )
        print(f"== {model}", flush=True)
        command = [sys.executable, "-m", "undertow", "score", signals, "--attack", "loss,margin,confidence"]
        subprocess.run(command, check=True)
