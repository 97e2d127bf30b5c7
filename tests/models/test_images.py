"""Convolutional architectures: sizes known from the paper, shapes that hold, refusals."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn

from undertow.audits.settings import ModelSettings
from undertow.models.architecture import Mlp, head_name
from undertow.models.choose import architecture_of
from undertow.models.cnn import Cnn
from undertow.models.resnet import BLOCKS, ResNet
from undertow.types import ConfigError


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("architecture", [Cnn, ResNet])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (2, 5, 9)])
def test_logits_have_the_shape_asked_for(architecture, norm, shape):
    module = architecture(width=8, norm=norm).build(shape, 7)
    assert module(torch.randn(4, *shape)).shape == (4, 7)
    wanted = nn.GroupNorm if norm == "group" else nn.BatchNorm2d
    norms = {type(part) for part in module.modules()} & {nn.GroupNorm, nn.BatchNorm2d}
    assert norms == {wanted}
    assert module.get_submodule(head_name(module)).out_features == 7


def test_cnn_doubles_its_channels_and_stops_pooling_at_one_pixel():
    module = Cnn(4, depth=5).build((3, 8, 8), 2)
    convolutions = [part for part in module if isinstance(part, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [4, 8, 16, 32, 64]
    assert sum(isinstance(part, nn.MaxPool2d) for part in module) == 3
    assert module[:-3](torch.zeros(1, 3, 8, 8)).shape == (1, 64, 1, 1)


def test_stride_quarters_the_first_map():
    first = Cnn(4, stride=2).build((3, 32, 32), 2)[0]
    assert first(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 16, 16)


def test_group_norm_takes_any_width():
    groups = [part.num_groups for part in Cnn(12).build((3, 8, 8), 2) if isinstance(part, nn.GroupNorm)]
    assert groups == [6, 8, 8]


@pytest.mark.parametrize(
    ("depth", "width", "parameters"),
    [(20, 16, 269_722), (56, 16, 853_018), (18, 64, 11_173_962), (34, 64, 21_282_122)],
)
def test_resnet_has_the_published_number_of_parameters(depth, width, parameters):
    assert count(ResNet(depth, width, "batch").build((3, 32, 32), 10)) == parameters


@pytest.mark.parametrize("depth", BLOCKS)
def test_resnet_has_as_many_layers_as_its_depth_says(depth):
    module = ResNet(depth, 8).build((3, 8, 8), 2)
    layers = [p for p in module.modules() if isinstance(p, nn.Linear) or getattr(p, "kernel_size", 0) == (3, 3)]
    assert len(layers) == depth


def test_resnet_refuses_other_depths():
    with pytest.raises(ConfigError, match=r"depth = 21; a resnet has depth 8, 14, 18, 20, 32, 34, 44, 56"):
        ResNet(21)


@pytest.mark.parametrize("architecture", [Cnn(), ResNet()])
def test_images_are_needed(architecture):
    with pytest.raises(ConfigError, match=r"needs images \(C, H, W\); these records have shape \(64,\)"):
        architecture.build((64,), 10)


def test_settings_choose_the_architecture():
    assert architecture_of(ModelSettings()) == Mlp((128, 128), "relu")
    assert architecture_of(ModelSettings(kind="cnn", width=8, depth=2, stride=2)) == Cnn(8, 2, "group", 2)
    assert architecture_of(ModelSettings(kind="resnet", width=8, depth=20, norm="batch")) == ResNet(20, 8, "batch")
    assert architecture_of(ModelSettings(factory="undertow.rng:stream")).target == "undertow.rng:stream"
