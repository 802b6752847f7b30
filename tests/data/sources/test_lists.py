"""Image lists and CSV files: every mistake with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.data.sources.lists import csv_column, csv_header, csv_list, image_list


def test_image_lists_take_paths_with_spaces(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"a dog/1 2.png 4\r\nb.png -1\n")
    assert [(i.path, i.label, i.problem) for i in image_list(file)] == [
        ("a dog/1 2.png", 4, ""),
        ("b.png", -1, ""),
    ]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a text file"):
        list(image_list(file))


def test_csv_files_say_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(
        'path,label,split\n"a,'
        ' b.png",cat,train\nc.png,dog,test\n\nd.png,eel,test\nc.png,cat,test\n,cat,test\n'
    )
    names = {"cat": 0, "dog": 1}
    got = list(csv_list(file, path="path", label="label", split="split", only="test", names=names))
    assert [(i.path, i.label) for i in got[:1]] == [("c.png", 1)]
    assert [f"{i.where}: {i.problem}" for i in got[1:]] == [
        f"{file}:5: unknown label 'eel'", f"{file}:6: 'c.png' stands there already in line 3",
        f"{file}:7: the column 'path' is empty",
    ]  # fmt: skip
    (train,) = csv_list(file, path="path", label="label", split="split", only="train", names=None)
    assert (train.path, train.label) == ("a, b.png", 0)
    assert csv_column(file, "label") == ["cat", "dog", "eel"]
    file.write_text("path,label\na.png,10\nb.png,9\n")
    assert csv_column(file, "label") == ["9", "10"]
    with pytest.raises(UserError, match=r"list\.csv:1: there is no column 'file'; it has 'path', 'label'"):
        list(csv_list(file, path="file", label="label", split="", only="", names=None))
    file.write_text("path,label\na.png\n")
    (short,) = csv_list(file, path="path", label="label", split="", only="", names=None)
    assert f"{short.where}: {short.problem}" == f"{file}:2: has 1 fields, the header has 2"


MARK = b"\xef\xbb\xbf"


def test_byte_order_marks_are_no_part_of_the_text(tmp_path: Path) -> None:
    """Excel writes one before a CSV file, and editors before any list."""
    file = tmp_path / "list"
    file.write_bytes(MARK + b"a/1.png 4\n")
    assert [(i.path, i.label, i.problem) for i in image_list(file)] == [("a/1.png", 4, "")]
    file.write_bytes(MARK + b"path,label\r\na.png,x\r\n")
    assert csv_header(file) == ["path", "label"]
    (item,) = csv_list(file, path="path", label="label", split="", only="", names={"x": 0})
    assert (item.path, item.label, item.problem) == ("a.png", 0, "")


def test_columns_are_named_without_the_spaces_around_them(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(" path , label\na.png, x\n")
    assert csv_header(file) == ["path", "label"]
    assert csv_column(file, "label") == ["x"]
    file.write_text("path,path \n")
    with pytest.raises(UserError, match=r"list\.csv:1: the column 'path' stands twice in the header"):
        csv_header(file)


def test_labels_sort_as_numbers_where_all_are(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    for values, expected in (
        ("10 9 -1", ["-1", "9", "10"]),
        ("10 9 b", ["10", "9", "b"]),
        (f"{'9' * 5000} 1", ["1", "9" * 5000]),  # no number that anybody means
    ):
        file.write_text("label\n" + "\n".join(values.split()))
        assert csv_column(file, "label") == expected


def test_a_path_of_a_quoted_field_may_hold_a_line_break(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(b'path\n"a\nb.png"\nc.png\n')
    items = list(csv_list(file, path="path", label="", split="", only="", names=None))
    assert [(i.path, i.where) for i in items] == [("a\nb.png", f"{file}:3"), ("c.png", f"{file}:4")]
