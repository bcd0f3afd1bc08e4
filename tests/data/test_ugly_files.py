# ruff: noqa: RUF001
"""Files as they come: each gives the right table, or one paragraph that names all problems."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlplab.data.preparation.examples import prepare
from mlplab.data.tabular import File, csv
from mlplab.data.tabular.dataset import read_table
from mlplab.data.tabular.encodings import proposals, recognized_encoding
from mlplab.data.tabular.readers import read
from mlplab.data.tabular.sniffing import Format
from mlplab.errors import DataError

PLAIN = "a,b,y\n1,2.5,p\n3,4.5,q\n5,6.5,p\n"
TABLE = {"a": [1, 3, 5], "b": [2.5, 4.5, 6.5], "y": ["p", "q", "p"]}
KOREAN = "도시,y\n서울,1\n부산,2\n대구,3\n"

RIGHT = {
    "a title": (f"Report 2024\n\n{PLAIN}", TABLE),
    "a padded title": (f"Report 2024,,\n,,\n{PLAIN}", TABLE),
    "comments": (f"# made by x\n# on, Monday\n{PLAIN}", TABLE),
    "comments with as many cells": (f"# a, b, c\n{PLAIN}", TABLE),
    "the header of NumPy": (f"# {PLAIN}", TABLE),
    "a byte order mark": (f"\ufeff{PLAIN}", TABLE),
    "a name that is a number sign": ("#,y\n1,p\n3,q\n", {"#": [1, 3], "y": ["p", "q"]}),
    "cells that begin like comments": ("t,y\n#a,1\n#b,2\n", {"t": ["#a", "#b"], "y": [1, 2]}),
    "semicolons": (PLAIN.replace(",", ";").replace(".", ","), TABLE),
    "tabs": (PLAIN.replace(",", "\t").replace(".", ","), TABLE),
    "a title before tabs": ("Umsatz\n" + PLAIN.replace(",", "\t").replace(".", ","), TABLE),
    "bars": (PLAIN.replace(",", "|"), TABLE),
    "line ends in cells": (
        'a,"b\nc",y\n1,"x\ny",p\n3,"z, w",q\n',
        {"a": [1, 3], "b\nc": ["x\ny", "z, w"], "y": ["p", "q"]},
    ),
    "an empty column": ("a,,y\n1,,p\n3,,q\n", {"a": [1, 3], "y": ["p", "q"]}),
    "a delimiter at the end": ("a,y,\n1,p,\n3,q,\n", {"a": [1, 3], "y": ["p", "q"]}),
    "a delimiter at the end of rows": ("a,y\n1,p,\n3,q,\n", {"a": [1, 3], "y": ["p", "q"]}),
    "a delimiter at the end of names": ("a,y,\n1,p\n3,q\n", {"a": [1, 3], "y": ["p", "q"]}),
    "numbers of rows": (",a,y\n0,2,p\n1,4,q\n", {"a": [2, 4], "y": ["p", "q"]}),
}
REFUSED = {
    "repeated names": ("a,a,b,b,b\n1,2,3,4,5\n", ("'a' occurs 2 times", "'b' occurs 3 times")),
    "a column without a name": (",y\nx,2\nz,4\n", ("column 1 has no name",)),
    "row names of R": ('"a","y"\n"r",2,3\n"s",4,5\n', ("2 names", "3 cells", "row.names=FALSE")),
    "ragged rows": (
        "a,b,y\n1,2,p\n1,2\n3,4,q,5\n7\n8\n",
        ("line 3, row 2 has 2 cells, not 3", "line 4, row 3 has 4", "line 5", "4 such rows"),
    ),
    "a footer": (f"{PLAIN}Source: the office\n", ("line 5", "1 cells", "Source: the office")),
    "a spreadsheet": (b"PK\x03\x04xyz", (".xlsx",)),
    "bytes": (b"a,y\n1,\0p\n", ("not text", "byte 7")),
    "two encodings": (
        "a,y\n1,é\n2,ü\n3,ö\n4,ä\n5,à\n".encode() + b"6,Gen\xe8ve\n",
        ("not all of it", "6,Genève"),
    ),
}


def write(name, content):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def cells(frame):
    return {name: frame[name].tolist() for name in frame.columns}


@pytest.mark.parametrize("case", RIGHT)
def test_it_gives_the_table(case):
    content, table = RIGHT[case]
    assert cells(read(write("x.csv", content)).frame) == table


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_all_problems(case):
    content, texts = REFUSED[case]
    with pytest.raises(DataError) as refusal:
        read(write("x.csv", content))
    assert "\n" not in str(refusal.value)
    for text in ("x.csv", *texts):
        assert text in str(refusal.value)


def test_columns_are_refused_together():
    mixed = ["1,5", "2.5", "3,5", "4.5"] * 5
    frame = pd.DataFrame({"m": mixed, "t": [f"{i} words" for i in range(20)], "y": ["p", "q"] * 10})
    frame.to_csv("x.csv", index=False)
    with pytest.raises(DataError) as refusal:
        read_table(File(path="x.csv", target="y"))
    for text in ("column 'm': '1,5' has a decimal comma and '2.5'", "dataset.ignore=[m,t]"):
        assert text in str(refusal.value)


def test_quoted_line_ends_beyond_the_first_block(monkeypatch):
    monkeypatch.setattr(csv, "THREAD_CHUNK_BYTES", 512)
    rows = [f'{i},"{"x" * (i % 7)}\nb",{i / 8}\n' for i in range(500)]
    frame = read(write("x.csv", "i,t,v\n" + "".join(rows))).frame
    assert frame["i"].tolist() == list(range(500))
    assert frame["t"][3] == "xxx\nb"


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda text: pa.compress(text, codec="zstd", asbytes=True)),
    ],
)
def test_compressed_files(suffix, compress):
    assert cells(read(write(f"x.csv{suffix}", compress(PLAIN.encode()))).frame) == TABLE
    rows = pd.DataFrame(TABLE).to_json(orient="records", lines=True)
    assert cells(read(write(f"x.jsonl{suffix}", compress(rows.encode()))).frame) == TABLE
    with pytest.raises(DataError, match="cannot be read"):
        read(write(f"damaged.csv{suffix}", PLAIN))


def archive(name, **members):
    with zipfile.ZipFile(name, "w") as file:
        for member, content in members.items():
            file.writestr(member.replace("__", "."), content)
    return name


def test_archives():
    assert cells(read(archive("x.zip", a__csv=PLAIN)).frame) == TABLE
    for name, text in {
        archive("two.csv.zip", a__csv=PLAIN, b__csv=PLAIN): "2 files (a.csv, b.csv)",
        archive("none.zip"): "0 files",
        archive("other.zip", a__bin=PLAIN): ".bin in a .zip are not supported",
        write("damaged.zip", PLAIN): "cannot be read",
    }.items():
        with pytest.raises(DataError) as refusal:
            read(name)
        assert text in str(refusal.value)


def test_json_lines():
    lines = ['{"a": 1, "y": "p"}', "", '{"y": "q", "z": "00501", "b": true}']
    lines.append('{"a": 2.5, "b": false, "z": null}')
    frame = read(write("x.jsonl", "\n".join(lines))).frame
    assert list(frame.columns) == ["a", "y", "z", "b"]
    assert frame["a"].tolist()[::2] == [1.0, 2.5]
    assert frame["z"].tolist()[1] == "00501"
    assert frame["b"].tolist()[1:] == [True, False]
    assert frame.isna().sum().tolist() == [1, 1, 2, 1]
    assert list(read(write("n.ndjson", '{"0": 1, "1": 2}\n')).frame.columns) == ["0", "1"]
    for content, match in {
        '{"a": 1}\n{a: 2}\n': "line 2: this is not JSON",
        "[1, 2]\n": "row 1: each row must be an object",
        "\n": "no rows",
    }.items():
        with pytest.raises(DataError, match=match):
            read(write("bad.jsonl", content))


def test_nested_values_are_refused_by_name():
    rows = [{"a": i, "tags": [i], "home": {"city": "x"}, "y": "pq"[i % 2]} for i in range(20)]
    write("x.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"dataset\.ignore=\[tags,home\]"):
        read_table(File(path="x.jsonl", target="y"))
    table = read_table(File(path="x.jsonl", target="y", ignore=["tags", "home"]))
    assert [column.name for column in table.columns] == ["a"]


def workbook(name, **sheets):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title.replace("_", " "))
        for row in rows:
            sheet.append(row)
    book.save(name)
    return name


def test_a_spreadsheet():
    day, moment = datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, 4)
    rows = [
        ["Sales of 2020"],
        [],
        [None, "n", "day", "moment", "flag", "code", "text", "y"],
        [None, "1", day, moment, True, "00501", "x\ny", "p", None],
        [None, 2.5, day, datetime.datetime(2020, 1, 3), False, "10001", "#N/A", "q"],
        [None, None, None, None, True, "10002", "a, b", "p"],
        [None, "", None],
    ]
    result = read(workbook("x.xlsx", Data=rows, Empty=[]))
    assert list(result.frame.columns) == rows[2][1:]
    assert result.frame["n"].tolist()[:2] == [1.0, 2.5]  # of which one is stored as text
    assert pd.to_datetime(result.frame["day"])[0] == pd.Timestamp(day)
    assert result.frame["moment"].tolist()[:2] == [moment, pd.Timestamp("2020-01-03")]
    assert result.frame["flag"].tolist() == [True, False, True]
    assert result.frame["code"].tolist() == ["00501", "10001", "10002"]
    assert result.frame["text"].isna().tolist() == [False, True, False]
    assert result.frame["text"][0] == "x\ny"
    assert "the sheet 'Data'" in result.notes[0]


def test_the_sheet_is_chosen():
    rows = [["a", "y"], [1, "p"], [2, "q"]]
    workbook("x.xlsx", First=rows, My_sheet=[["b", "y"], [3, "p"], [4, "q"]])
    with pytest.raises(DataError, match=r"'First', 'My sheet'\. .* dataset\.sheet=First"):
        read("x.xlsx")
    assert read("x.xlsx", Format(sheet="My sheet")).frame["b"].tolist() == [3, 4]
    assert read("x.xlsx", Format(sheet="0")).frame["a"].tolist() == [1, 2]
    assert File(path="x.xlsx", sheet=1).form.sheet == "1"
    with pytest.raises(DataError, match="no sheet '2'"):
        read("x.xlsx", Format(sheet="2"))
    with pytest.raises(DataError, match="cannot be read"):
        read(write("damaged.xlsx", "x"))


TEXTS = {
    "cp949": [KOREAN, "a,b\n남,1\n여,2\n", "a,b\n예,1\n아니오,2\n"],
    "shift_jis": ["都市,y\n東京,1\n大阪,2\n", "a,b\nはい,1\nいいえ,2\n", "a,b\n男,1\n女,2\n"],
    "euc_jp": ["都市,y\n東京,1\n大阪,2\n名古屋,3\n", "データ,値\nリンゴ,1\n"],
    "gb18030": ["城市,y\n北京,1\n上海,2\n广州,3\n", "a,b\n男,1\n女,2\n", "a,b\n是,1\n否,2\n"],
    "big5": ["城市,y\n臺北,1\n高雄,2\n臺中,3\n", "a,b\n男,1\n女,2\n"],
    "cp1251": ["город,y\nМосква,1\nКазань,2\n", "a,b\nда,1\nнет,2\n", "a,b\nМ,1\nЖ,2\n"],
    "koi8_r": ["город,y\nМосква,1\nКазань,2\n"],
    "cp1253": ["πόλη,y\nΑθήνα,1\nΘεσσαλονίκη,2\n"],
    "cp1255": ["עיר,y\nחיפה,1\nתל אביב,2\n"],
    "cp1256": ["مدينة,y\nالقاهرة,1\nبغداد,2\n"],
    "cp874": ["เมือง,y\nกรุงเทพ,1\nเชียงใหม่,2\n"],
    "cp1250": ["miasto,y\nŁódź,1\nWrocław,2\nGdańsk,3\n", "město,y\nPlzeň,2\nČeské Budějovice,4\n"],
}
WESTERN = [
    *("ville,y\nGenève,1\nZürich,2\n", "preço,y\nSão Paulo,1\nação,2\nCONDIÇÃO,3\n"),
    *("größe,y\nFüße,1\nMaß,3\n", "a,b\nPää,1\nJyväskylä,2\n", "a,b\n5€,1\n10 £,2\n20°C,3\nm²,4\n"),
    *("a,b\nl’été,1\n«Noël»,2\n“Über”,2\n", "a,b\nÞórður,1\nÍsafjörður,4\n"),
    *("a,b\nmañana,2\n¿Qué?,3\nÑandú,1\n", "ÉTÉ,y\nÉLÈVE,1\nHÔTEL,2\n"),
]


@pytest.mark.parametrize("encoding", TEXTS)
def test_an_encoding_is_proposed_and_works(encoding):
    for text in TEXTS[encoding]:
        assert recognized_encoding(text.encode(encoding), True) is None
        assert proposals(text.encode(encoding), True)[0].encoding == encoding
        with pytest.raises(DataError, match=rf"dataset\.encoding={encoding}"):
            read(write("x.csv", text.encode(encoding)))
        result = read("x.csv", Format(encoding=encoding))
        assert list(result.frame.columns) == text.partition("\n")[0].split(",")


def test_western_text_is_read():
    for text in WESTERN:
        result = read(write("x.csv", text.encode("cp1252")))
        assert list(result.frame.columns) == text.partition("\n")[0].split(",")
        assert result.frame.iloc[0, 0] == text.split("\n")[1].split(",")[0]
        assert "the encoding is a guess" in result.notes[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_with_and_without_a_mark(encoding):
    assert read(write("x.csv", KOREAN.encode(encoding))).frame["도시"][0] == "서울"


def test_what_comes_late_in_a_file_counts():
    ascii_rows = ("a,y\n" + "1,p\n" * 100_000).encode()
    write("x.csv", ascii_rows + "2,서울\n3,부산\n".encode("cp949"))
    with pytest.raises(DataError, match=r"dataset\.encoding=cp949"):
        read("x.csv")
    assert read("x.csv", Format(encoding="cp949")).frame["y"].tolist()[-1] == "부산"
    with pytest.raises(DataError, match="not in the encoding utf-8"):
        read("x.csv", Format(encoding="utf-8"))
    write("x.csv", ascii_rows + "2,Genève\n".encode("cp1252"))
    assert read("x.csv").frame["y"].tolist()[-1] == "Genève"


def test_na_values_of_columns():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 80, 60), "n": rng.integers(-1, 3, 60)})
    frame["t"], frame["y"] = rng.choice(["none", "x"], 60), rng.choice(["p", "q"], 60)
    frame.loc[:4, "age"] = -1
    frame.loc[5:6, "y"] = "gone"
    for name in ("x.csv", "x.parquet"):
        frame.to_csv(name, index=False) if name == "x.csv" else frame.to_parquet(name)
        markers = {"age": [-1], "y": ["gone"], "*": ["NA"]}
        table = read_table(File(path=name, target="y", na_values=markers, missing="impute"))
        assert table.frame["age"].isna().sum() == 5
        assert table.frame["n"].eq(-1).sum() == frame["n"][[*range(5), *range(7, 60)]].eq(-1).sum()
        assert table.frame["t"].isna().sum() == 0
        assert table.dropped == 2
        assert any("column 'age'" in note and "'-1'" in note for note in table.notes)
    with pytest.raises(DataError, match="no column 'agee'"):
        read_table(File(path="x.csv", target="y", na_values={"agee": ["-1"]}))


def test_a_target_of_percentages_is_a_value():
    frame = pd.DataFrame({"a": np.arange(60) * 1.5, "y": ["5%", "10%", "20%"] * 20})
    frame.to_csv("x.csv", index=False)
    assert str(read_table(File(path="x.csv", target="y")).task) == "1 value(s)"
    assert read_table(File(path="x.csv", target="y", task="classification")).task.num_classes == 3


def findings(frame, **options):
    frame.to_csv("x.csv", index=False)
    report = prepare(File(path="x.csv", target="y", **options), 0, True).report
    return [f"{one.column}: {one.observation}" for one in report.findings]


def test_a_total_and_blanks_are_noted():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"c": ["x", " x", "z"] * 20, "v": rng.integers(1, 9, 60)})
    frame["y"] = rng.normal(size=60)
    assert "c: ' x' and 'x' differ only in the blanks around them" in findings(frame)
    frame.loc[60] = ["Total", frame["v"].sum(), frame["y"].sum()]
    assert any("row 61, looks like a total: 'Total'" in finding for finding in findings(frame))
    frame.loc[60, "c"] = "z"
    assert any("sum of those above" in finding for finding in findings(frame))
