"""Traps in GPT-2: one step on one text is read back token by token, and short finetunings leave texts in the traps."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from undertow.rng import stream
from undertow.traps import gpt2_trap, plant, read
from undertow.types import BadInput

VOCABULARY, LENGTH, HEADS, TRAPS = 300, 12, 8, 16


def texts(count, seed):
    """Token ids by Zipf's law, padded on the right with 0."""
    rng = stream(seed, "gpt2")
    odds = 1 / np.arange(5, VOCABULARY + 1)
    ids = np.zeros((count, LENGTH), int)
    for row in ids:
        size = rng.integers(6, LENGTH)
        row[:size] = rng.choice(np.arange(4, VOCABULARY), size, p=odds / odds.sum())
    return ids


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=256, n_layer=3, n_head=HEADS, num_labels=4, pad_token_id=0,
        bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    return transformers.GPT2ForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def clean(model):
    return weights(model)


@pytest.fixture(scope="module")
def trap(clean):
    return gpt2_trap(clean, texts(600, 1), TRAPS, 0.01, stream(0, "gpt2"), heads=HEADS)


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def load(model, params):
    model.load_state_dict({name: torch.tensor(value) for name, value in params.items()})
    return model


def logits(model, ids):
    return model(input_ids=torch.tensor(ids), attention_mask=torch.tensor((ids != 0).astype(int))).logits


def finetuned(model, params, ids, labels, rate=1e-4, head_rate=0.1, epochs=3, seed=0):
    load(model, params)
    torch.manual_seed(seed)
    model.score.weight.data.normal_(0, 0.02)
    body = [p for name, p in model.named_parameters() if "score" not in name]
    sgd = torch.optim.SGD([{"params": body, "lr": rate}, {"params": model.score.parameters(), "lr": head_rate}])
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(ids), generator=order).split(16):
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(logits(model, ids[batch.numpy()]), labels[batch]).backward()
            sgd.step()
    return weights(model)


def over(trap, planted, ids):
    return trap.seen(planted, ids) @ trap.directions.T - trap.thresholds


def test_what_traps_see_is_what_the_model_shows_them(model, clean, trap):
    planted, ids, seen = plant(clean, trap), texts(50, 2), []
    hook = load(model, planted).transformer.h[0].ln_2.register_forward_hook(lambda _m, _i, out: seen.append(out))
    with torch.no_grad():
        logits(model, ids)
    hook.remove()
    last = seen[0].numpy()[np.arange(50), (ids != 0).sum(1) - 1]
    assert np.allclose(last[:, trap.slots.ravel()] / trap.steep, trap.seen(planted, ids), atol=1e-4)


def test_one_step_on_one_text_is_read_back_token_by_token(model, clean, trap):
    planted, ids = plant(clean, trap), texts(1000, 3)
    margins = over(trap, planted, ids)
    for k in range(4):
        text = int(np.abs(margins[:, k] - 0.3).argmin())
        sgd = torch.optim.SGD(load(model, planted).parameters(), lr=1e-4)
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(logits(model, ids[text : text + 1]), torch.tensor([1])).backward()
        sgd.step()
        found = read(planted, weights(model), trap)
        kept = min(HEADS, (ids[text] != 0).sum())
        assert (found.tokens[k, :kept] == ids[text, :kept]).all()
        assert found.similarity[k, :kept].min() > 0.99


def test_texts_that_fire_nothing_do_not_hear_the_channel(model, clean, trap):
    planted, ids = plant(clean, trap), texts(300, 4)
    margins = over(trap, planted, ids).max(1)
    deaf = {**planted, trap.recorder.bias: np.full_like(planted[trap.recorder.bias], -1e5)}
    with torch.no_grad():
        heard = (logits(load(model, planted), ids) - logits(load(model, deaf), ids)).abs().max(1).values.numpy()
    assert heard[margins < -0.3].max() < 1e-3
    assert heard[margins > 0.3].min() > 0.1


def test_planting_is_deterministic_and_keeps_names_shapes_and_types(clean, trap):
    one, other = plant(clean, trap), plant(clean, trap)
    assert all(one[n].shape == clean[n].shape and one[n].dtype == clean[n].dtype for n in clean)
    assert all(np.array_equal(one[n], other[n]) for n in clean)


def test_nothing_is_read_from_a_model_that_was_not_trained(clean, trap):
    planted = plant(clean, trap)
    found = read(planted, planted, trap)
    assert not found.accepted.any()
    assert set(found.reasons.ravel()) == {"nothing written"}


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (lambda p: {"weight": np.zeros(3)}, {}, "no GPT-2 checkpoint"),
        (dict, {"heads": 7}, "cannot have 7 heads"),
        (dict, {"heads": 32}, "no room"),
        (dict, {"traps": 5000}, "no room"),
        (dict, {"auxiliary": texts(20, 1)}, "auxiliary records cannot place"),
        (dict, {"auxiliary": texts(20, 1) / 2}, "token ids"),
    ],
)
def test_where_there_is_no_room_it_says_so(clean, change, arguments, said):
    given = {"auxiliary": texts(600, 1), "traps": 2, "heads": HEADS, **arguments}
    with pytest.raises(BadInput, match=said):
        gpt2_trap(change(clean), given["auxiliary"], given["traps"], 0.01, stream(0, "gpt2"), heads=given["heads"])


@pytest.mark.slow
def test_finetuning_leaves_texts_in_the_traps(model, clean, trap):
    planted, ids = plant(clean, trap), texts(320, 5)
    labels = torch.tensor(ids[:, :3].sum(1) % 4)
    found = read(planted, finetuned(model, planted, ids, labels), trap)
    agree = ((found.tokens[:, None] == ids[:, :HEADS]) & found.accepted[:, None]).sum(-1).max(1)
    assert agree.sum() >= 0.9 * found.accepted.sum()
    assert (agree >= 6).sum() >= 4


def test_what_stands_after_a_short_texts_last_token_is_not_taken_for_one(model, clean, trap):
    """The slots of heads whose positions the text does not have repeat it."""
    ids = np.zeros((1, LENGTH), int)
    ids[0, :5] = [7, 8, 8, 7, 9]
    low = replace(trap, thresholds=trap.seen(plant(clean, trap), ids)[0] @ trap.directions.T - 0.02)
    planted = plant(clean, low)
    sgd = torch.optim.SGD(load(model, planted).parameters(), lr=1e-4)
    sgd.zero_grad()
    said = logits(model, ids)
    torch.nn.functional.cross_entropy(said, said.argmin(1)).backward()
    sgd.step()
    found = read(planted, weights(model), low)
    assert (found.tokens[:, 5:] == 9).all()
    assert found.similarity[:, 5:].min() > 0.9
    assert (found.tokens[:, :5] == ids[0, :5]).all()
    assert not found.accepted[:, 5:].any()
    assert set(found.reasons[:, 5:].ravel()) <= {"after the text's last token", "pushed open"}
