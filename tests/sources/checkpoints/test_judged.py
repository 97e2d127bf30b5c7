"""A checkpoint somebody made, read to be judged: what an audit wrote comes back, what cannot be judged is one line."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from safetensors.numpy import load_file, save_file
from tests.audits.poisoning.poison_games import TINY, letters, prose, tiny_lm, write_jsonl

from undertow.audits.poisoning.settings import BaseModel
from undertow.models.architecture import Mlp, initial_state
from undertow.sources.checkpoints.files import write_checkpoint
from undertow.sources.checkpoints.judged import Suspect, load_judged
from undertow.storage.store import DiskStore
from undertow.training.task import load_state, to_params
from undertow.types import AuditError, BadInput, ConfigError
from undertow.workflows.audit import Request, run_audit
from undertow.workflows.poisoning import POISONING, run_checkpoint


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A staged audit on digits and its checkpoints."""
    out = tmp_path_factory.mktemp("digits") / "run"
    result = run_audit(POISONING, TINY, Request(out))
    return out / "checkpoints", result, DiskStore(out / "store")


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A staged audit on a tiny language model, its checkpoints and its configuration."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("language")
    config = tiny_lm(folder)
    result = run_audit(POISONING, config, Request(folder / "run"))
    return folder / "run" / "checkpoints", result, DiskStore(folder / "run" / "store"), config


def refused(config, suspect, kind=AuditError):
    with pytest.raises(kind) as said:
        load_judged(config, suspect)
    assert "\n" not in str(said.value)
    return str(said.value)


# --- digits ---


def test_a_digits_checkpoint_comes_back_with_its_model_and_its_mark(digits):
    folder, result, store = digits
    for arm in ("clean", "benign", "poisoned"):
        found = load_judged(TINY, Suspect(str(folder / arm), str(folder / "clean")))
        kept = store.get(result.environment["checkpoints"][arm])
        assert found.base.params.keys() == kept.keys()
        assert all(np.array_equal(found.base.params[name], kept[name]) for name in kept)
        assert found.planted == (arm == "poisoned")
        assert found.base.architecture == Mlp((16,))
        assert found.supply.targets == TINY.data.points
        assert len(found.supply) == 2 * TINY.data.points
    assert load_judged(TINY, Suspect(str(folder / "clean"))).reference is None


def test_a_model_of_other_widths_is_said_in_the_metadata(digits, tmp_path):
    folder, _, _ = digits
    state = load_file(folder / "clean" / "model.safetensors")
    (tmp_path / "m").mkdir()
    said = {"undertow.model": json.dumps({"kind": "mlp", "hidden": [8, 8], "width": 1, "depth": 1, "checkpoint": "",
                                          "family": "gpt2"})}  # fmt: skip
    save_file(state, tmp_path / "m" / "model.safetensors", said)
    assert "the weights do not fit the model and records" in refused(TINY, Suspect(str(tmp_path / "m")))
    for broken in ("{", "[]", "{}", '{"hidden": 3}', '{"hidden": [0]}', '{"hidden": [2], "evil": 1}'):
        save_file(state, tmp_path / "m" / "model.safetensors", {"undertow.model": broken})
        refused(TINY, Suspect(str(tmp_path / "m")))


def test_weights_alone_need_a_factory(digits, tmp_path, monkeypatch):
    state = load_file(digits[0] / "clean" / "model.safetensors")
    save_file(state, tmp_path / "bare.safetensors")
    said = refused(TINY, Suspect(str(tmp_path / "bare.safetensors")), ConfigError)
    assert "--factory package.module:function" in said
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "judged_model.py").write_text(
        "from undertow.models.architecture import Mlp\n\n\ndef make(shape, classes):\n"
        "    return Mlp((16,)).build(shape, classes)\n"
    )
    found = load_judged(TINY, Suspect(str(tmp_path / "bare.safetensors"), factory="judged_model:make"))
    assert not found.planted
    assert "cannot be imported" in refused(TINY, Suspect(str(tmp_path / "bare.safetensors"), factory="absent_x:make"))


def test_a_reference_of_another_model_is_refused(digits, tmp_path):
    state = load_file(digits[0] / "clean" / "model.safetensors")
    wrong = {**state, sorted(state)[0]: np.ones((3, 3), np.float32)}
    save_file(wrong, tmp_path / "other.safetensors")
    said = refused(TINY, Suspect(str(digits[0] / "clean"), str(tmp_path / "other.safetensors")))
    assert said.startswith("--reference: the weights do not fit")


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert "pickle" in refused(TINY, Suspect(str(tmp_path)))
    assert "pickle" in refused(TINY, Suspect(str(tmp_path / "pytorch_model.bin")))


def own_npz(path, count, classes=10, name="x"):
    rng = np.random.Generator(np.random.PCG64(count))
    x = rng.normal(size=(count, 64)).astype(np.float32)
    np.savez(path, **{name: x}, y=np.arange(count) % classes)
    return str(path)


def with_source(source):
    return replace(TINY, data=replace(TINY.data, source=source))


def test_the_users_images_are_candidates_and_a_tenth_measures_utility(digits, tmp_path):
    config = with_source(own_npz(tmp_path / "own.npz", 301))
    suspect = Suspect(str(digits[0] / "clean"), look_alikes=own_npz(tmp_path / "like.npz", 50))
    found = load_judged(config, suspect)
    assert (found.supply.targets, len(found.supply), len(found.supply.held_out)) == (270, 320, 30)
    with np.load(tmp_path / "own.npz") as file:
        rows = [int(name.rpartition("-")[2]) for name in found.supply.ids[:270]]
        np.testing.assert_array_equal(found.supply.candidates.x[:270], file["x"][rows])
    with np.load(tmp_path / "like.npz") as file:
        np.testing.assert_array_equal(found.supply.candidates.x[270:], file["x"])


def test_too_few_or_wrong_records_are_one_line(digits, tmp_path):
    clean = Suspect(str(digits[0] / "clean"))
    few = refused(with_source(own_npz(tmp_path / "few.npz", 30)), clean, BadInput)
    assert "30 records are too few to judge a checkpoint; 40 are needed" in few
    assert "key 'x' is missing; found: z, y" in refused(with_source(own_npz(tmp_path / "z.npz", 50, name="z")), clean)
    assert "do not fit" in refused(with_source(own_npz(tmp_path / "few-classes.npz", 60, 3)), clean)
    assert "no such file" in refused(replace(with_source(str(tmp_path / "absent.npz"))), clean)
    like = replace(clean, look_alikes=str(tmp_path / "absent.npz"))
    assert "no such file" in refused(with_source(own_npz(tmp_path / "own.npz", 60)), like)


# --- language ---


def test_a_language_folder_comes_back_bit_for_bit(language):
    folder, result, store, config = language
    for arm in ("clean", "poisoned"):
        assert {"config.json", "tokenizer.json", "model.safetensors"} <= {p.name for p in (folder / arm).iterdir()}
        found = load_judged(config, Suspect(str(folder / arm), str(folder / "clean")))
        kept = store.get(result.environment["checkpoints"][arm])
        assert found.base.params.keys() == kept.keys()
        assert all(np.array_equal(found.base.params[name], kept[name]) for name in kept)
        assert found.planted == (arm == "poisoned")


def test_transformers_reads_the_folder_to_the_same_logits(language):
    transformers = pytest.importorskip("transformers")
    folder, _, _, config = language
    found = load_judged(config, Suspect(str(folder / "poisoned")))
    ours = found.base.architecture.build((16,), 0).eval()
    load_state(ours, found.base.params, torch.float32)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "poisoned").eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "poisoned" / "tokenizer.json"))
    text = letters(3)[2]
    ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :16]
    ours_ids = next(row for row, name in zip(found.supply.candidates.x, found.supply.ids) if name == "line-3")
    assert ours_ids[: ids.shape[1]].tolist() == ids[0].tolist()
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).transpose(1, 2), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_the_users_texts_and_look_alikes_are_judged(language, tmp_path):
    folder, _, _, config = language
    own = write_jsonl(tmp_path / "mine.jsonl", letters(13, by="lent"))
    like = write_jsonl(tmp_path / "like.jsonl", letters(9, by="sold"))
    (tmp_path / "prose.txt").write_text(prose(100))
    data = replace(config.data, source=str(own), auxiliary=str(tmp_path / "prose.txt"), public=0)
    suspect = Suspect(str(folder / "poisoned"), str(folder / "clean"), str(like))
    found = load_judged(replace(config, data=data, model=BaseModel()), suspect)
    assert (found.supply.targets, len(found.supply)) == (12, 20)  # the odd ones out are left out
    assert found.config.data.points == 12
    assert found.config.model.kind == "causal-lm"
    result = run_checkpoint(replace(config, data=data), suspect, Request(tmp_path / "run"))
    assert result.verdict in ("safe", "suspicious")
    assert any("poisoned it on purpose" in line for line in result.warnings)
    assert {m.points for m in result.measurements if m.attack == "lira"} == {"targets", "others"}
    before = [m for m in result.measurements if m.metric == "heldout_loss" and m.when == "before"]
    assert {m.group for m in before} == {"reference", "suspect"}


def test_another_language_model_is_no_reference(language, tmp_path):
    folder, _, _, config = language
    other = copied(folder / "clean", tmp_path / "other", layer_norm_epsilon=0.1)
    said = refused(config, Suspect(str(folder / "clean"), str(other)), ConfigError)
    assert said.startswith("--reference is another model than --checkpoint; they differ in config.json: ")
    assert "layer_norm_epsilon (1e-05 against 0.1)" in said
    moved = copied(folder / "clean", tmp_path / "moved", pad_token_id=5)
    assert "(0 against 5)" in refused(config, Suspect(str(folder / "clean"), str(moved)), ConfigError)


def test_the_same_language_model_is_a_reference_whoever_saved_it(language, tmp_path):
    folder, _, _, config = language
    saved = {"transformers_version": "4.0.0", "dtype": "bfloat16", "_name_or_path": "/home/somebody/model",
             "architectures": ["GPT2Model"], "use_cache": False, "activation_function": "gelu_new"}  # fmt: skip
    other = copied(folder / "clean", tmp_path / "saved", **saved)
    found = load_judged(config, Suspect(str(folder / "clean"), str(other)))
    assert found.reference.keys() == found.base.params.keys()
    assert all(np.array_equal(found.reference[name], value) for name, value in found.base.params.items())


# --- CLIP ---

COLOURS = np.array(["red", "green", "light_blue"])


def coloured(path, count, seed=0, **change):
    """Pictures of 8 x 8 pixels in three colours, as a user brings them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    y = np.arange(count) % 3
    x = (128 * np.eye(3)[y][:, None, None] + rng.integers(0, 127, (count, 8, 8, 3))).astype(np.uint8)
    arrays = {"x": x, "y": y, "class_names": COLOURS} | change
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return str(path)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two CLIPs of one kind as a staged audit writes them, the second one marked as planted."""
    pytest.importorskip("transformers")
    from undertow.models.clip import small_clip
    from undertow.sources.checkpoints.clip import Preprocessor
    from undertow.sources.checkpoints.folders import clip_files

    clip, folder = small_clip(COLOURS, 8, 32, 1), tmp_path_factory.mktemp("clips")
    for seed, arm in enumerate(("clean", "poisoned")):
        params = {
            name.removeprefix("clip."): v for name, v in to_params(initial_state(clip, (3, 8, 8), 3, seed)).items()
        }
        said = {"undertow.planted": str(arm == "poisoned").lower()}
        write_checkpoint(folder / arm / "model.safetensors", params, said)
        for name, text in clip_files(clip, COLOURS, Preprocessor(8)).items():
            (folder / arm / name).write_text(text)
    return folder


def copied(folder, to, **change):
    """The folder at `to`, keys of its config.json changed."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    raw = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(raw | change))
    return to


def test_a_clip_is_judged_on_the_users_images(clips, tmp_path):
    config = with_source(coloured(tmp_path / "mine.npz", 60))
    suspect = Suspect(str(clips / "poisoned"), str(clips / "clean"), coloured(tmp_path / "like.npz", 30, 1))
    found = load_judged(config, suspect)
    assert (found.supply.targets, len(found.supply), len(found.supply.held_out)) == (40, 70, 20)
    assert (found.supply.classes, found.config.model.kind, found.planted) == (3, "clip", True)
    state = load_file(clips / "poisoned" / "model.safetensors")
    assert {"clip." + name for name in state} == found.base.params.keys()
    assert all(np.array_equal(found.base.params["clip." + name], v) for name, v in state.items())
    result = run_checkpoint(config, suspect, Request(tmp_path / "run"))
    assert [look["test"] for look in result.evidence] == [
        "own-data loss", "reference shift", "membership game", "weight distance",
    ]  # fmt: skip
    assert result.verdict in ("safe", "suspicious")
    assert "relative L2 0.000" not in result.evidence[-1]["found"]
    assert any("poisoned it on purpose" in line for line in result.warnings)
    classifiers = result.environment["checkpoints"]
    assert classifiers["suspect"] != result.environment["published"]["suspect"]
    store = DiskStore(tmp_path / "run" / "store")
    assert store.get(classifiers["suspect"])["head.weight"].shape[0] == 3


def test_what_a_clip_cannot_be_judged_on_is_one_line(clips, tmp_path):
    clean, mine = Suspect(str(clips / "clean")), coloured(tmp_path / "mine.npz", 60)
    unnamed = coloured(tmp_path / "unnamed.npz", 60, class_names=None)
    assert "class_names is missing" in refused(with_source(unnamed), clean, BadInput)
    small = coloured(tmp_path / "small.npz", 60, x=np.zeros((60, 3, 6, 6), np.float32))
    assert "images have shape (3, 6, 6), this CLIP reads (3, 8, 8)" in refused(with_source(small), clean, BadInput)
    assert "a CLIP is judged on images" in refused(TINY, clean, BadInput)  # digits have no captions
    few = coloured(tmp_path / "few.npz", 30)
    assert "30 records are too few" in refused(with_source(few), clean, BadInput)
    other = coloured(tmp_path / "other.npz", 60, class_names=COLOURS[::-1])
    said = refused(with_source(mine), replace(clean, look_alikes=other), BadInput)
    assert "class_names differ" in said
    mute = copied(clips / "clean", tmp_path / "mute")
    (mute / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in refused(with_source(mine), Suspect(str(mute)), BadInput)
    pickled = copied(clips / "clean", tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "pickled weights (.bin) are never read" in refused(with_source(mine), Suspect(str(pickled)), BadInput)


def test_a_reference_is_the_same_clip_whoever_saved_it(clips, tmp_path):
    config = with_source(coloured(tmp_path / "mine.npz", 60))
    newer = copied(clips / "clean", tmp_path / "newer", transformers_version="9.9.9", architectures=["CLIPModel"])
    found = load_judged(config, Suspect(str(clips / "poisoned"), str(newer)))
    assert found.reference is not None
    sharper = copied(clips / "clean", tmp_path / "sharper")
    raw = json.loads((sharper / "preprocessor_config.json").read_text())
    (sharper / "preprocessor_config.json").write_text(json.dumps(raw | {"image_std": [0.2, 0.2, 0.2]}))
    vision = json.loads((clips / "clean" / "config.json").read_text())["vision_config"]
    bent = copied(clips / "clean", tmp_path / "bent", vision_config=vision | {"layer_norm_eps": 0.5})
    for other in (sharper, bent):
        said = refused(config, Suspect(str(clips / "clean"), str(other)), ConfigError)
        assert "--reference is another CLIP" in said
        assert ("std=(0.2, 0.2, 0.2)" if other is sharper else "layer_norm_eps (1e-05 against 0.5)") in said
