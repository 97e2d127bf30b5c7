"""The process that reads one untrusted file: standard input is the file, standard output takes one line of JSON."""

import gc
import json
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .archives import archive
from .collect import Scratch
from .flax import flax
from .gguf import gguf
from .hdf5 import hdf5
from .jsons import json_numbers
from .machine import MALFORMED, Budget
from .nested import compressed, tar
from .npy import npy
from .onnx import looks_like, onnx
from .pickles import Job, bare, legacy, probe
from .stream import Malformed, Stream, TooMuch
from .tflite import tflite

READERS: dict[str, Callable[[Job], None]] = {
    "zip": archive,
    "torch-legacy": legacy,
    "pickle": bare,
    "probe": probe,
    "gguf": gguf,
    "npy": lambda job: npy(job, job.stream, "array"),
    "tar": tar,
    **dict.fromkeys(("gzip", "bzip2", "xz", "zlib"), compressed),
    "hdf5": hdf5,
    "onnx": onnx,
    "is onnx": looks_like,
    "flatbuffer": tflite,
    "json": json_numbers,
    "msgpack": flax,
}


def read(fd: int, size: int, kind: str, limits: Mapping[str, int], scratch: int) -> dict[str, Any]:
    """What one file holds. Every fault of the file becomes a finding."""
    budget = Budget(limits["opcodes"], limits["depth_of_stack"], limits["pickle_bytes"])
    job = Job(Stream(fd, 0, size), limits, Scratch(scratch, limits["inflated_bytes"]), budget)
    job.kind = "" if kind in ("probe", "is onnx", "json") else kind
    try:
        READERS[kind](job)
    except Malformed as error:
        job.report.stop(MALFORMED, f"malformed: {error}")
    except TooMuch as error:
        job.report.stop("limit", str(error))
    except RecursionError:
        job.report.stop("limit", "it is nested too deeply")
    return {
        "kind": job.kind,
        "complete": job.report.complete,
        "doubts": job.report.doubts,
        "findings": job.report.findings,
        "tensors": [list(found.__dict__.values()) for found in job.tensors],
        "scratch": job.scratch.used,
        "texts": job.texts,
        "external": job.external,
    }


def confine(limits: Mapping[str, int], seconds: int) -> None:
    """Give up what reading does not need; the system ends the process where it takes more."""
    for what, most in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, limits["inflated_bytes"] + (1 << 20)),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(what)[1]
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # not every system has every limit
            resource.setrlimit(what, (wanted, wanted))


def main() -> None:
    """Arguments: one JSON object with kind, size, limits, scratch (a file descriptor) and seconds."""
    said = json.loads(sys.argv[1])
    confine(said["limits"], said["seconds"])
    gc.disable()  # it lives for one file, and its memory is bounded
    found = read(0, said["size"], said["kind"], said["limits"], said["scratch"])
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
