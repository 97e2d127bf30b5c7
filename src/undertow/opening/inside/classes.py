"""Classes that a checkpoint may hold objects of: plain data, and parts of known libraries. None is ever imported."""

import re
import sys

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


INSTALLED_WORDS = """
    torch torchvision torchaudio torchtext numpy scipy pandas sklearn skimage joblib dill cloudpickle tensorflow keras
    tf_keras jax jaxlib flax optax haiku transformers diffusers accelerate datasets huggingface_hub safetensors
    tokenizers evaluate peft trl bitsandbytes sentence_transformers setfit optimum timm open_clip clip pip setuptools
    pkg_resources wheel distutils _distutils_hack virtualenv conda requests urllib3 httpx httpcore aiohttp httplib2
    flask werkzeug django fastapi starlette uvicorn gunicorn jinja2 mako markupsafe yaml ruamel toml click typer fire
    docopt IPython ipykernel ipywidgets jupyter jupyter_client jupyter_core notebook nbformat nbconvert matplotlib
    seaborn plotly bokeh PIL imageio cv2 sqlalchemy pymongo redis boto boto3 botocore s3fs gcsfs adlfs fsspec smart_open
    paramiko fabric invoke sh plumbum pexpect ptyprocess psutil ray dask distributed celery luigi airflow prefect
    mlflow wandb tensorboard tensorboardX clearml neptune comet_ml hydra omegaconf iopath fvcore detectron2
    pytorch_lightning lightning lightning_fabric lightning_utilities torchmetrics fastai fastcore nltk spacy thinc
    catalogue srsly gensim xgboost lightgbm catboost statsmodels networkx sympy numba llvmlite cffi Cython pyximport
    pycparser twisted tornado zmq nose pytest _pytest py numexpr onnx onnxruntime tf2onnx skl2onnx triton deepspeed
    apex megatron fairseq fairseq2 espnet espnet2 mmcv mmengine mmdet mmseg monai speechbrain nemo openai anthropic
    langchain llama_index pydantic attr attrs google grpc absl six future past more_itertools toolz cytoolz decorator
    wrapt lazy_object_proxy importlib_metadata importlib_resources pyspark py4j h5py tables pyarrow polars zarr
    ultralytics models utils stanza flair allennlp kornia albumentations torch_geometric dgl torch_scatter gym gymnasium
    stable_baselines3 tianshou pyro edward gpytorch botorch ax optuna hyperopt modin cudf cupy cuml rmm torch_xla
    tqdm rich loguru structlog cryptography jwt certifi idna regex ftfy unidecode docker kubernetes win32api win32com
    pywintypes pythoncom comtypes posix nt __builtin__ copy_reg cPickle cStringIO StringIO urllib2 urlparse httplib
    commands popen2 exceptions UserDict thread Queue ConfigParser Tkinter test this antigravity
"""
INSTALLED = frozenset(INSTALLED_WORDS.split()) | sys.stdlib_module_names - {"__future__"}
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", re.ASCII)


def _foreign(found: Global) -> bool:
    """Whether it is of a project that no list knows, or of the script that saved it: nobody can aim at such a module.

    Of what is likely to be installed, everything that is not listed is refused: there attackers look for functions.
    """
    parts = found.name.split(".")
    odd = any(part.startswith("__") for part in parts) or set(parts) & {"eval", "exec", "system", "load", "open"}
    plain = DOTTED.match(found.module) and DOTTED.match(found.name) and len(found.module) < 200 > len(found.name)
    top = found.module.split(".")[0]
    return bool(plain) and not odd and top not in INSTALLED and (top == "__main__" or not top.startswith("__"))


def inert(found: Global) -> str:
    """Whether a name may be met without being an attack.

    "" no, "harmless" plain data, "object" known, not read, "foreign" not known: its class may be met, not called.
    """
    place = (found.module, found.name)
    if place in HARMLESS:
        return "harmless"
    if place in INERT or place in FUNCTIONS:
        return "object"
    inside = f"{found.module}."
    if not inside.startswith(LIBRARIES) or inside.startswith(NOT_THESE):
        return "foreign" if _foreign(found) else ""
    if found.name.startswith("__pyx_unpickle_") and found.name.isidentifier():  # written by Cython: sets attributes
        return "object"
    plain = found.name.isascii() and found.name.isidentifier() and inside.isascii() and ".." not in inside
    return "object" if plain and found.name.lstrip("_")[:1].isupper() else ""
