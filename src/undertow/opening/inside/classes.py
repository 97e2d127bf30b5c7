"""Classes that a checkpoint may hold objects of: plain data, and parts of known libraries. None is ever imported."""

from .values import Global

INERT = frozenset(  # classes of data that trainers save beside weights: known, not weights, not built
    {
        *(("transformers.training_args", name) for name in ("TrainingArguments", "OptimizerNames", "ParallelMode")),
        *(("transformers.trainer_utils", name) for name in (
            "IntervalStrategy", "SaveStrategy", "HubStrategy", "SchedulerType", "EvaluationStrategy")),
        ("transformers.trainer_pt_utils", "AcceleratorConfig"),
        ("accelerate.state", "PartialState"),
        ("accelerate.utils.dataclasses", "DistributedType"),
        ("accelerate.utils.dataclasses", "DeepSpeedPlugin"),
        *(("omegaconf.base", name) for name in ("ContainerMetadata", "Metadata")),
        *(("omegaconf.nodes", name) for name in ("AnyNode", "IntegerNode", "StringNode", "FloatNode", "BooleanNode")),
        ("omegaconf.dictconfig", "DictConfig"),
        ("omegaconf.listconfig", "ListConfig"),
        ("numpy.random._pickle", "__randomstate_ctor"),
        ("numpy.random._pickle", "__generator_ctor"),
        ("numpy.random._pickle", "__bit_generator_ctor"),
        ("typing", "Any"),
        ("re", "_compile"),
    }
)  # fmt: skip
HARMLESS = frozenset(  # classes of the standard library that hold data and do nothing when they are made
    {
        ("argparse", "Namespace"),
        ("types", "SimpleNamespace"),
        ("collections", "deque"),
        *(("datetime", name) for name in ("datetime", "date", "time", "timedelta", "timezone")),
        *(("pathlib", name) for name in (
            "Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")),
        *(("pathlib._local", name) for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
        *((place, name) for place in ("builtins", "__builtin__") for name in ("slice", "range", "xrange", "object")),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("uuid", "UUID"),
        ("zoneinfo", "ZoneInfo"),
        ("joblib.numpy_pickle", "NumpyArrayWrapper"),
        *((place, name) for place in ("builtins", "__builtin__") for name in ("Ellipsis", "NotImplemented")),
        *((f"{place}.utilities.parsing", "AttributeDict") for place in ("pytorch_lightning", "lightning.pytorch")),
        *((f"{place}.utilities.data", "AttributeDict") for place in ("lightning_fabric", "lightning.fabric")),
        *((f"{place}.utilities.parsing", "AttributeDict") for place in ("lightning_fabric", "lightning.fabric")),
    }
)  # fmt: skip
LIBRARIES = (  # modules whose classes are models or parts of one: an object of them is unknown, no attack by itself
    *("torch.nn.modules.", "torch.nn.quantized.", "torch.ao.nn.", "torch.optim.", "torchvision.models."),
    *("torchvision.transforms.", "torchvision.ops.", "timm.", "ultralytics.nn.", "models.common.", "models.yolo."),
    *("sklearn.", "scipy.sparse.", "nltk.tokenize.", "nltk.tag.", "nltk.probability.", "nltk.classify."),
    *("xgboost.", "lightgbm.", "catboost.", "gensim.models.", "gensim.corpora.", "pandas.core.", "pandas._libs."),
    *("transformers.models.", "tokenizers.", "spacy.vocab.", "spacy.strings.", "fairseq.data.", "joblib."),
    *("transformers.activations.", "transformers.generation.configuration_utils.", "peft.tuners.", "peft.utils."),
    *("torch.distributed.tensor.", "torch.distributed._tensor.", "torch.distributed.device_mesh."),
    *("torch.distributed._mesh_layout.", "torch.distributed.checkpoint.metadata.", "torch.distributed._shard."),
    *("torch.nn.utils.weight_norm.", "torch.nn.utils.spectral_norm.", "torch.nn.utils.parametrizations."),
    *("torch.nn.utils.parametrize.", "torch.nn.parallel.", "torch.distributions.", "torch.ao.quantization."),
    *("torch.amp.grad_scaler.", "torch.cuda.amp.grad_scaler.", "torchaudio.models.", "torchaudio.transforms."),
    *("diffusers.models.", "efficientnet_pytorch.", "segmentation_models_pytorch.", "monai.networks."),
    *("ultralytics.utils.", "numpy.random.", "numpy.ma.", "numpy.polynomial."),
)
NOT_THESE = ("sklearn.datasets.", "sklearn.externals.", "sklearn.utils._joblib.", "joblib.parallel.", "joblib.memory.")
FUNCTIONS = frozenset(  # of such libraries: what pickle calls in place of a class
    {
        ("sklearn.tree._tree", "Tree"),
        ("sklearn.neighbors._kd_tree", "newObj"),
        ("sklearn.neighbors._ball_tree", "newObj"),
        ("sklearn.metrics._dist_metrics", "newObj"),
        ("sklearn.utils._bunch", "Bunch"),
        ("pandas._libs.internals", "_unpickle_block"),
        ("pandas.core.indexes.base", "_new_Index"),
        ("scipy.sparse", "csr_matrix"),
        ("scipy.sparse._csr", "csr_matrix"),
        ("scipy.sparse.csr", "csr_matrix"),
        ("scipy.sparse._csc", "csc_matrix"),
        *(
            ("numpy", name)
            for name in (
                "log",
                "log1p",
                "log2",
                "log10",
                "exp",
                "expm1",
                "sqrt",
                "square",
                "abs",
                "absolute",
                "sign",
                "sin",
                "cos",
                "tanh",
                "sum",
                "mean",
                "median",
                "std",
                "var",
                "min",
                "max",
                "matrix",
                "recarray",
                "record",
            )
        ),
        ("numpy.ma.core", "_mareconstruct"),
        ("numpy.matrixlib.defmatrix", "matrix"),
        *((f"numpy.{place}", "recarray") for place in ("rec", "core.records", "_core.records")),
        *((f"numpy.{place}", "record") for place in ("rec", "core.records", "_core.records")),
        *(
            ("torch.nn.functional", name)
            for name in (
                "relu",
                "relu6",
                "gelu",
                "silu",
                "tanh",
                "sigmoid",
                "softmax",
                "log_softmax",
                "leaky_relu",
                "elu",
                "selu",
                "mish",
                "hardswish",
                "hardtanh",
                "softplus",
                "logsigmoid",
            )
        ),
        *(("torch._C._nn", name) for name in ("gelu", "silu", "mish", "leaky_relu", "elu", "softplus", "hardswish")),
        *(("torch", name) for name in ("relu", "tanh", "sigmoid", "softmax", "selu", "ScriptObject")),
        ("torch._utils", "_rebuild_wrapper_subclass"),
        ("torch.nn.backends.thnn", "_get_thnn_function_backend"),
        *(("torch.distributed.checkpoint.filesystem", name) for name in ("_StorageInfo", "_StoragePrefix")),
    }
)


def inert(found: Global) -> str:
    """Whether a class may be met without being an attack: "" no, "harmless" plain data, "object" known, not read."""
    place = (found.module, found.name)
    if place in HARMLESS:
        return "harmless"
    if place in INERT or place in FUNCTIONS:
        return "object"
    inside = f"{found.module}."
    if not inside.startswith(LIBRARIES) or inside.startswith(NOT_THESE):
        return ""
    if found.name.startswith("__pyx_unpickle_") and found.name.isidentifier():  # written by Cython: sets attributes
        return "object"
    plain = found.name.isascii() and found.name.isidentifier() and inside.isascii() and ".." not in inside
    return "object" if plain and found.name.lstrip("_")[:1].isupper() else ""
