"""Which rows a model is finetuned on, by how the attacker's and the victims' relate."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from undertow.engine.key import stage_digest
from undertow.models.architecture import Mlp
from undertow.stages.finetune import Finetune
from undertow.training.choose import Plan
from undertow.training.schedule import Fit
from undertow.types import ConfigError, Slot

STAGE = Finetune("other", Mlp((8,)), (6,), 3, "linear", 20, Fit(epochs=5, batch=10), Plan("fused_mlp", 8))


def rows(relation, role, index, draw, population, seed=0):
    stage = replace(STAGE, relation=relation, draw=draw)
    return stage.rows(Slot(role, index, seed, None), population)


@st.composite
def games(draw):
    population = draw(st.integers(4, 300))
    return draw(st.integers(0, population // 2)), population, draw(st.integers(0, 5))


@given(games())
def test_same_is_one_draw_for_every_model(game):
    first = rows("same", "shadow", 0, *game)
    for role, index in (("shadow", 1), ("victim", 0), ("victim", 7)):
        np.testing.assert_array_equal(rows("same", role, index, *game), first)
    assert len(np.unique(first)) == (game[0] or game[1])


@given(games())
def test_disjoint_roles_share_no_row_and_have_equally_many(game):
    shadows = [rows("disjoint", "shadow", i, *game) for i in range(6)]
    victims = [rows("disjoint", "victim", i, *game) for i in range(6)]
    assert not set(np.concatenate(shadows)) & set(np.concatenate(victims))
    assert {len(np.unique(r)) for r in shadows + victims} == {game[0] or game[1] // 2}


def test_disjoint_models_of_one_role_overlap_and_differ():
    a, b = (set(rows("disjoint", "victim", i, 50, 200)) for i in (0, 1))
    assert a & b
    assert a != b


def test_subsets_of_one_pool_overlap_across_roles():
    shadow, victim = rows("subset", "shadow", 0, 100, 200), rows("subset", "victim", 0, 100, 200)
    assert 30 < len(np.intersect1d(shadow, victim)) < 70


def test_the_halves_depend_on_the_seed():
    assert set(rows("disjoint", "victim", 0, 0, 40, 0)) != set(rows("disjoint", "victim", 0, 0, 40, 1))


def test_drawing_more_than_half_of_a_split_pool_is_one_line():
    assert len(rows("disjoint", "shadow", 0, 100, 200)) == 100
    with pytest.raises(ConfigError, match=r"draws 101 .*only 100 on each side \(data.relation = 'disjoint'\)") as error:
        rows("disjoint", "shadow", 0, 101, 200)
    assert "\n" not in str(error.value)


def test_the_secret_rows_win_over_any_relation():
    member = np.arange(40) % 3 == 0
    for relation in ("same", "subset", "disjoint"):
        found = replace(STAGE, relation=relation).rows(Slot("victim", 0, 0, member), 40)
        np.testing.assert_array_equal(found, np.flatnonzero(member))


def test_every_relation_has_a_key_of_its_own():
    assert len({stage_digest(replace(STAGE, relation=r)) for r in ("same", "subset", "disjoint")}) == 3


def test_every_field_of_a_recipe_has_a_key_of_its_own():
    changes = {"keep_head": True, "repeat": 2, "neftune": 5.0, "rank": 8, "layers": 3, "strategy": "qlora"}
    keys = {stage_digest(replace(STAGE, **{name: value})) for name, value in changes.items()}
    assert len(keys | {stage_digest(STAGE)}) == len(changes) + 1


def test_neftune_needs_token_embeddings():
    from undertow.storage.store import MemoryStore

    store = MemoryStore()
    store.put("other", {"x": np.zeros((20, 6), np.float32), "y": np.zeros(20, np.int64)})
    with pytest.raises(ConfigError, match="neftune"):
        replace(STAGE, neftune=5.0)([Slot("victim", 0, 0, None)], [{}], store)
