"""What a dotted name in a configuration leads to: a part of a known library, something harmful, or code of its own."""

import re
from collections.abc import Collection
from typing import Literal

LONGEST = 500  # characters of a name
Target = Literal["library", "foreign", "beside", "dangerous"]
DOTTED = re.compile(r"[A-Za-z_]\w*(?:[.:/]\w+)*\Z", re.ASCII)
MODULES_WORDS = """
    os posix nt sys subprocess builtins __builtin__ shutil importlib imp runpy pty socket ctypes code codeop
    pickle _pickle cPickle dill cloudpickle marshal shelve webbrowser urllib http requests ftplib smtplib
    telnetlib commands pdb bdb cProfile profile timeit trace doctest pydoc multiprocessing asyncio threading
    signal pip ensurepip venv site distutils setuptools pkgutil zipimport tempfile pathlib io functools operator
    types inspect gc platform popen2 getattr eval exec compile __import__ antigravity idlelib lib2to3 test
    logging nose pytest unittest sqlite3 xmlrpc mmap fcntl paramiko fabric pexpect sh invoke
"""
MODULES = frozenset(
    MODULES_WORDS.split()
)  # of the standard library and elsewhere: what is in them runs commands, code, or reaches files
CALLS_WORDS = """
    system popen exec eval execv execve spawn run runstring run_code call check_output check_call Popen
    load_module import_module import_string load load_library load_from_checkpoint torch_load load_pickle loads
    unpickle _load_from_bytes load_state_dict_from_url download_url_to_file urlopen urlretrieve get_method
    get_class get_object instantiate partial getattr setattr compile open write_file read_file remove rmtree
    unlink rename chmod save dump import_from_string locate hub set_module get_file extractall
"""
CALLS = frozenset(CALLS_WORDS.split())  # names that run code or load what may run it, in whichever library
INNER_WORDS = """
    os sys subprocess builtins importlib shutil pickle ctypes socket posix runpy pty urllib requests collect_env
    hub _pickle cloudpickle dill marshal f2py distutils testing inspect
"""
INNER = frozenset(INNER_WORDS.split())  # parts of a name that lead out of a library by what it has imported
LIBRARIES_WORDS = """
    torch torchvision torchaudio transformers diffusers sentence_transformers peft timm lightning
    pytorch_lightning lightning_fabric speechbrain nemo ldm sgm taming monai keras tensorflow sklearn numpy
    scipy spacy thinc open_clip flair espnet espnet2 fairseq omegaconf accelerate datasets tokenizers
    torchmetrics einops xformers controlnet cldm optimum onnxruntime flash_attn vllm flax jax optax mlflow
    bitsandbytes trl gluonts uni2ts megatron apex stanza audiocraft encodec descript vocos coqui TTS detectron2
    mmdet mmcv mmengine mmseg ultralytics k_diffusion pylate model2vec staticvectors span_marker setfit
    rasa
"""
LIBRARIES = frozenset(LIBRARIES_WORDS.split())
PLAIN_CALLS = ("nn.init", "optim", "nn.functional", "activations", "initializers", "get_")  # functions that build parts


def judge(name: str, beside: Collection[str] = ()) -> Target:
    """What importing and calling `name` would be; `beside`: names of the .py files and packages of the folder.

    >>> judge("torch.nn.Linear"), judge("os.system"), judge("torch.hub.os.system"), judge("evil.Model", {"evil"})
    ('library', 'dangerous', 'dangerous', 'beside')
    """
    name = name.strip().strip("\"'")
    if len(name) > LONGEST:
        return "foreign"
    if not DOTTED.match(name):
        return "dangerous" if set(re.split(r"\W+", name)) & (MODULES - {"test", "types", "code", "site"}) else "foreign"
    parts = re.split(r"[.:/]", name)
    if parts[0] in beside or (len(parts) > 2 and parts[1] in beside and parts[0] not in LIBRARIES):
        return "beside"
    if parts[0] in MODULES or any(part.startswith("__") for part in parts):
        return "dangerous"
    inner = parts[1:]
    if set(inner) & INNER or parts[-1] in CALLS:
        return "dangerous" if len(parts) > 1 else "foreign"
    if parts[0] not in LIBRARIES or any(part.startswith("_") for part in parts[1:-1] if part != "_common"):
        return "foreign"
    if parts[-1][:1].isupper() or any(word in name for word in PLAIN_CALLS):
        return "library"
    return "foreign"
