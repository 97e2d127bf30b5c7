"""A user's module: its answer is unwrapped, its head is the layer that answers, its order is that of running."""

from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

from undertow.audits.chain import Host, Workshop
from undertow.audits.membership.presets import preset
from undertow.audits.settings import EngineSettings, LeakageConfig, ModelSettings
from undertow.config import override
from undertow.models.architecture import factory, head_name, initial_state
from undertow.stages.strategies import freeze_all_but_last
from undertow.types import ConfigError

SHAPE, CLASSES = (6,), 3


class Net(nn.Module):
    """The head is registered before the body, and a second head is registered after it."""

    def __init__(self, classes, answer):
        super().__init__()
        self.head = nn.Linear(5, classes)
        self.body = nn.Linear(6, 5)
        self.unused = nn.Linear(5, classes)
        self.answer = answer

    def forward(self, x):
        return self.answer(self.head(torch.relu(self.body(x))))


class Output(OrderedDict):
    """As transformers' ModelOutput: a dictionary whose values are attributes too."""


class Answer:
    def __init__(self, logits):
        self.logits = logits


def plain(shape, classes):
    return Net(classes, lambda z: z)


def dictionary(shape, classes):
    return Net(classes, lambda z: {"hidden": z.new_zeros(len(z), 9), "logits": z})


def model_output(shape, classes):
    return Net(classes, lambda z: Output(loss=z.mean(), logits=z))


def pair(shape, classes):
    return Net(classes, lambda z: (z.mean(), z))


def thing(shape, classes):
    return Net(classes, Answer)


def probabilities(shape, classes):
    return Net(classes, lambda z: z.softmax(1))


def one_number(shape, classes):
    return Net(1, lambda z: z[:, 0])


def nothing(shape, classes):
    return Net(classes, lambda z: {"loss": z.mean()})


def convolutional(shape, classes):
    return nn.Sequential(OrderedDict(
        wide=nn.Unflatten(1, (6, 1)), last=nn.Conv1d(6, classes, 1), flat=nn.Flatten()))  # fmt: skip


def wrong_width(shape, classes):
    return nn.Linear(7, classes)


def tokens(shape, classes):
    return nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(24, classes))


def lazy(shape, classes):
    return nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(classes))


@pytest.mark.parametrize("make", [dictionary, model_output, pair, thing])
def test_what_is_answered_is_unwrapped(make):
    state = initial_state(factory(plain), SHAPE, CLASSES, 0)
    x = torch.randn(4, 6)
    answers = []
    for function in (plain, make):
        module = factory(function).build(SHAPE, CLASSES)
        module.load_state_dict(state)
        answers.append(module(x))
    torch.testing.assert_close(*answers, rtol=0, atol=0)
    assert initial_state(factory(make), SHAPE, CLASSES, 0).keys() == state.keys()  # no name has changed


@pytest.mark.parametrize("make", [plain, dictionary, pair])
def test_the_head_is_the_layer_that_answers(make):
    assert head_name(factory(make).build(SHAPE, CLASSES)) == "head"
    assert head_name(Net(CLASSES, lambda z: z)) == "unused"  # what order of registration would say


def test_the_last_layers_are_those_that_run_last():
    module = factory(plain).build(SHAPE, CLASSES)
    freeze_all_but_last(module, 1)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert trained == {"head.weight", "head.bias"}


def test_a_head_that_is_named():
    module = factory(convolutional, "last").build(SHAPE, CLASSES)
    assert head_name(module) == "last"
    with pytest.raises(ConfigError, match=r"model.head = 'nope' is no part of .*; its layers are body, head"):
        factory(plain, "nope").build(SHAPE, CLASSES)
    with pytest.raises(ConfigError, match="has no parameters that answer"):
        factory(plain, "unused").build(SHAPE, CLASSES)


def test_a_model_without_a_dense_head_is_told_what_to_do():
    module = factory(convolutional).build(SHAPE, CLASSES)  # to train it from scratch no head is needed
    with pytest.raises(ConfigError, match=r"'last', is a Conv1d.*model.head = '...'.*strategy = 'full'"):
        head_name(module)


@pytest.mark.parametrize(
    ("make", "classes", "says"),
    [
        (probabilities, 3, "answers probabilities; leave the softmax out"),
        (one_number, 2, r"shape \(2,\) for 2 records; logits of shape \(N, 2\).*of two classes both need a logit"),
        (nothing, 3, r"answers a dictionary of loss; logits of shape \(N, 3\) are needed"),
        (wrong_width, 3, r"cannot read records of shape \(6,\)"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(make, classes, says):
    with pytest.raises(ConfigError, match=says) as caught:
        factory(make).build(SHAPE, classes)
    assert "\n" not in str(caught.value)


def test_models_of_token_ids_and_lazy_models_are_run_too():
    assert head_name(factory(tokens).build(SHAPE, CLASSES)) == "2"
    assert head_name(factory(lazy).build(SHAPE, CLASSES)) == "2"
    assert initial_state(factory(lazy), SHAPE, CLASSES, 0)["0.weight"].shape == (4, 6)


def test_a_head_goes_with_a_factory():
    with pytest.raises(ConfigError, match=r"goes with model.factory"):
        override(LeakageConfig(), {"model": {"head": "fc"}})
    assert ModelSettings(factory="a:b", head="fc").head == "fc"


@pytest.mark.parametrize("strategy", ["linear", "last-k", "full", "lora"])
def test_every_strategy_finetunes_such_a_model(strategy):
    """The body of a `linear` model stays bit-identical, and the head that answers is the one that is trained."""
    if strategy == "lora":
        pytest.importorskip("peft")
    from undertow.audits.supply import Supply
    from undertow.engine.design import Design
    from undertow.engine.executor import Serial
    from undertow.rng import stream
    from undertow.storage.store import MemoryStore
    from undertow.training.task import to_params
    from undertow.types import Examples

    rng = stream(0, "records")
    some = Examples(rng.normal(size=(20, 6)).astype(np.float32), rng.integers(3, size=20), "some")
    supply = Supply("some", some, some, None, tuple(map(str, range(20))))
    model = ModelSettings(factory=f"{__name__}:dictionary")
    config = override(preset("mia", "folder"), {"strategy": strategy, "shadows": 4, "victims": 1, "last_layers": 1})
    config = override(config, {"finetune": {"epochs": 2}, "engine": {"name": "sequential"}})
    object.__setattr__(config, "model", model)
    workshop = Workshop(config, supply, Host(MemoryStore(), Serial()))
    slots = Design(0, 20, 4, 1, 20).slots("shadow")[:1]
    stage, _ = workshop.finetune(some, slots)
    base = to_params(initial_state(factory(dictionary), SHAPE, CLASSES, 1))
    (after,) = stage(slots, [base], workshop.store)
    assert not np.array_equal(after["head.weight"], base["head.weight"])
    if strategy in ("linear", "last-k"):
        np.testing.assert_array_equal(after["body.weight"], base["body.weight"])
    assert EngineSettings().name == "auto"
