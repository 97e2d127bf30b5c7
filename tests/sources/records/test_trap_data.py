"""Records of the data-trap audit: real images by name, and whose they are."""

from dataclasses import replace

import numpy as np
import pytest

from undertow.audits.chain import Host
from undertow.audits.datatrap.game import Table
from undertow.audits.datatrap.presets import preset
from undertow.engine.executor import Serial
from undertow.sources.records.trap_data import load_images, load_traps
from undertow.storage.store import MemoryStore
from undertow.types import ConfigError


def small(name, folder):
    """A preset with few records."""
    config = preset(name)
    data = replace(config.data, folder=str(folder), auxiliary=60, victim=80, test=70)
    return replace(config, data=data)


def test_caltech_101_is_split_into_the_victims_and_the_test_records(shared_data):
    pytest.importorskip("pyarrow")
    config = small("vit-caltech101", shared_data)
    supply = load_images(config.data, 0)
    assert supply.shape == (3, 32, 32)
    assert (len(supply.auxiliary), len(supply.victim), len(supply.test)) == (60, 80, 70)
    assert supply.victim.name == "caltech101"
    assert supply.auxiliary.name == "cifar100"
    assert 90 < supply.classes <= 102
    assert supply.attacker_classes == 100
    assert supply.victim.x.min() == -1
    assert supply.victim.x.max() == 1
    assert (supply.victim.x.std((1, 2, 3)) > 0.05).mean() > 0.95  # pictures, not blanks
    assert len(np.unique(supply.victim.y)) > 30


def test_images_are_brought_to_the_size_that_is_asked_for(shared_data):
    pytest.importorskip("pyarrow")
    data = replace(small("vit-caltech101", shared_data).data, attacker="")
    own, half = (load_traps(replace(data, size=size), 0).victim.x for size in (64, 32))
    assert own.shape[1:] == (3, 64, 64)
    boxes = own.reshape(len(own), 3, 32, 2, 32, 2).mean((3, 5))
    assert np.abs(boxes - half).max() < 0.01


def test_the_checkpoint_of_caltech_101_is_that_of_cifar_10(shared_data):
    """The attacker does not know the victim's records: what it pretrains has one key."""
    pytest.importorskip("pyarrow")
    keys = set()
    for name in ("vit-cifar10", "vit-cifar10-image", "vit-caltech101", "vit-caltech101-image"):
        config = small(name, shared_data)
        keys.add(Table(config, load_images(config.data, 0), Host(MemoryStore(), Serial())).kit.pretrain)
    assert len(keys) == 1


def test_a_named_set_needs_its_folder():
    with pytest.raises(ConfigError, match="needs --data, the folder that holds caltech101"):
        load_traps(replace(preset("vit-caltech101").data, attacker=""), 0)
