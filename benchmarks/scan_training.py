"""Benign networks in seconds: the trainers and the changes behind `scan_corpus.py`.

The functions read `OPTIONS` (data, out, minilm), which `scan_corpus.py` sets from its command line.
"""

import argparse
import gzip
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from undertow.audits.datatrap.settings import TrapData
from undertow.models.cnn import Cnn
from undertow.models.resnet import ResNet
from undertow.quantise import round_rows
from undertow.sources.records.trap_data import load_traps
from undertow.types import Params

Net = Callable[..., torch.Tensor]
OPTIONS = argparse.Namespace()


def params_of(net: nn.Module) -> Params:
    return {name: value.detach().float().numpy().copy() for name, value in net.state_dict().items()}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    raw = load_digits()
    return torch.tensor(raw.data / 16, dtype=torch.float32), torch.tensor(raw.target)


def cifar() -> tuple[torch.Tensor, torch.Tensor]:
    path = OPTIONS.out / "cifar.npz"
    if not path.is_file():
        small = TrapData("cifar10", folder=str(OPTIONS.data), auxiliary=3000, victim=100, test=100)
        found = load_traps(small, 7).auxiliary
        np.savez(path, x=found.x, y=found.y)
    kept = np.load(path)
    return torch.tensor(kept["x"]) * 4 - 2, torch.tensor(kept["y"])


def shakespeare(length: int = 64) -> torch.Tensor:
    raw = gzip.decompress((OPTIONS.data / "text" / "tinyshakespeare.txt.gz").read_bytes())
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


def train(
    net: nn.Module, kind: str, loss: Callable[[torch.Tensor], torch.Tensor], records: int, steps: int, batch: int
):
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


def pruned(params: Params, share: float, whole_rows: bool = False) -> Params:
    """Magnitude pruning of single weights, or of whole units."""
    result = {}
    for name, value in params.items():
        size = np.abs(value)
        if value.ndim >= 2 and whole_rows and len(value) > 16:
            size = np.broadcast_to(
                np.linalg.norm(value.reshape(len(value), -1), axis=1).reshape(-1, *[1] * (value.ndim - 1)), value.shape
            )
        result[name] = np.where(size > np.quantile(size, share), value, 0) if value.ndim >= 2 else value
    return result


def quantised(params: Params, how: str) -> Params:
    """Weights through few bits and back."""
    if how == "bf16":
        return {name: torch.tensor(value).bfloat16().float().numpy() for name, value in params.items()}
    bits = int(how.removeprefix("int"))
    return {
        n: round_rows(v.reshape(len(v), -1), bits).reshape(v.shape) if v.ndim >= 2 else v for n, v in params.items()
    }


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


def adapter(family: str, kind: str, rank: int = 8) -> Params:
    """The adapters alone, as peft stores them, of a model that was trained before."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    names = {"gpt": ["c_attn", "c_fc", "c_proj"], "llama": ["q_proj", "v_proj", "up_proj", "gate_proj", "down_proj"],
             "bert": ["query", "value", "dense"], "mlp": ["0", "2"]}  # fmt: skip
    size = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names[family], fan_in_fan_out=family == "gpt")
    if family == "mlp":
        x, y = digits()
        net = perceptron()
        train(net, "momentum", lambda i: cross_entropy(net(x[i]), y[i]), len(x), 800, 64)
        tuned = get_peft_model(net, size)
        train(tuned, kind, lambda i: cross_entropy(tuned(x[i]), (y[i] + 1) % 10), len(x), 600, 64)
    else:
        ids, net = shakespeare(), decoder_or_encoder(family)
        train(net, "adamw", lambda i: net(input_ids=ids[i], labels=ids[i]).loss, len(ids), 150, 16)
        tuned, other = get_peft_model(net, size), ids.flip(1)
        train(tuned, kind, lambda i: tuned(input_ids=other[i], labels=other[i]).loss, len(ids), 100, 16)
    return {n: v.detach().float().numpy().copy() for n, v in get_peft_model_state_dict(tuned).items()}


class Recurrent(nn.Module):
    """Embeddings, two recurrent layers, a head."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 64)
        self.cell = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](64, 128, 2, batch_first=True)
        self.head = nn.Linear(128, 256)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(self.embedding(ids))[0])


def recurrent(cell: str, kind: str) -> Params:
    ids, net = shakespeare(32), Recurrent(cell)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return cross_entropy(net(ids[rows, :-1]).flatten(0, 1), ids[rows, 1:].flatten())

    return params_of(train(net, kind, loss, len(ids), 200, 16))


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
    changes = {
        "pruned": lambda: pruned(params, 0.5),
        "int8": lambda: quantised(params, "int8"),
        "bf16": lambda: quantised(params, "bf16"),
        "lora": lambda: lora_merged(params),
    }
    return changes[change]() if change in changes else params


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
