"""Folders whose configuration would have a loader run something: name -> (files by name, the verdict that is due).

None holds a working payload: a scan has to refuse them for what they ask a loader to do.
"""

import json

Files = dict[str, str]
EVIL = "raise SystemExit  # what a loader would run\n"


def js(**table: object) -> str:
    return json.dumps(table)


def template(text: str) -> Files:
    return {"tokenizer_config.json": json.dumps({"chat_template": text})}


SENTENCE = {
    "module-beside": ({"modules.json": json.dumps([{"idx": 0, "type": "evil.Evil"}]), "evil.py": EVIL}, "unsafe"),
    "module-in-a-package": (
        {"modules.json": json.dumps([{"type": "package.evil.Evil"}]), "package/evil.py": EVIL}, "unsafe"),
    "module-of-os": ({"modules.json": json.dumps([{"type": "os.system"}])}, "unsafe"),
    "module-behind-a-prefix": ({"modules.json": json.dumps([{"type": "sentence_transformers.util.os.system"}])},
        "unsafe"),
    "module-of-another-repository": ({"modules.json": json.dumps([{"type": "evil/repo--code.Evil"}])}, "unknown"),
    "module-unknown": ({"modules.json": json.dumps([{"type": "some_package.Model"}])}, "unknown"),
    "module-twice": (
        {"modules.json": '[{"type": "evil.Evil", "type": "sentence_transformers.models.Pooling"}]', "evil.py": EVIL},
        "unsafe"),
    "module-args": ({"sentence_bert_config.json": js(model_args={"trust_remote_code": True})}, "unknown"),
}  # fmt: skip
TRANSFORMERS = {
    "auto-map": ({"config.json": js(auto_map={"AutoModel": "modeling.Evil"}), "modeling.py": EVIL}, "unknown"),
    "auto-map-nested": ({"config.json": js(text_config={"auto_map": {"AutoConfig": "a.B"}})}, "unknown"),
    "auto-map-elsewhere": ({"config.json": js(auto_map={"AutoModel": "evil/repo--modeling.Evil"})}, "unknown"),
    "auto-map-tokenizer": ({"tokenizer_config.json": js(auto_map={"AutoTokenizer": ["a.B", None]})}, "unknown"),
    "auto-map-processor": ({"preprocessor_config.json": js(auto_map={"AutoProcessor": "p.P"})}, "unknown"),
    "auto-map-in-a-list": ({"config.json": js(parts=[{"auto_map": {"AutoModel": "a.B"}}])}, "unknown"),
    "auto-map-then-null": ({"config.json": '{"auto_map": {"AutoModel": "a.B"}, "auto_map": null}'}, "unknown"),
    "auto-map-vllm": (
        {"config.json": js(model_type="Nemotron_Nano_VL", vision_config={"auto_map": {"AutoConfig": "a.B"}})},
        "unsafe"),
    "pipelines": ({"config.json": js(custom_pipelines={"x": {"impl": "pipe.Evil"}})}, "unknown"),
    "kernel-internal": ({"config.json": js(_attn_implementation_internal="evil/kernel")}, "unsafe"),
    "kernel": ({"config.json": js(_attn_implementation="evil/kernel@main:forward")}, "unsafe"),
    "kernel-public": ({"config.json": js(attn_implementation="evil/kernel")}, "unsafe"),
    "kernel-nested": ({"config.json": js(text_config={"_attn_implementation_internal": "evil/kernel"})}, "unsafe"),
    "kernel-by-part": ({"config.json": js(_attn_implementation={"text_config": "evil/kernel"})}, "unsafe"),
    "kernel-paged": ({"config.json": js(_attn_implementation="paged|evil/kernel")}, "unsafe"),
    "kernel-experts": ({"config.json": js(_experts_implementation_internal="evil/kernel")}, "unsafe"),
    "trust": ({"config.json": js(trust_remote_code=True)}, "unknown"),
    "trust-lightglue": (
        {"config.json": js(model_type="lightglue", keypoint_detector_config={"trust_remote_code": True})}, "unsafe"),
    "generate": ({"config.json": "{}", "custom_generate/generate.py": EVIL}, "unknown"),
    "byte-order-mark": ({"config.json": "\ufeff" + js(_attn_implementation="evil/kernel")}, "unsafe"),
    "deep": ({"config.json": '{"a":' * 300 + '{"auto_map": {"x": "y.Z"}}' + "}" * 300}, "unknown"),
}  # fmt: skip
DIFFUSERS = {
    "pipeline-file": ({"model_index.json": js(_class_name=["pipeline", "Evil"]), "pipeline.py": EVIL}, "unsafe"),
    "pipeline-component": (
        {"model_index.json": js(_class_name="X", unet=["evil", "Evil"]), "unet/evil.py": EVIL}, "unsafe"),
    "pipeline-of-os": ({"model_index.json": js(_class_name="X", unet=["os", "system"])}, "unsafe"),
    "pipeline-foreign": ({"model_index.json": js(_class_name="X", unet=["some_library", "Model"])}, "unknown"),
    "pipeline-odd": ({"model_index.json": js(_class_name="X", unet=[["a"], "Evil"])}, "unknown"),
}  # fmt: skip
PEFT = {
    "library-of-os": (
        {"adapter_config.json": js(auto_mapping={"parent_library": "os", "base_model_class": "system"})}, "unsafe"),
    "library-beside": (
        {"adapter_config.json": js(auto_mapping={"parent_library": "evil", "base_model_class": "E"}), "evil.py": EVIL},
        "unsafe"),
    "library-foreign": (
        {"adapter_config.json": js(auto_mapping={"parent_library": "other_lib", "base_model_class": "M"})}, "unknown"),
    "base-foreign": ({"adapter_config.json": js(peft_type="LORA", base_model_name_or_path="evil/base")}, "unknown"),
}  # fmt: skip
YAML = {
    "apply": ({"config.yaml": "a: !!python/object/apply:os.system ['true']\n"}, "unsafe"),
    "new": ({"hparams.yaml": "a: !!python/object/new:subprocess.Popen [[true]]\n"}, "unsafe"),
    "module": ({"config.yml": "a: !!python/module:evil\n", "evil.py": EVIL}, "unsafe"),
    "name": ({"config.yaml": "a: !!python/name:os.system\n"}, "unsafe"),
    "verbatim": ({"c.yaml": "a: !<tag:yaml.org,2002:python/object/apply:os.system> ['true']\n"}, "unsafe"),
    "handle": ({"c.yaml": "%TAG !y! tag:yaml.org,2002:python/\n---\na: !y!object/apply:os.system ['x']\n"}, "unsafe"),
    "escaped-tag": ({"c.yaml": "a: !!python/object%2Fapply:os.system ['true']\n"}, "unsafe"),
    "in-a-list": ({"c.yaml": "- 1\n- [!!python/object/apply:os.system ['x']]\n"}, "unsafe"),
    "hyper-new": ({"hyperparams.yaml": "m: !new:subprocess.Popen\n  args: [true]\n"}, "unsafe"),
    "hyper-apply": ({"hyperparams.yaml": "m: !apply:os.system [true]\n"}, "unsafe"),
    "hyper-beside": ({"hyperparams.yaml": "m: !new:custom.Model\n", "custom.py": EVIL}, "unsafe"),
    "hyper-library-function": ({"hyperparams.yaml": "m: !apply:torch.hub.load [a/b]\n"}, "unsafe"),
    "unknown-tag": ({"c.yaml": "a: !evil {x: 1}\n"}, "unknown"),
    "hydra": ({"config.yaml": "model:\n  _target_: os.system\n  command: true\n"}, "unsafe"),
    "hydra-json": ({"config.json": js(model={"_target_": "subprocess.run", "args": []})}, "unsafe"),
    "hydra-flow": ({"config.yaml": "model: {_target_: builtins.exec, _args_: [x]}\n"}, "unsafe"),
    "hydra-folded": ({"config.yaml": "model:\n  _target_: >-\n    os.system\n"}, "unsafe"),
    "hydra-through-a-library": ({"config.yaml": "m:\n  _target_: torch.hub.os.system\n"}, "unsafe"),
    "hydra-alias": ({"config.yaml": "x: &t os.system\nm:\n  _target_: *t\n"}, "unknown"),
    "hydra-foreign": ({"config.yaml": "m:\n  _target_: some_package.Model\n"}, "unknown"),
    "nemo": ({"model_config.yaml": "target: subprocess.Popen\nargs: [true]\n"}, "unsafe"),
    "lightning": ({"config.yaml": "model:\n  class_path: evil.Model\n", "evil.py": EVIL}, "unsafe"),
}  # fmt: skip
OTHERS = {
    "keras-lambda": (
        {"config.json": js(class_name="Lambda", config={"function": {"class_name": "__lambda__",
            "config": {"code": "4w"}}})},
        "unsafe"),
    "keras-lambda-2": (
        {"config.json": js(class_name="Lambda", config={"function": ["4wEAAA", None, None],
            "function_type": "lambda"})},
        "unsafe"),
    "keras-module": ({"config.json": js(class_name="system", module="os", config={"command": "true"})}, "unsafe"),
    "keras-torch": ({"config.json": js(class_name="TorchModuleWrapper", module="keras.src", config={"m": 1})},
        "unsafe"),
    "keras-registered": (
        {"config.json": js(class_name="Evil", module=None, config={"a": 1}, registered_name="my>Evil")}, "unknown"),
    "keras-builtins": ({"config.json": js(class_name="exec", module="builtins", config={"m": 1})}, "unsafe"),
    "mlflow-code": (
        {"MLmodel": "flavors:\n  python_function:\n    loader_module: evil\n    code: code\n", "code/evil.py": EVIL},
        "unsafe"),
    "mlflow-script": ({"MLmodel": "flavors:\n  python_function:\n    model_code_path: model.py\n"}, "unsafe"),
    "mlflow-module": ({"MLmodel": "flavors:\n  python_function:\n    loader_module: some_loader\n"}, "unknown"),
    "spacy": ({"config.cfg": '[nlp]\n[nlp.before_creation]\n@callbacks = "evil.v1"\n'}, "unknown"),
    "handler": ({"handler.py": "class EndpointHandler: ...\n", "config.json": "{}"}, "unknown"),
    "hubconf": ({"hubconf.py": EVIL}, "unknown"),
    "library": ({"ops.so": "\x7fELF"}, "unknown"),
    "timm": ({"config.json": js(architecture="resnet18", pretrained_cfg={"url": "http://evil/x.pth"})}, "unknown"),
}  # fmt: skip
DENSE = {"in_features": 4, "out_features": 4, "bias": True}
CODE_FILE = {"evil.py": EVIL}
MORE = {  # rebuilt from the code of loaders and from public reports
    "router": ({"router_config.json": js(types={"q": "evil.Evil"}, structure={"query": ["q"]}), **CODE_FILE}, "unsafe"),
    "asym": ({"config.json": js(types={"q": "evil.Evil"}, structure={"query": ["q"]}), **CODE_FILE}, "unsafe"),
    "word-embeddings": ({"wordembedding_config.json": js(tokenizer_class="evil.Tokenizer"), **CODE_FILE}, "unsafe"),
    "dense": ({"2_Dense/config.json": js(**DENSE, activation_function="os.system")}, "unsafe"),
    "dense-beside": ({"2_Dense/config.json": js(**DENSE, activation_function="evil.Act"), "2_Dense/evil.py": EVIL},
        "unsafe"),
    "cross-encoder": ({"config.json": js(sbert_ce_default_activation_function="evil.Act"), **CODE_FILE}, "unsafe"),
    "cross-encoder-foreign": ({"config.json": js(sbert_ce_default_activation_function="package.Act")}, "unknown"),
    "custom-generate-named": ({"generation_config.json": js(custom_generate="evil/repo")}, "unknown"),
    "custom-pipeline": ({"model_index.json": js(_class_name="X", custom_pipeline="evil/repo")}, "unknown"),
    "modular-pipeline": (
        {"modular_model_index.json": js(_class_name="X", unet=["evil", "Evil", {}]), **CODE_FILE}, "unsafe"),
    "megatron": ({"adapter_config.json": js(peft_type="LORA", megatron_config={}, megatron_core="evil.core")},
        "unknown"),
    "megatron-beside": (
        {"adapter_config.json": js(peft_type="LORA", megatron_config={}, megatron_core="evil.core"), **CODE_FILE},
        "unsafe"),
    "spacy-factory": ({"config.cfg": '[components]\n[components.x]\nfactory = "evil"\n'}, "unknown"),
    "spacy-inline": ({"config.cfg": '[nlp]\ntokenizer = {"@tokenizers": "evil.v1"}\n'}, "unknown"),
    "spacy-before": ({"config.cfg": '[initialize]\nbefore_init = {"@callbacks":"evil.v1"}\n'}, "unknown"),
    "timm-hub": ({"config.json": js(architecture="hf-hub:evil/repo")}, "unknown"),
    "nemo-class": ({"model_config.yaml": "tokenizer:\n  cls: os.system\n"}, "unknown"),
    "yaml-in-a-list": ({"a.yaml": "callbacks: [print, os.system]\n"}, "unknown"),
    "fairseq": ({"args.json": js(user_dir="./evil", arch="x")}, "unknown"),
    "keras-get-file": ({"config.json": js(module="keras.utils", class_name="get_file", config={"origin": "http://e"})},
        "unsafe"),
    "keras-get-file-by-name": (
        {"config.json": js(module="keras.utils", class_name="function", config="get_file")}, "unsafe"),
    "keras-load-model": (
        {"config.json": js(module="keras.saving", class_name="load_model", config={"filepath": "x"})}, "unsafe"),
    "torchserve": ({"MAR-INF/MANIFEST.json": js(model={"handler": "h.py"}), "h.py": EVIL}, "unknown"),
    "triton": ({"config.pbtxt": 'backend: "python"', "1/model.py": EVIL}, "unknown"),
    "setup": ({"setup.py": EVIL, "config.json": "{}"}, "unknown"),
    "sitecustomize": ({"sitecustomize.py": EVIL}, "unknown"),
    "speechbrain-interface": ({"hyperparams.yaml": "x: 1\n", "custom_interface.py": EVIL}, "unknown"),
    "speechbrain-applyref": ({"hyperparams.yaml": "a: !applyref:os.system [x]\n"}, "unsafe"),
    "mmengine": ({"config.json": js(custom_imports={"imports": ["evil"]}), **CODE_FILE}, "unsafe"),
    "mmengine-foreign": ({"config.json": js(custom_imports={"imports": "package.models"})}, "unknown"),
    "mmengine-yaml": ({"config.yaml": "custom_imports:\n  imports: [evil]\n"}, "unknown"),
    "ultralytics": ({"yolo.yaml": "backbone:\n  - [-1, 1, \"__import__('os').system('x')\", [1]]\n"}, "unknown"),
    "rasa": ({"metadata.json": js(nodes={"x": {"uses": "package.Model"}})}, "unknown"),
    "coqui": ({"config.json": js(characters={"characters_class": "evil.Chars"}), **CODE_FILE}, "unsafe"),
    "a-class-under-any-key": ({"config.json": js(policy_class="evil.Policy"), **CODE_FILE}, "unknown"),
    "a-foreign-class": ({"config.json": js(policy_class="package.Policy")}, "unknown"),
    "a-function-under-any-key": ({"settings.json": js(a=[{"b": ["x", "subprocess.run"]}])}, "unknown"),
    "a-call-under-any-key": ({"settings.json": js(expression="__import__('os').system('x')")}, "unknown"),
    "ops-library": ({"genai_config.json": js(model={"custom_ops_library": "evil.so"})}, "unknown"),
    "comments-in-json": ({"config.json": '{"auto_map": {"AutoModel": "a.B"}} // x'}, "unknown"),
}  # fmt: skip
TEMPLATES = {
    "class": (template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "unsafe"),
    "globals": (template("{{ cycler.__init__.__globals__.os.popen('id').read() }}"), "unsafe"),
    "lipsum": (template("{{ lipsum.__globals__['os'] }}"), "unsafe"),
    "item": (template("{{ messages['__class__'] }}"), "unsafe"),
    "attr": (template("{{ messages|attr('__class__') }}"), "unsafe"),
    "attr-built": (template("{{ messages|attr('__cla' ~ 'ss__') }}"), "unsafe"),
    "attr-variable": (template("{% set k = messages[0].content %}{{ messages|attr(k) }}"), "unsafe"),
    "hexadecimal": (template("{{ messages|attr('\\x5f\\x5fclass\\x5f\\x5f') }}"), "unsafe"),
    "map": (template("{{ messages|map(attribute='__class__')|list }}"), "unsafe"),
    "item-built": (template("{{ messages['__cla' + 'ss__'] }}"), "unknown"),
    "format": (template("{{ messages[0].content.format(messages) }}"), "unknown"),
    "frame": (template("{{ raise_exception.func_globals }}"), "unsafe"),
    "include": (template("{% include '/etc/passwd' %}"), "unsafe"),
    "import": (template("{% from 'x' import y %}"), "unsafe"),
    "broken": (template("{% if %}"), "unknown"),
    "deep": (template("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"), "unknown"),
    "long": (template("{{ x }}" * 60_000), "unknown"),
    "named": ({"tokenizer_config.json": json.dumps({"chat_template": [
        {"name": "default", "template": "{{ messages }}"}, {"name": "x", "template": "{{ x.__class__ }}"}]})},
        "unsafe"),
    "file": ({"chat_template.jinja": "{{ x.__class__ }}"}, "unsafe"),
    "folder": ({"additional_chat_templates/x.jinja": "{{ x.__init__ }}"}, "unsafe"),
    "json-file": ({"chat_template.json": json.dumps({"chat_template": "{{ x.__class__ }}"})}, "unsafe"),
}  # fmt: skip
CASES: dict[str, tuple[Files, str]] = {
    f"{group}: {name}": case
    for group, cases in {
        "sentence-transformers": SENTENCE, "transformers": TRANSFORMERS, "diffusers": DIFFUSERS, "peft": PEFT,
        "yaml": YAML, "others": OTHERS, "templates": TEMPLATES, "more": MORE,
    }.items()
    for name, case in cases.items()
}  # fmt: skip
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINK = (
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{%- if message.tool_calls is defined and message.tool_calls is not none %}{{ message.tool_calls | tojson }}"
    "{%- endif %}{% generation %}{{ content | trim }}{% endgeneration %}{%- endfor %}"
)
BENIGN: dict[str, tuple[Files, str]] = {
    "sentence-transformers": ({"modules.json": json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])}, "safe"),
    "bert": ({"config.json": js(architectures=["BertModel"], hidden_act="gelu", model_type="bert"),
              "generation_config.json": js(do_sample=True)}, "safe"),
    "attention": ({"config.json": js(_attn_implementation="flash_attention_2", attn_implementation="sdpa")}, "safe"),
    "trust-false": ({"config.json": js(trust_remote_code=False)}, "safe"),
    "diffusers": ({"model_index.json": js(
        _class_name="StableDiffusionPipeline", _diffusers_version="0.30", unet=["diffusers", "UNet2DConditionModel"],
        tokenizer=["transformers", "CLIPTokenizer"], safety_checker=["stable_diffusion",
            "StableDiffusionSafetyChecker"],
        feature_extractor=[None, None])}, "safe"),
    "chatml": (template(CHATML), "safe"),
    "think": (template(THINK), "safe"),
    "yaml": ({"hparams.yaml": "lr: 0.1\nsizes: !!python/tuple [1, 2]\n# a: !!python/object/apply:os.system\n"}, "safe"),
    "ldm": ({"model.yaml": "model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params: {x: 1}\n"}, "safe"),
    "speechbrain": ({"hyperparams.yaml": "lr: 0.1\nm: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN\n"
                                         "  channels: [1]\nn: !ref <lr>\n"}, "safe"),
    "spacy": ({"config.cfg": '[components.tagger.model]\n@architectures = "spacy.Tagger.v2"\n'}, "safe"),
    "keras": ({"config.json": js(class_name="Dense", module="keras.layers", registered_name=None, config={"units": 3})},
              "safe"),
    "mlflow": ({"MLmodel": "flavors:\n  python_function:\n    loader_module: mlflow.pytorch\n    env: conda.yaml\n"},
               "safe"),
    "package": ({"pkg/__init__.py": "", "pkg/handler.py": "", "pkg/config.yaml": "a: [1, 2]\nb: 'wow! nice'\n"},
        "safe"),
    "notebook": ({"a.json": js(target="cpu", cls="x", type="module")}, "safe"),
    "dense": ({"2_Dense/config.json": js(in_features=4, activation_function="torch.nn.modules.activation.Tanh")},
              "safe"),
    "cross-encoder": ({"config.json": js(sbert_ce_default_activation_function="torch.nn.modules.linear.Identity")},
                      "safe"),
    "activations": ({"config.json": js(activation_function="gelu_new", tokenizer_class="LlamaTokenizer",
                                       processor_class="CLIPProcessor", vocab="os.path.txt")}, "safe"),
    "spacy-components": ({"config.cfg": '[nlp]\npipeline = ["ner"]\ntokenizer = {"@tokenizers":"spacy.Tokenizer.v1"}\n'
                                        '[components.ner]\nfactory = "ner"\n'}, "safe"),
    "names-of-layers": ({"config.json": js(quantization_config={
        "modules_to_not_convert": ["lm_head", "model.layers.0.mlp", "code.decoder"],
        "layer": "test.block.0"}, file_name="code.py", dtype="torch.float16")}, "safe"),
    "keras-optimizer": ({"config.json": js(module="keras.optimizers", class_name="Adam", config={"learning_rate": 0.1},
                                           registered_name=None)}, "safe"),
    "triton-name": ({"config.json": "{}", "src/model.py": ""}, "safe"),
    "yaml-words": ({"a.yaml": "description: it runs on any os. Then import the model\npath: os/data\n"}, "safe"),
}  # fmt: skip
