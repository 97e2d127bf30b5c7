"""Signals files: the content decides what a file is; what cannot be read is refused in one line with the fix."""

import io
import zipfile

import numpy as np
import pytest

from undertow.storage.signals_file import read_signals
from undertow.types import BadInput

VALUES = [0.25, -1.5, 2.0, 0.5]
MEMBER = [True, False, True, False]
ROWS = list(zip(VALUES, MEMBER, strict=True))


def read(tmp_path, raw, name="s.csv"):
    (tmp_path / name).write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return read_signals(tmp_path / name)


def table(header, cells, mark=","):
    return "\n".join([mark.join(header), *(mark.join(str(c) for c in row) for row in cells)]) + "\n"


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


RIGHT = {
    "two columns": table(["value", "member"], [(v, int(m)) for v, m in ROWS]),
    "booleans as words": table(["value", "member"], [(v, str(m).upper()) for v, m in ROWS]),
    "member and non-member": table(["value", "member"], [(v, "member" if m else "non-member") for v, m in ROWS]),
    "floats": table(["member", "value"], [(float(m), v) for v, m in ROWS]),
    "case, spaces and plurals": table([" Values ", "MEMBER"], [(v, int(m)) for v, m in ROWS]),
    "semicolons": table(["value", "member"], [(v, int(m)) for v, m in ROWS], ";"),
    "semicolons, decimal commas": table(
        ["value", "member"], [(str(v).replace(".", ","), int(m)) for v, m in ROWS], ";"
    ),
    "tabs": table(["value", "member"], [(v, int(m)) for v, m in ROWS], "\t"),
    "bars": table(["value", "member"], [(v, int(m)) for v, m in ROWS], "|"),
    "a nameless index": table(["", "value", "member"], [(i, v, int(m)) for i, (v, m) in enumerate(ROWS)]),
    "byte order mark": "\ufeff" + table(["value", "member"], [(v, int(m)) for v, m in ROWS]),
    "blank lines": "\n" + table(["value", "member"], [(v, int(m)) for v, m in ROWS]).replace("\n", "\n\n"),
    "quotes": table(['"value"', '"member"'], [(f'"{v}"', f'"{int(m)}"') for v, m in ROWS]),
    "Windows line ends": table(["value", "member"], [(v, int(m)) for v, m in ROWS]).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_one_model_in_a_table(tmp_path, name):
    found = read(tmp_path, RIGHT[name], "s.npz")
    np.testing.assert_array_equal(found.arrays["values"], VALUES)
    np.testing.assert_array_equal(found.arrays["member"], MEMBER)
    assert found.ids is None
    assert len(found.notes) == (name == "semicolons, decimal commas")


def test_names_groups_and_hashes_of_one_model(tmp_path):
    text = table(["id", "value", "member", "group", "hash"], [(f"r{i}", *ROWS[i], "ab"[i // 2], i) for i in range(4)])
    found = read(tmp_path, text)
    assert found.ids == ("r0", "r1", "r2", "r3")
    assert found.arrays["group"].tolist() == ["a", "a", "b", "b"]
    assert found.arrays["hash"].tolist() == ["0", "1", "2", "3"]


def test_several_models_with_groups_in_any_order(tmp_path):
    cells = [(m, q, 10 * int(m) + int(q), int(m == q), f"g{q}") for m in "01" for q in "012"]
    found = read(tmp_path, table(["model", "example", "value", "member", "group"], cells[::-1]))
    order = [found.ids.index(q) for q in "012"]
    assert found.arrays["values"][::-1][:, order].tolist() == [[0, 1, 2], [10, 11, 12]]
    assert found.arrays["member"][::-1][:, order].tolist() == [[True, False, False], [False, True, False]]
    assert found.arrays["group"][order].tolist() == ["g0", "g1", "g2"]


def test_columns_that_are_not_used_are_named(tmp_path):
    found = read(tmp_path, table(["value", "member", "age", "model_name"], [(1, 1, 30, "x"), (2, 0, 40, "x")]))
    assert found.notes == ("columns not used: age, model_name",)


def test_parquet_holds_what_csv_holds(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"Value": VALUES, "member": MEMBER, "id": [7, 8, 9, 10]}), tmp_path / "s")
    found = read_signals(tmp_path / "s")
    np.testing.assert_array_equal(found.arrays["values"], VALUES)
    np.testing.assert_array_equal(found.arrays["member"], MEMBER)
    assert found.ids == ("7", "8", "9", "10")
    pq.write_table(pa.table({"value": [1.0, None], "member": [True, False]}), tmp_path / "s")
    with pytest.raises(BadInput, match="row 2: value is ''"):
        read_signals(tmp_path / "s")


def test_keys_of_an_npz_in_another_case_or_number(tmp_path):
    found = read(tmp_path, npz(Member=MEMBER, VALUES=VALUES, groups=[1, 1, 2, 2], ids=[b"a", b"b", b"c", b"d"]))
    assert set(found.arrays) == {"member", "values", "group"}
    assert found.ids == ("a", "b", "c", "d")


def zipped(**entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, raw in entries.items():
            archive.writestr(name, raw)
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, VALUES)
    return file.getvalue()


WRONG = {
    "one array": (npy, "single .npy array"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n", "HDF5"),
    "gzip": (lambda: b"\x1f\x8b\x08rest", "unpack"),
    "pickle": (lambda: b"\x80\x04\x95rest", "never read"),
    "JSON": (lambda: b'{"member": [1]}', "JSON"),
    "a zip of other things": (lambda: zipped(data="x"), "no npz .*'data'"),
    "an empty zip": (zipped, "no npz .*empty"),
    "objects": (lambda: npz(v=VALUES, member=np.array([None], object)), "member cannot be read without unpickling"),
    "arrays without names": (lambda: npz(arr_0=MEMBER), "np.savez"),
    "an unknown key": (lambda: npz(member=MEMBER, blurb=VALUES), "unknown key 'blurb'; known keys: member"),
    "a key by another name": (lambda: npz(member=MEMBER, probs=VALUES), "did you mean 'probabilities'"),
    "y for labels": (lambda: npz(member=MEMBER, y=VALUES), "did you mean 'labels'"),
    "losses": (lambda: npz(member=MEMBER, losses=VALUES), "values=-losses"),
    "a key twice": (lambda: npz(group=MEMBER, groups=MEMBER), "two arrays are named 'group'"),
    "ids of two axes": (lambda: npz(member=MEMBER, id=np.zeros((4, 2))), r"id has shape \(4, 2\).*one per record"),
    "one id": (lambda: npz(member=MEMBER, id="a"), r"id has shape \(\)"),
    "a csv without names": (lambda: b"0.5,1\n0.25,0\n", "first row is 0.5, 1; it must name the columns"),
    "score for value": (lambda: b"score,member\n1,1\n", "found 'score': name it 'value'"),
    "membr": (lambda: b"value,membr\n1,1\n", "found 'membr': name it 'member'"),
    "loss for value": (lambda: b"loss,member\n1,1\n", "value = -loss"),
    "no member": (lambda: b"value,age\n1,1\n", "'member' is missing .found value, age"),
    "a column twice": (lambda: b"value,member,Value\n1,1,2\n", "two columns are 'value'"),
    "model without example": (lambda: b"model,value,member\na,1,1\n", "'example' is missing"),
    "a short row": (lambda: b"value,member\n1,1\n2\n", "row 3 has 1 cells"),
    "another delimiter below the header": (lambda: b"value;member\n1,1\n", "cut at ';'"),
    "an empty value": (lambda: b"value,member\n1,1\n,0\n", "row 3: value is ''"),
    "nan": (lambda: b"value,member\n1,1\n\nNaN,0\n", "row 4: value is 'NaN'"),
    "a half member": (lambda: b"value,member\n1,1\n2,0.5\n", "row 3: member is '0.5'"),
    "an empty group": (lambda: b"value,member,group\n1,1,a\n2,0,\n", "row 3: group is empty"),
    "models without a column": (lambda: b"id,value,member\na,1,1\na,2,0\nb,3,0\nb,3,1\n", "2 times.*column `model`"),
    "a group that changes": (
        lambda: b"model,example,value,member,group\na,x,1,1,g\nb,x,1,0,h\n",
        "row 3: group of example 'x' differs",
    ),
    "blank lines only": (lambda: b"\n\n", "column 'value' is missing"),
    "a header only": (lambda: b"value,member\n", "no rows"),
    "UTF-16": (lambda: "value,member\n1,1\n".encode("utf-16"), "save it as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_refused_in_one_line_with_the_file(tmp_path, name):
    make, says = WRONG[name]
    with pytest.raises(BadInput, match=says) as error:
        read(tmp_path, make(), "given.file")
    assert "\n" not in str(error.value)
    assert "given.file" in str(error.value)
    assert len(str(error.value)) < 400
