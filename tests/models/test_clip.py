"""CLIP from a configuration: zero-shot logits, the contrastive loss, captions as tokens."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from undertow.engine.key import digest
from undertow.models.architecture import head_name, initial_state
from undertow.models.clip import END, TEMPLATES, caption_texts, clip_config, small_clip, word_captions
from undertow.types import ConfigError

NAMES = ("cat", "lawn_mower", "dog")
SHAPE = (3, 16, 16)
CLIP = small_clip(NAMES, 16, width=32, depth=2)


def module(seed=0):
    torch.manual_seed(seed)
    return CLIP.build(SHAPE, 3).double().eval()


def images(count, seed=1):
    torch.manual_seed(seed)
    return torch.randn(count, *SHAPE, dtype=torch.float64)


def test_zero_shot_logits_are_those_of_transformers():
    ours, x = module(), images(5)
    prompts = torch.tensor(CLIP.captions)[:: len(TEMPLATES)]
    theirs = ours.clip(input_ids=prompts, pixel_values=x).logits_per_image
    torch.testing.assert_close(ours(x), theirs, rtol=0, atol=1e-12)


def test_the_loss_without_repeated_classes_is_that_of_transformers():
    ours, x = module(), images(3)
    captions = torch.tensor([9, 0, 5])  # classes 2, 0, 1
    theirs = ours.clip(input_ids=torch.tensor(CLIP.captions)[captions], pixel_values=x, return_loss=True).loss
    assert ours.contrastive(x, captions).shape == (3,)
    torch.testing.assert_close(ours.contrastive(x, captions).mean(), theirs, rtol=0, atol=1e-12)


def test_pairs_of_one_class_are_not_each_others_negatives():
    ours, x = module(), images(4)
    captions = torch.tensor([0, 1, 4, 0])  # 0, 1 and 3 are of class 0
    got = ours.contrastive(x, captions)
    similar = ours.scale() * ours.images(x) @ ours.texts(torch.tensor(CLIP.captions)[captions]).t()

    def negative_log_share(own, among):
        return -(similar[own].exp() / sum(similar[a].exp() for a in among)).log()

    first = (negative_log_share((0, 0), [(0, 0), (0, 2)]) + negative_log_share((0, 0), [(0, 0), (2, 0)])) / 2
    other = negative_log_share((2, 2), [(2, j) for j in range(4)]) + negative_log_share(
        (2, 2), [(i, 2) for i in range(4)]
    )
    torch.testing.assert_close(got[0], first, rtol=0, atol=1e-12)
    torch.testing.assert_close(got[2], other / 2, rtol=0, atol=1e-12)


def test_a_batch_of_one_class_has_no_loss_and_finite_gradients():
    ours = module()
    loss = ours.contrastive(images(3), torch.tensor([0, 1, 0])).sum()
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters() if p.grad is not None)


def test_what_fills_a_caption_counts_for_nothing():
    longer = replace(CLIP, captions=tuple((*c, END) for c in CLIP.captions), config=_longer(CLIP.config))
    torch.manual_seed(0)
    other = longer.build(SHAPE, 3).double().eval()
    state = module().state_dict()
    positions = "clip.text_model.embeddings.position_embedding.weight"
    fresh = other.state_dict()[positions].clone()
    fresh[: len(state[positions])] = state[positions]
    other.load_state_dict(state | {positions: fresh})
    torch.testing.assert_close(other.prompts(), module().prompts(), rtol=0, atol=1e-12)


def _longer(config):
    content = json.loads(config)
    content["text_config"]["max_position_embeddings"] += 1
    return json.dumps(content)


def test_the_scale_is_at_most_100():
    ours = module()
    ours.clip.logit_scale.data.fill_(9.0)
    assert ours.scale().item() == 100


def test_captions_are_templates_of_classes_in_order():
    texts = caption_texts(NAMES)
    assert len(texts) == len(CLIP.captions) == 3 * len(TEMPLATES)
    assert texts[len(TEMPLATES)] == "a photo of a lawn mower."
    assert len(set(CLIP.captions)) == len(CLIP.captions)
    assert {len(c) for c in CLIP.captions} == {max(len(c) for c in CLIP.captions)}
    assert all(c[-1] == END for c in CLIP.captions)
    assert word_captions(["B"], ["a {name}"]) == (((0, 2, 3, 1),), 4)


def test_the_classifier_ends_in_a_linear_head_that_is_found():
    built = CLIP.classifier().build(SHAPE, 3)
    assert head_name(built) == "head"
    assert built(torch.zeros(2, *SHAPE)).shape == (2, 3)


def test_what_decides_the_bits_is_in_the_key():
    changes = [{"captions": CLIP.captions[::-1]}, {"library": "transformers 0"}, {"config": _longer(CLIP.config)}]
    assert len({digest(CLIP), *(digest(replace(CLIP, **c)) for c in changes)}) == 4
    assert digest(CLIP) == digest(small_clip(NAMES, 16, width=32, depth=2))


def test_starts_are_drawn_from_the_seed():
    one, same, other = (initial_state(CLIP, SHAPE, 3, seed) for seed in (0, 0, 1))
    name = "clip.visual_projection.weight"
    np.testing.assert_array_equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CLIP.build((3, 32, 32), 3), r"reads images of shape \(3, 16, 16\)"),
        (lambda: CLIP.classifier().build((1, 16, 16), 3), "reads images of shape"),
        (lambda: CLIP.build(SHAPE, 4), "captions for 3 classes; the records have 4"),
        (lambda: replace(CLIP, captions=((0, 500, 1),) * 12).build(SHAPE, 3), "do not fit the text tower"),
        (lambda: small_clip(NAMES, 16, width=50), "multiple of 32"),
        (lambda: small_clip(NAMES, 20), "do not fill"),
        (lambda: clip_config({"model_type": "bert"}), "not of a CLIP"),
        (lambda: clip_config({"model_type": "clip", "projection_dim": "wide"}), "transformers cannot build"),
    ],
)
def test_what_does_not_fit_is_one_line(make, said):
    with pytest.raises(ConfigError, match=said) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_configurations_own_code_is_dropped():
    content = {"model_type": "clip", "auto_map": {"AutoModel": "evil.py"}, "projection_dim": 8}
    assert "evil" not in clip_config(content)
