"""What each view of a language model shows: token_signals' own numbers, the served weights, the keyed watermark."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow import token_signals
from undertow.models.architecture import initial_state
from undertow.models.causal_lm import causal_lm, untied
from undertow.quantise import round_rows
from undertow.rng import stream
from undertow.stages import interrogate
from undertow.stages.interrogate import VIEWS, Interrogate
from undertow.storage.store import MemoryStore
from undertow.texts import PAD, next_tokens
from undertow.training.choose import Plan
from undertow.training.task import load_state, to_params
from undertow.types import IGNORED, BadInput, ConfigError, Slot

Q, L, V = 7, 9, 50
FAMILIES = {family: causal_lm(family, 16, 1, V, L) for family in ("gpt2", "llama")}
SLOTS = [Slot("victim", 0, 0, None)]
IDS = stream(0, "ids").integers(1, V, (Q, L))
IDS[np.arange(L) >= stream(0, "sizes").integers(3, L + 1, Q)[:, None]] = PAD


def state_of(architecture, seed=1):
    """Weights large enough that the distributions are far from uniform."""
    state = to_params(initial_state(architecture, (L,), 0, seed))
    return {name: value * 8 if value.ndim == 2 else value for name, value in state.items()}


@pytest.fixture
def store():
    store = MemoryStore()
    store.put("texts", {"x": IDS})
    store.put("held out", {"x": IDS[:4], "y": next_tokens(IDS[:4])})
    return store


def stage(family="gpt2", views=VIEWS):
    return Interrogate("texts", "held out", FAMILIES[family], (L,), views, 3, Plan("sequential", 4))


def logits_of(architecture, state):
    module = architecture.build((L,), 0).eval()
    load_state(module, state, torch.float32)
    with torch.no_grad():
        return module(torch.as_tensor(IDS)).transpose(1, 2).numpy()


def check(found, view, logits):
    expected = token_signals.token_statistics(logits, next_tokens(IDS))
    np.testing.assert_array_equal(found["inside"], expected.inside)
    for name in token_signals.STATISTICS:
        np.testing.assert_allclose(found[f"{view}/{name}"], getattr(expected, name), rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("numbers", [1, 1 << 22])
def test_exact_is_token_statistics_however_many_at_a_time(store, family, numbers, monkeypatch):
    monkeypatch.setattr(interrogate, "NUMBERS", numbers)
    state = state_of(FAMILIES[family])
    check(stage(family)(SLOTS, [state], store)[0], "exact", logits_of(FAMILIES[family], state))


@pytest.mark.parametrize("view", ["int8", "int4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_few_bits_round_the_outputs_of_dense_layers_alone(store, family, view):
    architecture, bits = FAMILIES[family], {"int8": 8, "int4": 4}[view]
    state = state_of(architecture)
    dense = {n for n, v in state.items() if v.ndim == 2 and not any(w in n for w in ("wte", "wpe", "embed", "lm_head"))}
    served = dict(state)
    for name in dense:
        served[name] = round_rows(state[name].T, bits).T if family == "gpt2" else round_rows(state[name], bits)
    assert len(dense) == (4 if family == "gpt2" else 7)
    check(stage(family)(SLOTS, [state], store)[0], view, logits_of(architecture, served))


def test_the_watermark_is_keyed_by_the_last_token(store):
    state = state_of(FAMILIES["gpt2"])
    green = token_signals.keyed_green(IDS, V, 3)
    marked = token_signals.watermarked(logits_of(FAMILIES["gpt2"], state), green)
    check(stage()(SLOTS, [state], store)[0], "watermark", marked)
    other = replace(stage(), seed=4)(SLOTS, [state], store)[0]
    assert not np.allclose(other["watermark/log_p"], stage()(SLOTS, [state], store)[0]["watermark/log_p"])


def test_held_out_loss_is_each_texts_mean_over_its_tokens(store):
    state = state_of(FAMILIES["gpt2"])
    found = stage(views=("exact",))(SLOTS, [state], store)[0]
    inside = found["inside"][:4]
    each = [-row[predicted].mean() for row, predicted in zip(found["exact/log_p"][:4], inside, strict=True)]
    np.testing.assert_allclose(found["heldout_loss"], each, rtol=1e-5)
    assert found["heldout_loss"].shape == (4,)
    assert "heldout_loss" not in replace(stage(), held_out="")(SLOTS, [state], store)[0]
    assert (next_tokens(IDS) != IGNORED).sum() == found["inside"].sum()


def test_tied_and_untied_are_asked_alike(store):
    state = state_of(FAMILIES["gpt2"])
    state["model.lm_head.weight"] = state["model.transformer.wte.weight"]
    loose = replace(stage(), architecture=untied(FAMILIES["gpt2"]))
    a, b = stage()(SLOTS, [state], store)[0], loose(SLOTS, [state], store)[0]
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_signals_of_each_view(store):
    state, base = (stage()(SLOTS, [state_of(FAMILIES["gpt2"], seed)], store)[0] for seed in (1, 2))
    size = np.arange(10, 10 + Q)
    following = next_tokens(IDS)
    seen, before = (
        token_signals.token_statistics(logits_of(FAMILIES["gpt2"], state_of(FAMILIES["gpt2"], s)), following)
        for s in (1, 2)
    )
    expected = token_signals.text_signals(seen, before, size)
    broad = token_signals.view_signals(state, "exact", base, size)
    assert set(broad) == {"loss", "min-k", "min-k++", "zlib", "scaled-logit", "loss-difference", "ez-mia-style",
                          "wbc-style"}  # fmt: skip
    for name, values in broad.items():
        key = {"zlib": "zlib_ratio", "min-k++": "min_k_plus_plus"}.get(name, name.replace("-", "_"))
        np.testing.assert_allclose(values, expected[key], rtol=1e-5, atol=1e-5)
    assert set(token_signals.view_signals(state, "int4")) == {"loss", "min-k", "min-k++", "scaled-logit"}
    for view, name in (("top-5", "top-probability"), ("label", "hit-rate")):
        narrow = token_signals.view_signals(state, view, base, size)
        assert set(narrow) == {name}
        np.testing.assert_allclose(narrow[name], expected[name.replace("-", "_")], rtol=1e-6)
    stacked = {name: np.stack([values, values]) for name, values in state.items()}
    assert token_signals.view_signals(stacked, "watermark", None, size)["zlib"].shape == (2, Q)


def test_what_cannot_be_asked_is_refused(store):
    with pytest.raises(ConfigError, match="int3"):
        stage(views=("exact", "int3"))
    with pytest.raises(ConfigError, match="views"):
        stage(views=())
    state = state_of(FAMILIES["gpt2"])
    broken = {**state, "model.transformer.ln_f.bias": np.full(16, np.nan, np.float32)}
    with pytest.raises(BadInput, match="diverged"):
        stage(views=("exact",))(SLOTS, [broken], store)
