"""`undertow audit lm` on a tiny Llama: finetuned on the members it leaks them, and its base leaks nothing."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from undertow.cli import app
from undertow.rng import stream

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ALONE = {"loss", "zlib", "min-k", "min-k++", "recall", "blind"}
WITH_BASE = {"ratio", "ez", "wbc", "nm-token", "nm-text", "adapted-ratio"}
COUNT = 60  # texts on each side


def _texts(count, seed, words=60):
    rng = stream(seed, "test texts")
    some = ["".join(rng.choice(list("aeioubdgklmnprst"), 4)) for _ in range(words)]
    return [" ".join(rng.choice(some, int(rng.integers(8, 16)))) for _ in range(count)]


def _rows(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def _finetune(model, tokenizer, texts, epochs=10):
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(epochs):
        for start in range(0, len(texts), 10):
            rows = tokenizer(texts[start : start + 10], padding=True, return_tensors="pt")
            labels = rows["input_ids"].masked_fill(rows["attention_mask"] == 0, -100)
            loss = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """base/ (trained on other texts), tuned/ (finetuned on members.jsonl), nonmembers.jsonl of the same words."""
    from undertow.sources.records.tokens import own_tokens

    folder = tmp_path_factory.mktemp("lm")
    texts = _texts(3 * COUNT, 0)
    members, nonmembers, others = texts[:COUNT], texts[COUNT : 2 * COUNT], texts[2 * COUNT :]
    _rows(folder / "members.jsonl", members)
    _rows(folder / "nonmembers.jsonl", nonmembers)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=own_tokens(texts, 300).tokenizer)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    for name, taught in (("base", others), ("tuned", members)):
        _finetune(model, tokenizer, taught)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def _run(place, out, *more, model="tuned", members="members.jsonl", nonmembers="nonmembers.jsonl"):
    given = ["--model", str(place / model), "--members", str(place / members), "--nonmembers", str(place / nonmembers)]
    return CliRunner().invoke(app, ["audit", "lm", *given, "--out", str(out), *more])


@pytest.fixture(scope="module")
def leaking(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    found = _run(place, out, "--base", str(place / "base"))
    assert found.exit_code == 0, found.output
    return out, found.output, json.loads((out / "result.json").read_text())


def _auc(body, attack, where="measurements"):
    (row,) = [m for m in body[where] if (m["attack"], m["metric"]) == (attack, "auc")]
    return row


def test_finetuning_on_the_members_shows(leaking):
    _, _, body = leaking
    assert _auc(body, "loss")["low"] > 0.6
    for name in WITH_BASE - {"adapted-ratio"}:
        assert _auc(body, name)["low"] > 0.5, name
    assert body["leak"]["shown"]
    assert body["data"]["sizes"] == {"members": COUNT, "nonmembers": COUNT}


def test_the_base_alone_is_a_control_at_chance(leaking):
    _, _, body = leaking
    for name in ALONE - {"recall", "blind"}:
        control = _auc(body, name, "controls")
        assert control["low"] < 0.5, control


def test_every_attack_is_run_or_said_not_to_be(leaking, place, tmp_path):
    _, _, body = leaking
    assert body["audit"] == "lm"
    absent = {entry["attack"] for entry in body["attacks"]["not_run"]}
    assert set(body["attacks"]["run"]) | absent >= ALONE | WITH_BASE
    assert "adapted-ratio" in absent
    assert all(entry["reason"] and entry["fix"] for entry in body["attacks"]["not_run"])
    assert _run(place, tmp_path / "alone", "--quiet").exit_code == 0
    alone = json.loads((tmp_path / "alone" / "result.json").read_text())
    assert set(alone["attacks"]["run"]) == ALONE
    assert {entry["attack"] for entry in alone["attacks"]["not_run"]} >= WITH_BASE


def test_the_base_is_adapted_on_other_texts(place, tmp_path, monkeypatch):
    monkeypatch.setattr("undertow.integrations.adapted.RATE", 3e-3)
    _rows(place / "public.jsonl", _texts(4 * COUNT, 0)[3 * COUNT :])
    more = ["--quiet", "--base", str(place / "base"), "--adapt", str(place / "public.jsonl")]
    found = _run(place, tmp_path / "run", *more)
    assert found.exit_code == 0, found.output
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(body["attacks"]["run"]) == ALONE | WITH_BASE
    assert _auc(body, "adapted-ratio")["low"] > 0.6
    with np.load(tmp_path / "run" / "scores.npz") as kept:
        values = dict(zip(kept["attack"].tolist(), kept["values"][:, 0], strict=True))
    assert not np.allclose(values["ratio"], values["adapted-ratio"])


def test_validity_stands_at_the_top_and_is_read_again(leaking):
    from undertow.storage.results import load_result

    out, _, body = leaking
    assert set(body["validity"]) == {"distribution_shift_auc", "low", "high"}
    assert body["validity"]["low"] <= body["validity"]["distribution_shift_auc"] <= body["validity"]["high"]
    assert not any("mean nothing" in warning for warning in body["warnings"])
    assert load_result(out).validity == body["validity"]
    assert (out / "report.html").is_file()
    assert (out / "scores.npz").is_file()


def test_a_model_that_saw_neither_side_leaks_nothing(place, tmp_path):
    assert _run(place, tmp_path / "run", "--quiet", model="base").exit_code == 0
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert not body["leak"]["shown"]
    for name in ALONE:
        assert abs(_auc(body, name)["value"] - 0.5) < 0.2, name


def test_texts_of_another_kind_make_the_numbers_void(place, tmp_path):
    _rows(place / "other.jsonl", [text.upper() + " 2024" for text in _texts(COUNT, 7)])
    found = _run(place, tmp_path / "run", nonmembers="other.jsonl")
    assert found.exit_code == 0, found.output
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert body["validity"]["low"] > 0.5
    (warning,) = [text for text in body["warnings"] if text.startswith("These AUCs mean nothing here")]
    assert "told apart without the model (AUC" in warning


def test_empty_texts_are_skipped_and_counted(place, tmp_path):
    _rows(place / "gaps.jsonl", [*_texts(20, 3), "", "  "])
    assert _run(place, tmp_path / "run", "--quiet", members="gaps.jsonl").exit_code == 0
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert any("2 of 22 texts are empty" in warning for warning in body["warnings"])
    assert body["data"]["sizes"]["members"] == 20


def test_few_nonmembers_leave_the_cross_fitted_attacks_out(place, tmp_path):
    _rows(place / "few.jsonl", _texts(5, 4))
    found = _run(place, tmp_path / "run", "--quiet", "--base", str(place / "base"), nonmembers="few.jsonl")
    assert found.exit_code == 0, found.output
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {e["attack"] for e in body["attacks"]["not_run"]} >= {"recall", "nm-token", "nm-text"}


def test_texts_of_one_group_are_counted_together(place, tmp_path):
    for name in ("members", "nonmembers"):
        rows = [json.loads(line) for line in (place / f"{name}.jsonl").read_text().splitlines()]
        rows = [{**row, "group": f"{name} {i // 3}", "id": f"{name}/{i}"} for i, row in enumerate(rows)]
        (place / f"{name}-grouped.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ["--quiet", "--base", str(place / "base")]
    found = _run(place, tmp_path / "run", *more, members="members-grouped.jsonl", nonmembers="nonmembers-grouped.jsonl")
    assert found.exit_code == 0, found.output
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert body["design"]["groups"] == 2 * COUNT // 3
    assert "members/0" in (tmp_path / "run" / "records.csv").read_text()


def test_long_texts_are_cut_and_counted(place, tmp_path):
    _rows(place / "long.jsonl", [*_texts(20, 3), " ".join(_texts(60, 3))])
    found = _run(place, tmp_path / "run", "--quiet", members="long.jsonl")
    assert (found.exit_code, found.output) == (0, "")
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert any("longer than 256 tokens and were cut" in warning for warning in body["warnings"])


def test_the_gate_fails_on_a_leak(place, tmp_path):
    assert _run(place, tmp_path / "run", "--quiet", "--fail-if", "auc>0.55").exit_code == 1


SAID = {
    "model": "no such folder",
    "pickle": "pickles",
    "adapter": "give the model that it adapts by --base",
    "damaged adapter": "adapter",
    "loss": "all or answers",
    "classifier": "no causal language model",
    "public": "60 of its texts are in",
    "alone": "--adapt needs --base",
    "chat": "conversations and the other texts",
    "field": "--field",
    "missing": "no such file",
    "overlap": "members",
    "tokens": "other tokens",
    "config": "config.json",
}


@pytest.mark.parametrize("case", SAID)
def test_wrong_inputs_are_one_line(place, tmp_path, case):
    more, changes, said = [], {}, SAID[case]
    if case == "model":
        changes = {"model": "nowhere"}
    elif case == "pickle":
        (place / "pickled").mkdir()
        (place / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        changes = {"model": "pickled"}
    elif case in ("public", "alone"):
        more = ["--adapt", str(place / "members.jsonl")]
        more += ["--base", str(place / "base")] if case == "public" else []
    elif case == "adapter":
        (place / "adapter").mkdir()
        (place / "adapter" / "adapter_config.json").write_text("{}")
        (place / "adapter" / "adapter_model.safetensors").write_bytes(b"")
        changes = {"model": "adapter"}
    elif case == "damaged adapter":
        (place / "damaged").mkdir()
        (place / "damaged" / "adapter_config.json").write_text("{}")
        (place / "damaged" / "adapter_model.safetensors").write_bytes(b"")
        changes, more = {"model": "base"}, ["--adapter", str(place / "damaged")]
    elif case == "loss":
        more = ["--loss", "half"]
    elif case == "classifier":
        config = transformers.DistilBertConfig(vocab_size=50, dim=16, hidden_dim=16, n_layers=1, n_heads=2)
        transformers.DistilBertForSequenceClassification(config).save_pretrained(place / "classifier")
        changes = {"model": "classifier"}
    elif case == "chat":
        (place / "chat.jsonl").write_text('{"messages": [{"role": "user", "content": "hello"}]}\n' * 9)
        changes = {"members": "chat.jsonl"}
    elif case == "field":
        more = ["--field", "txet"]
    elif case == "missing":
        changes = {"nonmembers": "absent.jsonl"}
    elif case == "overlap":
        changes = {"nonmembers": "members.jsonl"}
    elif case == "tokens":
        more = ["--base", str(_another_base(place))]
    elif case == "config":
        (place / "bare").mkdir()
        (place / "bare" / "model.safetensors").write_bytes((place / "base" / "model.safetensors").read_bytes())
        changes = {"model": "bare"}
    found = _run(place, tmp_path / "run", *more, **changes)
    lines = found.output.strip().splitlines()
    assert found.exit_code == 2, found.output
    assert len(lines) == 1, lines
    assert lines[0].startswith("undertow: ")
    assert said in lines[0]
    assert not (tmp_path / "run").exists()


def _another_base(place):
    from undertow.sources.records.tokens import own_tokens

    folder = place / "another"
    model = transformers.LlamaForCausalLM.from_pretrained(place / "base")
    model.save_pretrained(folder)
    texts = [json.loads(line)["text"][::-1] for line in (place / "members.jsonl").read_text().splitlines()]
    transformers.PreTrainedTokenizerFast(tokenizer_object=own_tokens(texts, 280).tokenizer).save_pretrained(folder)
    return folder


def test_the_same_seed_gives_the_same_numbers(leaking, place, tmp_path):
    _, _, body = leaking
    assert _run(place, tmp_path / "run", "--quiet", "--base", str(place / "base"), "--batch", "3").exit_code == 0
    again = json.loads((tmp_path / "run" / "result.json").read_text())
    first, second = ([_auc(b, name)["value"] for name in ("loss", "nm-token", "recall")] for b in (body, again))
    np.testing.assert_allclose(first, second, atol=0.01)  # other batches, other rounding


TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture(scope="module")
def lora(place):
    """The base with a LoRA adapter of peft, trained on members.jsonl until it knows them."""
    peft = pytest.importorskip("peft")
    model = transformers.LlamaForCausalLM.from_pretrained(place / "base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "base")
    texts = [json.loads(line)["text"] for line in (place / "members.jsonl").read_text().splitlines()]
    torch.manual_seed(0)
    model = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=32, target_modules="all-linear"))
    _finetune(model, tokenizer, texts, 20)
    model.save_pretrained(place / "lora")
    merged = peft.PeftModel.from_pretrained(
        transformers.LlamaForCausalLM.from_pretrained(place / "base"), place / "lora"
    ).merge_and_unload()
    merged.save_pretrained(place / "merged")
    tokenizer.save_pretrained(place / "merged")
    return place


def _values(out):
    body = json.loads((out / "result.json").read_text())
    return {m["attack"]: m["value"] for m in body["measurements"] if m["metric"] == "auc"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for a name of before
def test_an_adapter_is_audited_as_its_merged_model_is(lora, tmp_path):
    """By --adapter, by --model and --base, and merged by peft: the same attacks, the same numbers."""
    base = ["--base", str(lora / "base"), "--quiet"]
    ways = {
        "adapter": _run(lora, tmp_path / "adapter", "--adapter", str(lora / "lora"), "--quiet", model="base"),
        "model": _run(lora, tmp_path / "model", *base, model="lora"),
        "merged": _run(lora, tmp_path / "merged", *base, model="merged"),
    }
    assert {name: way.exit_code for name, way in ways.items()} == dict.fromkeys(ways, 0), ways["adapter"].output
    values = {name: _values(tmp_path / name) for name in ways}
    assert values["merged"]["ratio"] > 0.7
    for name in ("adapter", "model"):
        assert values[name].keys() == values["merged"].keys()
        for attack, value in values["merged"].items():
            assert values[name][attack] == pytest.approx(value, abs=0.002), (name, attack)


def _chats(place, name, texts, form):
    rows = []
    for i, text in enumerate(texts):
        words = text.split()
        asked, answer = " ".join(words[:4]), " ".join(words[4:])
        if form == "prompt":
            rows.append({"prompt": asked, "completion": answer, "id": f"{name}/{i}"})
        else:
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            rows.append({"messages": turns, "id": f"{name}/{i}"})
    (place / f"{name}-{form}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(("form", "loss", "alone"), [("messages", "", False), ("messages", "answers", True),
                                                      ("prompt", "", True), ("prompt", "all", False)])  # fmt: skip
def test_chats_are_read_by_the_models_template(place, tmp_path, form, loss, alone):
    """What was asked counts only where it was learnt: then the mean log-probability is of more tokens."""
    from undertow.workflows import lm as module

    for name in ("members", "nonmembers"):
        texts = [json.loads(line)["text"] for line in (place / f"{name}.jsonl").read_text().splitlines()]
        _chats(place, name, texts, form)
    model = place / "tuned"
    (model / "chat_template.jinja").write_text(TEMPLATE)
    try:
        request = module.LmRequest(
            str(model), str(place / f"members-{form}.jsonl"), str(place / f"nonmembers-{form}.jsonl"), learnt=loss
        )
        result = module.run_lm(request)
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    finally:
        (model / "chat_template.jinja").unlink()
    assert result.ids[0] == "members/0"
    assert any("scored on the answers alone" in note for note in result.warnings) == alone
    row = json.loads((place / f"members-{form}.jsonl").read_text().splitlines()[0])
    turns = row.get("messages") or [
        {"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}
    ]  # fmt: skip
    whole = tokenizer.apply_chat_template(turns, chat_template=TEMPLATE, tokenize=False)
    before = tokenizer.apply_chat_template(
        turns[:1], chat_template=TEMPLATE, tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    start = len(tokenizer(before, add_special_tokens=False)["input_ids"]) if alone else 1
    network = transformers.LlamaForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        logs = torch.log_softmax(network(torch.tensor([ids])).logits[0].double(), -1)
    due = np.mean([float(logs[t - 1, ids[t]]) for t in range(start, len(ids))])
    loss_scores = next(s for s in result.scores if s.attack == "loss" and s.group is None)
    assert loss_scores.values[0, 0] == pytest.approx(due, abs=1e-5)


def test_zlib_is_of_the_answers_where_they_alone_were_learnt(place, tmp_path, monkeypatch):
    from undertow.workflows import lm as module

    texts = [json.loads(line)["text"] for line in (place / "members.jsonl").read_text().splitlines()]
    for name in ("members", "nonmembers"):
        own = [json.loads(line)["text"] for line in (place / f"{name}.jsonl").read_text().splitlines()]
        _chats(place, name, own, "prompt")
    seen, audit = [], module.audit_lm
    monkeypatch.setattr(module, "audit_lm", lambda one, seed: seen.append(one) or audit(one, seed))
    model = place / "tuned"
    (model / "chat_template.jinja").write_text(TEMPLATE)
    try:
        files = (str(place / f"{name}-prompt.jsonl") for name in ("members", "nonmembers"))
        module.run_lm(module.LmRequest(str(model), *files))
    finally:
        (model / "chat_template.jinja").unlink()
    answer = " ".join(texts[0].split()[4:])
    (one,) = seen
    assert one.learnt[0].startswith(answer)
    assert len(one.learnt[0]) < len(one.both.x[0]) - len(" ".join(texts[0].split()[:4]))
