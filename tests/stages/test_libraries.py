"""A stored model is served only by the code that made it: an upgrade of a library a stage rests on is a miss."""

import ast
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import undertow
from undertow.engine import key as key_module
from undertow.engine.key import PACKAGES, libraries_of, stage_digest
from undertow.models.architecture import Mlp, factory
from undertow.models.causal_lm import CausalLM
from undertow.models.clip import Clip, ClipClassifier
from undertow.models.huggingface import HuggingFace
from undertow.models.transformer import Transformer
from undertow.stages.contrastive import PretrainClip
from undertow.stages.dp_runs import DpRuns
from undertow.stages.finetune import Finetune
from undertow.stages.interrogate import Interrogate
from undertow.stages.likelihood import Likelihood
from undertow.stages.lora import Adapt, Merge, PlantLora
from undertow.stages.plant import Plant
from undertow.stages.plant_transformer import PlantBert, PlantGpt2, PlantVit
from undertow.stages.poison import Poison
from undertow.stages.pretrain import Pretrain
from undertow.stages.pretrain_roomy import PretrainRoomy
from undertow.stages.query import Query, Then
from undertow.stages.recite import Recite
from undertow.stages.resume_training import ResumeTraining
from undertow.stages.serve import Serve
from undertow.stages.soften import Soften
from undertow.stages.zero_shot import ZeroShot
from undertow.training.choose import Plan
from undertow.training.objective import Objective
from undertow.training.privacy import Noise
from undertow.training.schedule import Fit

PLAN, MLP, HF = Plan("sequential", 1), Mlp((8,)), HuggingFace('{"model_type": "bert"}')
NOISE = Noise(1.0, 1.0, 1e-5, 1.0, 0.1, 10, "opacus")
GIVEN = {"architecture": MLP, "shape": (4,), "classes": 2, "fit": Fit(), "plan": PLAN, "strategy": "full", "draw": 0,
         "views": "k", "noise": None, "objective": Objective()}  # fmt: skip
OWN = (Path(undertow.__file__).parent / name for name in ("stages", "training", "models", "traps"))


def made(kind, /, **given):
    """A stage whose fields that need a value have one; what they are does not matter, nothing is run."""
    needed = [f for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    values = {f.name: given.get(f.name, GIVEN.get(f.name, _any(f.type))) for f in needed}
    return kind(**{**values, **{name: value for name, value in given.items() if name not in values}})


def _any(kind):
    return {"int": 1, "float": 1.0, "bool": False, "str": "k"}.get(str(kind), ())


def own_model(shape, classes):
    from torch import nn

    return nn.Linear(shape[0], classes)


FINETUNE = made(Finetune)
QUERY = made(Query)
CLIP = made(Clip, library="x")
STAGES = {
    "pretrain": (made(Pretrain), ()),
    "pretrain, transformers": (made(Pretrain, architecture=HF), ("transformers",)),
    "pretrain, own transformer": (made(Pretrain, architecture=Transformer()), ("transformers",)),
    "pretrain, causal lm": (made(Pretrain, architecture=made(CausalLM)), ("transformers",)),
    "pretrain, own code": (made(Pretrain, architecture=factory(own_model)), ("pytest", "torch")),
    "pretrain, clip": (made(PretrainClip, architecture=CLIP), ("transformers",)),
    "pretrain, roomy": (made(PretrainRoomy, architecture=HF), ("transformers",)),
    "finetune": (FINETUNE, ()),
    "finetune, lora": (replace(FINETUNE, strategy="lora"), ("peft", "transformers")),
    "finetune, qlora": (replace(FINETUNE, strategy="qlora"), ("peft", "transformers", "bitsandbytes")),
    "finetune, opacus": (replace(FINETUNE, noise=NOISE), ("opacus",)),
    "finetune, closed form": (replace(FINETUNE, noise=replace(NOISE, trainer="closed-form")), ()),
    "adapt": (made(Adapt, strategy="lora"), ("peft", "transformers")),
    "merge": (made(Merge), ("peft", "transformers")),
    "query": (QUERY, ("scipy",)),
    "finetune, then query": (Then(replace(FINETUNE, strategy="lora"), QUERY), ("peft", "transformers", "scipy")),
    "serve": (made(Serve, query=QUERY, views=("exact",)), ("scipy",)),
    "interrogate": (made(Interrogate, architecture=made(CausalLM), views=("exact",)), ("transformers",)),
    "resume training": (made(ResumeTraining, architecture=Transformer()), ("transformers",)),
    "recite": (made(Recite, architecture=Transformer()), ("transformers",)),
    "likelihood": (made(Likelihood, architecture=Transformer()), ("transformers",)),
    "plant": (made(Plant), ("scipy",)),
    "plant, lora": (made(PlantLora, dense=made(Plant)), ("scipy",)),
    "plant, vit": (made(PlantVit), ("scipy",)),
    "plant, bert": (made(PlantBert), ("scipy",)),
    "plant, gpt2": (made(PlantGpt2), ("scipy",)),
    "poison": (made(Poison), ()),
    "soften": (made(Soften, kind="noise", amount=1.0), ()),
    "zero shot": (made(ZeroShot, architecture=CLIP), ("transformers",)),
    "classify, clip": (made(Query, architecture=made(ClipClassifier, library="x")), ("scipy", "transformers")),
    "dp runs": (made(DpRuns, noise=NOISE), ()),
}
PAIRS = [(name, library) for name, (_, own) in STAGES.items() for library in (*PACKAGES, *own)]
EVERY = {library for _, library in PAIRS}


def upgraded(monkeypatch, package):
    now = key_module.installed
    monkeypatch.setattr(key_module, "installed", lambda name: "99.0" if name == package else now(name))


@pytest.mark.parametrize(("name", "library"), PAIRS)
def test_an_upgrade_of_a_library_the_stage_uses_is_a_miss(monkeypatch, name, library):
    stage = STAGES[name][0]
    before = stage_digest(stage)
    upgraded(monkeypatch, library)
    assert stage_digest(stage) != before


@pytest.mark.parametrize("name", STAGES)
def test_an_upgrade_of_another_library_is_a_hit(monkeypatch, name):
    stage, own = STAGES[name]
    assert libraries_of(stage) == set(own)
    before = stage_digest(stage)
    for library in EVERY - {*PACKAGES, *own} | {"scikit-learn", "matplotlib"}:
        upgraded(monkeypatch, library)
    assert stage_digest(stage) == before


def test_every_kind_of_stage_is_listed():
    import importlib
    import pkgutil

    from undertow import stages

    found = {
        kind.__name__
        for module in pkgutil.iter_modules(stages.__path__)
        for kind in vars(importlib.import_module(f"undertow.stages.{module.name}")).values()
        if isinstance(kind, type) and kind.__module__.startswith("undertow.stages") and hasattr(kind, "version")
    }
    assert found == {type(stage).__name__ for stage, _ in STAGES.values()} | {"Then"}


def test_what_the_rooms_import_some_stage_declares():
    """A new library in the rooms that make models must be declared by the stages that use it."""
    # dp-accounting calibrates noise, which is a field of the stage (its note is keyed by versions); the hub is where a
    # config.json comes from, whose content is a field.
    accountants = {"dp_accounting", "huggingface_hub"}
    found = set()
    for room in OWN:
        for file in room.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                found |= {name.partition(".")[0] for name in names}
    import sys

    others = found - set(sys.stdlib_module_names) - {"undertow", ""}
    assert others - accountants <= EVERY, sorted(others - accountants - EVERY)


def test_calibrated_noise_is_made_again_by_another_accountant(monkeypatch):
    pytest.importorskip("dp_accounting")
    from undertow.audits.chain import Host, Workshop
    from undertow.audits.membership.presets import preset
    from undertow.config import override
    from undertow.engine.executor import Serial
    from undertow.storage.store import MemoryStore

    config = override(preset("tmi", "folder"), {"privacy": {"epsilon": 2.0}, "finetune": {"epochs": 1}})
    keys = []

    class Ledger(MemoryStore):
        def get_note(self, key):
            keys.append(key)

    workshop = Workshop(config, None, Host(Ledger(), Serial()))
    for package in (None, "dp-accounting", "opacus", "scipy"):
        if package:
            upgraded(monkeypatch, package)
        workshop.noise(40)
    assert len(set(keys)) == 4


def test_a_store_outlives_a_new_version_of_undertow(monkeypatch):
    for stage, _ in STAGES.values():
        before = stage_digest(stage)
        with monkeypatch.context() as patch:
            upgraded(patch, "undertow")
            assert stage_digest(stage) == before


def test_a_store_outlives_the_move_of_a_class(monkeypatch):
    for stage, _ in STAGES.values():
        before = stage_digest(stage)
        with monkeypatch.context() as patch:
            patch.setattr(type(stage), "__module__", "undertow.another.room")
            assert stage_digest(stage) == before


def test_no_two_parts_of_a_key_share_a_name():
    """A key names a class without its module: within what keys are made of, a name means one class."""
    import importlib
    import pkgutil

    import undertow

    names = {}
    for room in ("stages", "training", "models", "traps", "engine"):
        package = importlib.import_module(f"undertow.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{undertow.__name__}.{room}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.name:
                    names.setdefault(value.__qualname__, []).append(value.__module__)
    assert {name: where for name, where in names.items() if len(where) > 1} == {}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_every_stage_rests_on_numpy_and_torch(monkeypatch, name, library):
    """What they compute decides every model, whether a stage says so or not."""
    stage = STAGES[name][0]
    before = stage_digest(stage)
    upgraded(monkeypatch, library)
    assert stage_digest(stage) != before
