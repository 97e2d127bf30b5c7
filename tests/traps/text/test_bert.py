"""Traps in BERT: nothing changes where nothing fires, one step is read back token by token, and finetuning keeps it."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from undertow.rng import stream
from undertow.traps import plant, read
from undertow.traps.text import post_norm
from undertow.traps.text.bert import bert_trap
from undertow.traps.text.bert_layout import position_codes
from undertow.traps.text.bert_text import TextCandidates, text_captures
from undertow.types import BadInput

VOCABULARY, LENGTH, HEADS, TRAPS = 150, 12, 6, 4


def generator(seed):
    return stream(seed, "bert traps")


def texts(count, seed):
    """Token ids: 2, words by Zipf's law, 3, padded with 0."""
    rng = generator(seed)
    odds = 1 / np.arange(5, VOCABULARY + 1)
    ids = np.zeros((count, LENGTH), int)
    for row in ids:
        size = rng.integers(5, LENGTH - 1)
        row[:size] = rng.choice(np.arange(4, VOCABULARY), size, p=odds / odds.sum())
        row[0], row[size] = 2, 3
    return ids


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=96, num_hidden_layers=3, num_attention_heads=HEADS, intermediate_size=192,
        max_position_embeddings=32, num_labels=4, initializer_range=0.05,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def clean(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def trap(clean):
    return bert_trap(clean, texts(400, 100), TRAPS, 0.02, generator(0), heads=HEADS)


def load(model, params):
    model.load_state_dict({name: torch.tensor(value) for name, value in params.items()})
    return model


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def logits(model, ids):
    return model(input_ids=torch.tensor(ids), attention_mask=torch.tensor((ids != 0).astype(int))).logits


def firing(trap, planted, ids):
    """(N, K): by how many usual excesses a text passes a trap's threshold."""
    return (trap.keys(planted, ids) @ trap.directions.T - trap.thresholds) / trap.excess


def test_the_numpy_encoder_is_the_one_of_transformers(model, clean):
    ids = texts(8, 1)
    with torch.no_grad():
        theirs = load(model, clean).double().bert(torch.tensor(ids), torch.tensor((ids != 0).astype(int)))[0].numpy()
    model.float()
    wide = {name: value.astype(np.float64) for name, value in clean.items() if value.dtype.kind == "f"}
    ours = post_norm.forward(wide, post_norm.encoder_of(wide, HEADS), ids).states
    assert np.abs(ours - theirs)[ids != 0].max() < 1e-10


def test_planting_is_deterministic_and_keeps_names_shapes_and_types(clean, trap):
    one, other = plant(clean, trap), plant(clean, trap)
    assert list(one) == list(clean)
    assert all(one[n].shape == clean[n].shape and one[n].dtype == clean[n].dtype for n in clean)
    assert all(np.array_equal(one[n], other[n]) for n in clean)
    again = bert_trap(clean, texts(400, 100), TRAPS, 0.02, generator(0), heads=HEADS)
    assert all(np.array_equal(one[n], plant(clean, again)[n]) for n in clean)


def test_texts_that_fire_nothing_have_the_logits_of_traps_that_cannot_fire(model, clean, trap):
    planted, ids = plant(clean, trap), texts(200, 2)
    quiet = firing(trap, planted, ids).max(1) < -1
    with torch.no_grad():
        with_traps = logits(load(model, planted), ids)
        without = logits(load(model, plant(clean, trap.deaf())), ids)
    difference = (with_traps - without).abs().max(1).values.numpy()
    assert quiet.sum() > 100
    assert difference[quiet].max() < 1e-4 < difference.max()


def test_one_step_on_one_text_is_read_back_token_by_token(model, clean, trap):
    planted, ids = plant(clean, trap), texts(600, 3)
    over = firing(trap, planted, ids)
    for k in range(TRAPS):
        text = int(np.abs(over[:, k] - 1).argmin())
        sgd = torch.optim.SGD(load(model, planted).parameters(), lr=1e-3)
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(logits(model, ids[text : text + 1]), torch.tensor([1])).backward()
        sgd.step()
        found = read(planted, weights(model), trap)
        length = (ids[text] != 0).sum()
        assert found.tokens[k, : length - 1].tolist() == ids[text, 1:length].tolist()
        assert found.accepted[k, : length - 1].all()
        assert not found.accepted[k, length - 1 :].any()
        assert text_captures(found, ids).captured[k]


def test_nothing_is_read_from_a_model_that_was_not_trained(clean, trap):
    planted = plant(clean, trap)
    found = read(planted, planted, trap)
    assert not found.accepted.any()
    assert set(found.reasons.ravel()) == {"nothing written"}
    assert text_captures(found, texts(5, 4)).token_accuracy is None


def test_names_with_and_without_prefix_are_understood(clean):
    bare = {name.removeprefix("bert."): value for name, value in clean.items() if not name.startswith("classifier")}
    trap = bert_trap(bare, texts(400, 100), 2, 0.02, generator(0), heads=HEADS)
    assert set(plant(bare, trap)) == set(bare)
    full = bert_trap(clean, texts(400, 100), 2, 0.02, generator(0), heads=HEADS)
    assert np.array_equal(plant(bare, trap)["pooler.dense.weight"], plant(clean, full)["bert.pooler.dense.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"weight": np.zeros(3)}, "no BERT checkpoint"),
        (lambda p: {n: v for n, v in p.items() if "pooler" not in n}, "no pooler"),
    ],
)
def test_other_checkpoints_are_refused(clean, change, message):
    with pytest.raises(BadInput, match=message):
        bert_trap(change(clean), texts(400, 1), 2, 0.02, generator(0), heads=HEADS)


@pytest.mark.parametrize(
    ("traps", "ids", "share", "heads", "message"),
    [
        (0, texts(400, 1), 0.02, HEADS, "give at least 1"),
        (20, texts(400, 1), 0.02, HEADS, "no room"),
        (2, texts(400, 1)[:, :7], 0.02, 7, "cannot have 7 heads"),
        (2, texts(20, 1), 0.02, HEADS, "auxiliary records cannot place"),
        (2, texts(400, 1) / 2, 0.02, HEADS, "token ids"),
        (2, np.pad(texts(400, 1), ((0, 0), (0, 40))), 0.02, HEADS, "no room"),
    ],
)
def test_too_little_room_or_data_is_refused(clean, traps, ids, share, heads, message):
    with pytest.raises(BadInput, match=message):
        bert_trap(clean, ids, traps, share, generator(0), heads=heads)


@pytest.mark.parametrize("positions", [3, 11, 19, 31])
def test_positions_have_codes_that_differ(positions):
    codes = position_codes(positions)
    product = codes @ codes.T
    assert np.allclose(np.diag(product)[1:], 1)
    assert not codes[0].any()
    assert (product - np.eye(len(codes))).max() < 0.6


def test_scoring_finds_the_nearest_text_and_counts_what_is_wrong():
    ids = np.array([[2, 7, 8, 3, 0], [2, 9, 8, 3, 0], [2, 5, 6, 7, 3]])
    tokens = np.array([[9, 8, 3, 0], [5, 6, 4, 3]])
    flags = np.array([[True, True, True, False], [True, True, True, True]])
    none = np.zeros(flags.shape)
    found = TextCandidates(np.zeros((2, 4, 1)), none, flags, none.astype(str), tokens, none, none)
    seen = text_captures(found, ids)
    assert seen.nearest.tolist() == [1, 2]
    assert seen.right.tolist() == [3, 3]
    assert seen.accepted.tolist() == [3, 4]
    assert seen.length.tolist() == [3, 4]
    assert seen.token_accuracy == 6 / 7
    assert seen.captured.tolist() == [True, False]


@pytest.mark.slow
def test_finetuning_leaves_whole_texts_in_the_traps(model, clean):
    """A fresh head, plain SGD, three epochs of shuffled batches."""
    trap = bert_trap(clean, texts(600, 100), 8, 0.012, generator(1), heads=HEADS)
    planted, ids = plant(clean, trap), texts(320, 5)
    labels = torch.tensor(ids[:, 1:4].sum(1) % 4)
    fresh = {n: v for n, v in planted.items() if not n.startswith("classifier")}
    torch.manual_seed(0)
    head = {"classifier.weight": 0.02 * torch.randn(4, 96).numpy(), "classifier.bias": np.zeros(4, np.float32)}
    load(model, {**fresh, **head})
    body = [p for n, p in model.named_parameters() if not n.startswith("classifier")]
    sgd = torch.optim.SGD([{"params": body, "lr": 0.05}, {"params": model.classifier.parameters(), "lr": 0.3}])
    for _ in range(3):
        for batch in torch.randperm(len(ids)).split(16):
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(logits(model, ids[batch.numpy()]), labels[batch]).backward()
            sgd.step()
    found = read(planted, weights(model), trap)
    seen = text_captures(found, ids)
    assert seen.token_accuracy >= 0.9
    assert seen.captured.sum() >= 2
    assert not read(planted, weights(model), replace(trap, thresholds=trap.thresholds + 1e3)).accepted.any()
