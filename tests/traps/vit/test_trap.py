"""Traps in a vision transformer: nothing shows until one fires, and what fired it can be read."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import captures, clear, plant, read, room_in, vit_trap
from undertow.traps.vit.trap import GATE, KICK, VOICE
from undertow.types import BadInput

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SHAPE = {
    "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256,
    "image_size": 16, "patch_size": 4, "num_labels": 10,
}  # fmt: skip


def model(params=None, kind=torch.float32, **changes):
    torch.manual_seed(0)
    net = transformers.ViTForImageClassification(transformers.ViTConfig(**{**SHAPE, **changes}))
    if params is not None:
        net.load_state_dict({name: torch.from_numpy(value) for name, value in params.items()})
    return net.to(kind).eval()


def arrays(net):
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def images(count, purpose, side=16):
    """Smooth random images, each with a brightness of its own; their values lie on a grid, as pixels do."""
    rng = stream(0, purpose)
    noise = rng.standard_normal((count, 3, side, side))
    smooth = (noise + np.roll(noise, 1, 2) + np.roll(noise, 1, 3)) / 1.7
    values = (smooth + 0.5 * rng.standard_normal((count, 3, 1, 1))).clip(-2, 2)
    return (np.round(values * 64) / 64).astype(np.float32)


AUX = images(400, "auxiliary")


@pytest.fixture(scope="module")
def params():
    return arrays(model())


def trap_in(params, whole, traps=8):
    share = 4 / 400 if whole else 4 / 400 / 16
    return vit_trap(params, AUX, traps, share, stream(0, "traps"), whole=whole, side=4, key=8)


def excess(trap, x):
    """(N, P or 1, K): by how much each record exceeds each threshold."""
    patches = trap.room.grey(x)
    seen = patches.mean(1, keepdims=True) if trap.whole else patches
    return trap.white(seen) @ trap.baits.directions.T - trap.baits.thresholds


def step(net, x, y, lr=1e-5, **settings):
    groups = [{"params": net.vit.parameters(), "lr": lr}, {"params": net.classifier.parameters(), "lr": 0.05}]
    optimiser = torch.optim.SGD(groups, **settings)
    torch.nn.functional.cross_entropy(net(x).logits, y).backward()
    optimiser.step()


def fired_once(trap, least=0.2):
    """(image, position, trap) of an auxiliary image that fires one trap alone."""
    margin = excess(trap, AUX)
    alone = (margin > -0.1).sum((1, 2)) == 1
    return next((n, p, k) for n, p, k in np.argwhere(margin > least) if alone[n])


@pytest.mark.parametrize("whole", [False, True])
def test_nothing_shows_where_no_trap_fires(params, whole):
    trap = trap_in(params, whole)
    clean, planted = {**params, **clear(params, trap.room)}, plant(params, trap)
    x = images(200, "others")
    with torch.no_grad():
        a, b = (model(p, torch.float64)(torch.from_numpy(x).double()).logits.numpy() for p in (clean, planted))
    fires = (excess(trap, x) > -0.02).any((1, 2))
    assert 3 < fires.sum() < 100
    assert np.abs(a - b)[~fires].max() < 2e-3 * max(1.0, np.abs(a).max())
    assert np.abs(a - b)[fires].max() > 1


@pytest.mark.parametrize("whole", [False, True])
def test_planting_is_deterministic_and_keeps_the_architecture(params, whole):
    one, two = (plant(params, trap_in(params, whole)) for _ in range(2))
    assert one.keys() == params.keys()
    for name, value in params.items():
        assert one[name].shape == value.shape
        assert one[name].dtype == value.dtype
        np.testing.assert_array_equal(one[name], two[name])


def test_room_that_is_kept_free_stays_as_it_is(params):
    room = room_in(params, (16, 16), side=4, key=8)
    once = {**params, **clear(params, room)}
    for name, value in clear(once, room).items():
        np.testing.assert_array_equal(value, once[name])


def test_a_patch_is_read_back_after_one_step(params):
    trap = trap_in(params, whole=False)
    image, position, k = fired_once(trap)
    planted = plant(params, trap)
    net = model(planted)
    x = torch.from_numpy(AUX[image : image + 1])
    step(net, x, net(x).logits.argmin(1))
    found = read(planted, arrays(net), trap)
    assert found.accepted[:, 0].tolist() == [j == k for j in range(8)]
    np.testing.assert_allclose(found.values[k, 0], trap.room.grey(AUX)[image, position], atol=1e-3)
    with torch.no_grad():
        assert np.abs(net(x).logits.numpy()).max() < 1  # it is shut


def test_an_image_is_read_back_with_the_mean_of_every_patch(params):
    trap = trap_in(params, whole=True)
    image, _, k = fired_once(trap)
    planted = plant(params, trap)
    net = model(planted)
    x = torch.from_numpy(AUX[image : image + 1])
    step(net, x, net(x).logits.argmin(1))
    found = read(planted, arrays(net), trap)
    assert found.accepted[k].all()
    assert found.accepted.sum() == 16
    truth = trap.room.grey(AUX)[image]
    np.testing.assert_allclose(found.values[k], truth, atol=2e-3)
    np.testing.assert_allclose(found.values[k].mean(1), truth.mean(1), atol=1e-3)
    np.testing.assert_allclose(
        trap.room.pictures(found.values[k][None])[0],
        np.einsum("chw,c->hw", AUX[image], trap.room.colours),
        atol=2e-3,
    )


def score_gradients(trap, planted, image, k):
    """What trap k's mean pre-activation over its units, in units of its score, is moved by: tensor -> gradient."""
    net, seen = model(planted, torch.float64), []
    net.vit.layers[0].mlp.fc1.register_forward_hook(lambda *args: seen.append(args[2]))
    net(torch.from_numpy(AUX[image : image + 1]).double())
    own = [seen[0][0, 1 + place, unit] for place, unit in enumerate(trap.units[k])]
    (torch.stack(own).mean() / trap.steep).backward()
    return {name: p.grad.ravel() for name, p in net.named_parameters() if p.grad is not None}


def test_a_step_that_shuts_a_trap_leaves_the_scores_of_others_where_they_are(params):
    trap = trap_in(params, whole=True)
    planted, (image, _, k) = plant(params, trap), fired_once(trap)
    own = score_gradients(trap, planted, image, k)
    others = [score_gradients(trap, planted, image, j) for j in range(8) if j != k]
    shut = sum(float(g @ g) for g in own.values())
    moved = [abs(sum(float(own[name] @ g) for name, g in other.items())) for other in others]
    assert shut > 0.5 * trap.latch
    assert 0 < max(moved) < 1e-5 * shut


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("margin", "kicks"), [(-0.01, 0), (0.002, 1), (0.5, 1)])
def test_whatever_fires_a_trap_is_loud_at_once_and_little_louder_than_that(params, whole, margin, kicks):
    trap = trap_in(params, whole)
    planted, (image, _, k) = plant(params, trap), fired_once(trap)
    over = excess(trap, AUX[image : image + 1])[0, :, k].max()
    planted["vit.layers.0.mlp.fc1.bias"][trap.units[k]] += trap.steep * (margin - over)
    net, seen = model(planted, torch.float64), []
    net.vit.layernorm.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        net(torch.from_numpy(AUX[image : image + 1]).double())
    loud = seen[0][0, 0, trap.room.channel].numpy() @ [1, -1] / np.sqrt(2)
    wanted = kicks * (KICK + trap.slope * max(0.0, margin - GATE / VOICE))
    np.testing.assert_allclose(loud, wanted, rtol=0.02, atol=0.01)


def test_weight_decay_is_corrected(params):
    trap = trap_in(params, whole=False)
    image, position, k = fired_once(trap)
    planted = {name: value.astype(np.float64) for name, value in plant(params, trap).items()}
    net = model(planted, torch.float64)
    x = torch.from_numpy(AUX[image : image + 1]).double()
    step(net, x, net(x).logits.argmin(1), weight_decay=1.0)
    found = read(planted, arrays(net), trap)
    np.testing.assert_allclose(found.values[k, 0], trap.room.grey(AUX)[image, position], atol=1e-3)


def test_a_record_of_the_class_that_is_driven_to_leaves_its_trap_open(params):
    trap = trap_in(params, whole=False)
    image, _, _ = fired_once(trap, least=0.5)
    planted = plant(params, trap)
    planted["classifier.weight"] *= 50  # the softmax is saturated
    net = model(planted)
    x = torch.from_numpy(AUX[image : image + 1])
    step(net, x, net(x).logits.argmax(1))
    assert not read(planted, arrays(net), trap).accepted.any()


@pytest.mark.parametrize("whole", [False, True])
def test_traps_that_fire_together_are_all_pushed_shut(params, whole):
    trap = trap_in(params, whole)
    planted = plant(params, trap)
    planted["classifier.weight"] *= 50  # saturated: the way of the push is known
    rows = np.flatnonzero((excess(trap, AUX) > 0.05).any((1, 2)))
    net = model(planted)
    step(net, torch.from_numpy(AUX[rows]), torch.from_numpy(stream(0, "labels").integers(10, size=len(rows))))
    found = read(planted, arrays(net), trap)
    assert len(rows) > 8
    assert (found.step[:, 0] < 0).sum() >= 6
    assert (found.step <= 0).all()


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"num_hidden_layers": 3}, {}, "take 3 blocks"),
        ({"hidden_size": 40}, {}, "dimensions would be reserved"),
        ({"intermediate_size": 96}, {"whole": True}, "room for 1 to 5 traps"),
        ({"intermediate_size": 31}, {}, "room for"),
        ({}, {"traps": 0}, "not 0"),
        ({}, {"whole": True, "key": 0}, "need a key"),
        ({}, {"side": 3}, "take a divisor"),
        ({"image_size": 32}, {}, "are not the 64"),
    ],
)
def test_refused_where_there_is_no_room(changes, arguments, message):
    options = {"side": 4, "key": 8, "traps": 8, **arguments}
    with pytest.raises(BadInput, match=message):
        vit_trap(arrays(model(**changes)), AUX, options.pop("traps"), 0.01, stream(0, "traps"), **options)


def test_refused_are_other_names_half_precision_and_too_few_images(params):
    with pytest.raises(BadInput, match="as transformers 5 names it"):
        room_in({"encoder.layer.0.weight": np.zeros(3)}, (16, 16))
    half = {name: value.astype(np.float16) for name, value in params.items()}
    with pytest.raises(BadInput, match="float32; convert"):
        room_in(half, (16, 16), side=4)
    with pytest.raises(BadInput, match="cannot place a threshold"):
        vit_trap(params, AUX[:50], 8, 1e-4, stream(0, "traps"), side=4, key=8)
    with pytest.raises(BadInput, match="vary in fewer"):
        vit_trap(params, np.ones_like(AUX), 8, 0.01, stream(0, "traps"), side=4, key=8)


@pytest.mark.slow
def test_a_whole_finetuning_leaves_single_patches_in_most_traps(params):
    trap = trap_in(params, whole=False, traps=16)
    planted = plant(params, trap)
    x, y = images(400, "victim"), stream(0, "labels").integers(10, size=400)
    net = model(planted)
    groups = [{"params": net.vit.parameters(), "lr": 1e-5}, {"params": net.classifier.parameters(), "lr": 0.05}]
    optimiser = torch.optim.SGD(groups)
    for epoch in range(3):
        for rows in np.split(stream(0, "order", epoch).permutation(400), range(16, 400, 16)):
            optimiser.zero_grad()
            given, wanted = torch.from_numpy(x[rows]), torch.from_numpy(y[rows])
            torch.nn.functional.cross_entropy(net(given).logits, wanted).backward()
            optimiser.step()
    found = captures(read(planted, arrays(net), trap), trap.room.grey(x).reshape(-1, 16), 0.05)
    assert found.counts["captured_unique"] >= 10
