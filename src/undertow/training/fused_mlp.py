"""Many small perceptrons at once: batched products, hand-written backward, momentum inside the GEMM."""

import torch
from torch import Tensor

from undertow.training.stacked import DenseShape, Slope, dense_shape, loss_gradient, stack
from undertow.training.task import Task
from undertow.types import Params


def can_fuse(task: Task) -> bool:
    """Whether the module is a plain chain of dense layers whose every parameter is trained."""
    return (
        not task.bfloat16
        and dense_shape(task.module) is not None
        and all(p.requires_grad for p in task.module.parameters())
    )


@torch.no_grad()
def fused_mlp(task: Task) -> list[Params]:
    """Train all models of the task together; equal to `sequential` up to rounding.

    Keep the number of models small enough that their weights and momenta stay in cache (choose.py).
    """
    shape = dense_shape(task.module)
    if shape is None:
        raise TypeError("fused_mlp trains plain chains of dense layers only")
    weights = [Slope(stack(task.states, layer.weight, task), task.fit) for layer in shape.layers]
    biases = [Slope(stack(task.states, layer.bias, task), task.fit) for layer in shape.layers]
    batches = _Batches(task)
    for s in range(task.schedule.steps):
        x, y = batches.at(s)
        hidden = _forward(shape, weights, biases, x)
        gradient = loss_gradient(hidden.pop(), y, task.weights[s])
        _backward(shape, weights, biases, hidden, gradient, float(task.schedule.lr[s]))
    return [_unstack(shape, weights, biases, m) for m in range(len(task))]


def _forward(shape: DenseShape, weights: list[Slope], biases: list[Slope], x: Tensor) -> list[Tensor]:
    """Inputs of every layer, each (k, B, width), then the logits (k, C, B)."""
    values = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        z = torch.baddbmm(b.value[:, None], values[-1], w.value.transpose(1, 2))
        values.append(z.relu_() if shape.activation == "relu" else z.tanh_())
    values.append(torch.baddbmm(biases[-1].value[:, :, None], weights[-1].value, values[-1].transpose(1, 2)))
    return values


def _backward(
    shape: DenseShape, weights: list[Slope], biases: list[Slope], inputs: list[Tensor], gradient: Tensor, lr: float
) -> None:
    """Walk back from the logits' gradient (k, C, B), stepping each layer once its input's gradient is out."""
    slope = torch.ops.aten.threshold_backward if shape.activation == "relu" else _tanh_backward
    for depth in reversed(range(len(weights))):  # gradient is (k, width out, B) throughout
        earlier = torch.bmm(gradient.transpose(1, 2), weights[depth].value) if depth else None
        weights[depth].step_product(gradient, inputs[depth], lr)
        biases[depth].step(gradient.sum(2), lr)
        if earlier is not None:
            gradient = slope(earlier, inputs[depth], 0).transpose(1, 2)


def _tanh_backward(gradient: Tensor, value: Tensor, _: int) -> Tensor:
    return gradient.addcmul_(gradient * value, value, value=-1)


def _unstack(shape: DenseShape, weights: list[Slope], biases: list[Slope], m: int) -> Params:
    state: Params = {}
    for layer, w, b in zip(shape.layers, weights, biases, strict=True):
        state[layer.weight] = w.value[m].cpu().numpy().copy()
        state[layer.bias] = b.value[m].cpu().numpy().copy()
    return state


class _Batches:
    """Step s of every model as one tensor (k, B, D), gathered into the same memory each time."""

    def __init__(self, task: Task) -> None:
        self.task = task
        flat = task.x.flatten(2) if task.own_x else task.x.flatten(1)
        count, size = len(task), flat.shape[-2]
        self.table = flat.reshape(-1, flat.shape[-1])
        offset = torch.arange(count, device=task.device).view(1, -1, 1) * size if task.own_x else 0
        self.index = (task.rows + offset).expand(task.schedule.steps, count, task.rows.shape[-1])
        self.labels = task.y[task.rows].expand(self.index.shape)
        batch = task.rows.shape[-1]
        self.out = self.table.new_empty((count * batch, self.table.shape[-1]))
        self.shape = task.x.shape[2 if task.own_x else 1 :]
        self.augment = [task.augmentation(m) for m in range(count)] if task.fit.augmented else []

    def at(self, s: int) -> tuple[Tensor, Tensor]:
        task = self.task
        torch.index_select(self.table, 0, self.index[s].reshape(-1), out=self.out)
        x = self.out.view(len(task), -1, self.table.shape[-1])
        for m, augment in enumerate(self.augment):
            x[m] = augment(x[m].view(-1, *self.shape)).flatten(1)
        return x, self.labels[s]
