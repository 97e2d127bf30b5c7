"""What the planner of canaries predicts against real trainings: LoRA on a decoder of 260 thousand parameters.

    python benchmarks/canaries.py --data DIR [--seeds 0 1 ... 9]       DIR holds weights/ and text/

A pilot (128 canaries, one copy, three epochs, seed 100) measures the separation of one pass; the planner then predicts
runs of other sizes, one a seed. Prints a table in Markdown. The learning rate is that of the planner's table.
"""

import argparse
import gzip
import os
import tempfile
import warnings
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, default_data_collator

import undertow.sources.records.stories as stories
from undertow import stream
from undertow.integrations import CanaryAudit, with_canaries
from undertow.integrations.planner import chance_to_show, expected_bound, largest_bound
from undertow.integrations.transformers_hook import CanaryCallback
from undertow.rng import seed_for

LENGTH, ROWS, DELTA, CONFIDENCE = 16, 128, 1e-5, 0.95
DESIGNS = (  # canaries, copies, epochs; the first five mostly reach what can be shown, the others do not
    (64, 1, 6), (128, 1, 4), (128, 2, 3), (256, 1, 3), (256, 1, 6),
    (64, 1, 2), (128, 1, 2), (256, 1, 2), (512, 1, 1), (512, 1, 2),
)  # fmt: skip
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base(folder: Path) -> LlamaForCausalLM:
    tensors, metadata = stories.safe_tensors(folder / stories.STORIES[0])
    raw = stories.json.loads(metadata["config"])
    heads = {"wq": raw["n_heads"], "wk": raw["n_kv_heads"]}
    state = {stories._story_name(n): stories._halves(v, heads.get(n.split(".")[-2])) for n, v in tensors.items()}
    config = {name: value for name, value in stories._story_config(raw).items() if name != "model_type"}
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    return model.float()


def rows(data: Path, tokens: stories.StoryTokens, seed: int) -> list[dict[str, list[int]]]:
    text = gzip.decompress((data / "text" / "tinyshakespeare.txt.gz").read_bytes()).decode()
    ids = [row[:LENGTH] for row in tokens.encode([t for t in text.split("\n\n") if len(t) > 80])]
    chosen = stream(seed, "rows").permutation(len(ids))[:ROWS]
    return [{"input_ids": list(map(int, ids[i])), "labels": list(map(int, ids[i]))} for i in chosen]


def train(data: Path, design: tuple[int, int, int], seed: int, lr: float) -> CanaryAudit:
    canaries, copies, epochs = design
    torch.manual_seed(seed_for(seed, "adapter") % 2**31)
    model, tokens = base(data / "weights"), stories.stories260k(str(data))[2]
    dataset, key = with_canaries(
        rows(data, tokens, seed), canaries, seed, 512, length=LENGTH, repeats=copies, model=model
    )  # fmt: skip
    adapted = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=LAYERS))
    hook = CanaryCallback(key, DELTA, CONFIDENCE, tell=lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, num_train_epochs=epochs, per_device_train_batch_size=16, learning_rate=lr, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True, seed=seed,
            lr_scheduler_type="constant", weight_decay=0.0, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(adapted, settings, train_dataset=dataset, data_collator=default_data_collator, callbacks=[hook]).train()
    if hook.result is None:
        raise SystemExit("the training ended without an audit")
    return hook.result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    pilot = train(given.data, (128, 1, 3), 100, given.lr)
    gain = pilot.separation / 3
    print(f"pilot: separation {pilot.separation:.2f} after 3 passes, {gain:.2f} a pass\n", flush=True)
    names = ("canaries, copies, epochs", "separation predicted", "measured", "bound predicted")
    names += ("bound at the measured separation", "bound measured", "could show", "P(bound > 0)")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    for seed in given.seeds:
        canaries, copies, epochs = design = DESIGNS[seed % len(DESIGNS)]
        told, separation = train(given.data, design, seed, given.lr), gain * copies * epochs
        bounds = [expected_bound(canaries, d, DELTA, CONFIDENCE) for d in (separation, told.separation)]
        chance = chance_to_show(0.0, canaries, separation, DELTA, CONFIDENCE)
        print(
            f"| {canaries}, {copies}, {epochs} | {separation:.2f} | {told.separation:.2f} | {bounds[0]:.2f} "
            f"| {bounds[1]:.2f} | {told.bound.epsilon:.2f} | {largest_bound(canaries, DELTA, CONFIDENCE):.2f} "
            f"| {chance:.2f} |", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
