"""A cell has one meaning: training, evaluate, predict, Python and the exports read it alike,
whatever preprocessing, embedding, calibration or ensemble follows.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from harness import size

import mlplab
from mlplab.cli import main
from mlplab.data.tabular.cells import (
    category_codes,
    category_text,
    parse_dates,
    parse_instants,
)
from mlplab.errors import DataError
from mlplab.export import files
from mlplab.export.columns import inputs
from mlplab.runs.ensemble import Predictor

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:lbfgs failed",  # the linear baseline of features that are not scaled
)
LATER = Path("later.csv")
ROWS = 60
LATER_ROWS = 25

# The cells of each kind of column as they are written, and cells that only a later file has.
KINDS = {
    "number": (["-1.5", "0", "2", "3.25", "1e2"], ["7.125"]),
    "code": (["00501", "02134", "10001", "90210"], ["00007"]),
    "word": (["Köln", "São Paulo", "x y", "Yes"], ["never seen"]),
    "integer category": (["1", "2", "3"], ["4"]),
    "category with holes": (["1.0", "2.0", "3.0"], ["2"]),
    "decimal category": (["1.50", "2.50", "0.25"], ["1.5"]),
    "boolean": (["true", "false"], ["True"]),
    "upper boolean": (["TRUE", "FALSE"], ["false"]),
    "boolean category": (["true", "false"], ["TRUE"]),
    "date": (["2020-01-31", "2020-02-29", "2021-06-01"], ["2022-12-24"]),
    "moment": (["2020-01-31T10:00:00", "2020-03-01 23:59:01"], ["2021-01-01T00:00"]),
    "zone": (["2020-01-01T04:00:00+09:00", "2020-05-01T23:30:00+09:00"], ["2020-01-01T04:00Z"]),
    "mixed zones": (["2020-01-01T04:00+09:00", "2020-05-01T23:30Z"], ["2020-07-01T01:00-05:00"]),
    "moment category": (["2020-01-01T10:00:00", "2020-01-02 11:00:00"], ["2020-01-02T11:00:00"]),
    "time": (["10:00", "11:30", "23:59"], ["00:30"]),
    "thousands": (["1,234.5", "12", "2,000,000", "-7.25"], ["3,001"]),
    "percent": (["5 %", "12.5%", "-3 %"], ["99 %"]),
    "currency": (["$3", "$1,250.50", "($4)"], ["-$8.5"]),
}
FORMATTED = ("thousands", "percent", "currency")
DECLARED = ("integer category", "category with holes", "decimal category", "boolean category")
DECLARED += ("moment category",)
SCALINGS = ("robust_clip", "normal", "standard", "minmax", "quantile", "robust", "none")
EMBEDDINGS = ("piecewise_linear", "periodic", "plr", "pbld", "none")
ENCODINGS = (
    ["dataset.encode=embed", "dataset.min_frequency=3", "dataset.embedding_size=2"],
    ["dataset.encode=onehot"],
    ["dataset.encode=ordinal"],
    ["dataset.encode=auto", "dataset.max_onehot=2"],
)
TYPES = ("float64", "float32")


@dataclass(frozen=True)
class Written:
    """A table as text, and how its files are written."""

    table: pd.DataFrame
    later: pd.DataFrame
    delimiter: str
    decimal: str
    encoding: str
    marker: str

    def write(self, frame: pd.DataFrame, path: str) -> None:
        frame = frame.copy()
        if self.decimal == ",":
            numbers = ["number", "decimal category", "category with holes", "value"]
            for name in frame.columns.intersection(numbers):
                frame[name] = frame[name].str.replace(".", ",")
        frame.fillna(self.marker).to_csv(
            path, sep=self.delimiter, encoding=self.encoding, index=False
        )

    def read(self, path: str) -> pd.DataFrame:
        """Return a file as a user of pandas would read it, codes and dates as text."""
        names = pd.read_csv(path, sep=self.delimiter, encoding=self.encoding, nrows=0).columns
        return pd.read_csv(
            path,
            sep=self.delimiter,
            decimal=self.decimal,
            encoding=self.encoding,
            dtype={name: str for name in names if name in KINDS and name != "number"},
            na_values=[self.marker],
        ).pipe(self._plain_decimals)

    def _plain_decimals(self, frame: pd.DataFrame) -> pd.DataFrame:
        for name in frame.columns.intersection(["decimal category", "category with holes"]):
            frame[name] = frame[name].str.replace(",", ".")
        return frame


def written(seed: int) -> Written:
    rng = np.random.default_rng(seed)
    names = [name for name in KINDS if rng.random() < 0.7] or ["number"]
    table, later = pd.DataFrame(index=range(ROWS)), pd.DataFrame(index=range(LATER_ROWS))
    for name in names:
        cells, more = KINDS[name]
        table[name] = rng.choice(cells, ROWS)
        later[name] = rng.choice([*cells, *more], LATER_ROWS)
        if rng.random() < 0.4:
            table[name] = table[name].where(rng.random(ROWS) > 0.15, None)
        if rng.random() < 0.4:
            later[name] = later[name].where(rng.random(LATER_ROWS) > 0.2, None)
    table["noise"], later["noise"] = rng.normal(size=ROWS), rng.normal(size=LATER_ROWS)
    for frame in (table, later):
        frame["noise"] = frame["noise"].map("{:.3f}".format)
        frame["value"] = rng.normal(size=len(frame)).round(3).astype(str)
        frame["class"] = rng.choice(["007", "7", "yes"], len(frame))
    delimiter = str(rng.choice([";", "\t", ","]))
    decimal = "." if delimiter == "," else str(rng.choice([".", ","]))
    if decimal == ",":
        for frame in (table, later):
            frame["noise"] = frame["noise"].str.replace(".", ",")
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "latin-1", "utf-16"]))
    return Written(table, later, delimiter, decimal, encoding, str(rng.choice(["", "NA", "-"])))


def options(seed: int, target: str) -> list[str]:
    """What follows the cells: each choice occurs among ten consecutive seeds, and all combinations
    that are not of the last kinds among 300.
    """
    scaling, embedding = SCALINGS[seed % 7], EMBEDDINGS[seed // 2 % 5]
    chosen = [f"dataset.scaling={scaling}", f"embedding={embedding}", *ENCODINGS[seed % 4]]
    chosen += [f"dtype={TYPES[seed % 5 == 3]}"]
    if target == "class":
        chosen += ["training.calibration=temperature"] * (seed % 4 == 1)
    else:
        chosen += ["dataset.target_clamp=true"] * (seed % 4 == 2)
    return chosen + ["ensemble=3"] * (seed % 5 == 4)


def trained(data: Written, target: str, seed: int) -> mlplab.Run:
    other = "value" if target == "class" else "class"
    categories = [name for name in DECLARED if name in data.table]
    data.write(data.table, "train.csv")
    return mlplab.run(
        [
            "dataset=file",
            "dataset.path=train.csv",
            f"dataset.target={target}",
            f"dataset.ignore=[{other}]",
            f"dataset.categories={json.dumps(categories)}",
            f"dataset.na_values=['{data.marker}']",
            f"dataset.encoding={data.encoding}",
            "dataset.missing=impute",
            "training.epochs=2",
            "optimizer.lr=0.01",
            "tracking=off",
            "model.hidden=[6]",
            *options(seed, target),
        ],
        "run",
    )


def as_pandas_reads(rows: list[dict[str, object]]) -> pd.DataFrame:
    """A data frame with the types of pandas: dates as timestamps where all cells are."""
    frame = pd.DataFrame(rows)
    for name in frame.columns.intersection(["date"]):
        frame[name] = pd.to_datetime(frame[name])
    return frame


def passed_rows(data: Written, frame: pd.DataFrame) -> dict[str, object]:
    """The later rows in every form that Python takes, by a description."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    forms = {
        "mappings": rows,
        "mappings as JSON has them": json.loads(json.dumps(rows)),
        "a mapping of columns": {name: [row[name] for row in rows] for name in frame},
        "a data frame with dates": as_pandas_reads(rows),
        "a data frame of objects": frame.astype(object),
    }
    if data.decimal == ".":
        text = io.StringIO(data.later.fillna(data.marker).to_csv(index=False))
        forms["mappings of text"] = list(csv.DictReader(text))
    if find_spec("polars"):
        import polars

        forms["a frame of polars"] = polars.from_dicts(rows, infer_schema_length=None)
    return forms


def commanded(arguments: Sequence[str]) -> np.ndarray:
    """What `mlplab predict` writes: probabilities or values, [N, C or T]."""
    assert main(["predict", "run", *arguments, "-o", "answers.csv", "--force"]) == 0
    answers = pd.read_csv("answers.csv", dtype={"prediction": str}, float_precision="round_trip")
    answers = answers.drop(columns=["row", "prediction"], errors="ignore")
    return answers[[name for name in answers if not name.endswith("spread")]].to_numpy()


def exported(run: mlplab.Run, file_format: str, later: pd.DataFrame) -> np.ndarray:
    path = Path(f"model.{file_format}")
    files.export(Predictor((run,)), file_format, path)
    predict = {"onnx": files.predict_onnx, "torch": files.predict_torch}[file_format]
    return predict(path, inputs([run]), later)


def check_that_readers_agree(
    seed: int, formats: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(seed)
    target = "class" if seed % 2 else "value"
    run = trained(data, target, seed)
    predicted = run.predict_proba if target == "class" else run.predict
    data.write(data.later, "later.csv")
    by_command = commanded(["later.csv"])
    labels = pd.read_csv("answers.csv", dtype=str).get("prediction")
    frame = data.read("later.csv")
    python = predicted(frame)
    np.testing.assert_allclose(by_command, python, rtol=1e-6, atol=1e-9)
    for form, rows in passed_rows(data, frame).items():
        np.testing.assert_allclose(predicted(rows), python, rtol=1e-12, atol=1e-12, err_msg=form)
    encoded = run.preprocessing.encoder.apply(frame)
    np.testing.assert_array_equal(predicted(encoded), python)
    frame.to_parquet("later.parquet")
    np.testing.assert_array_equal(commanded(["later.parquet"]), python)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(LATER.read_bytes())))
    np.testing.assert_array_equal(commanded(["-"]), by_command)
    assert main(["evaluate", "run", "later.csv"]) == 0
    metrics = json.loads(Path("run/evaluation.json").read_text())["metrics"]
    if target == "class":
        assert metrics["accuracy"]["value"] == np.mean(labels == data.later["class"].to_numpy())
    else:
        truth = data.later["value"].astype(float)
        assert metrics["mae"]["value"] == pytest.approx(abs(by_command[:, 0] - truth).mean())
    for rows in ([3], [20, 4]):
        alone = frame.iloc[rows].reset_index(drop=True)
        np.testing.assert_array_equal(predicted(alone), python[rows])
    one = frame.iloc[5]
    np.testing.assert_array_equal(predicted(one.where(one.notna(), None).to_dict()), python[[5]])
    data.write(data.later.iloc[[5]], "one.csv")
    np.testing.assert_allclose(commanded(["one.csv"])[0], by_command[5], rtol=1e-12)
    for file_format in formats:
        scores = exported(run, file_format, frame)
        tolerance = 1e-6 if run.settings.dtype == "float64" else 1e-5
        np.testing.assert_allclose(scores, python, rtol=tolerance, atol=tolerance)


@pytest.mark.timeout(900)  # five tables and two exports, minutes beside other work
@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("first_seed", range(size(10, 60)))
def test_every_reader_gives_the_same_predictions(first_seed, capsys, monkeypatch):
    """Tables with columns of all kinds: one each by default, five in the campaign, where a case is
    short enough to be repeated when it was interrupted. In the campaign, one of the five is
    exported, in one of the formats: an export takes longer than everything else.
    """
    for number, seed in enumerate(range(first_seed, size(10, 300), size(10, 60))):
        for leftover in ("answers.csv", "model.onnx", "model.torch"):
            Path(leftover).unlink(missing_ok=True)
        Path("run").rename(f"run_before_{seed}") if Path("run").exists() else None
        by_default = ["onnx"] if seed == 9 else []
        file_format = ["onnx", "torch"][first_seed // 5 % 2]
        in_campaign = [file_format] if number == first_seed % 5 else []
        check_that_readers_agree(seed, size(by_default, in_campaign), monkeypatch)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        ("3.0", "3"),
        ("1.50", "1.5"),
        ("00501", "00501"),
        ("12345678901234567890123", "12345678901234567890123"),
        (True, "True"),
        ("TRUE", "True"),
        (pd.Timestamp("2020-01-01"), "2020-01-01"),
        ("2020-01-01T00:00:00", "2020-01-01"),
        (pd.Timestamp("2020-01-01 10:00+09:00"), "2020-01-01 10:00:00"),
        ("2020-01-01T10:00:00+09:00", "2020-01-01 10:00:00"),
        (pd.Timestamp("10:00").time(), "10:00:00"),
        ("10:00", "10:00:00"),
        (" x ", "x"),
        ("1E5", "1E5"),
    ],
)
def test_the_text_of_a_category(value, text):
    assert category_text(value) == text
    assert category_text(text) == text


def test_a_code_is_recognized_without_its_zeros_unless_that_is_another_code():
    assert category_codes(["00501", "02134"])["501"] == 0
    assert category_codes(["00501", "501"])["501"] == 1
    assert "501" not in category_codes(["0501", "00501"])


def test_dates_follow_the_training_and_do_not_depend_on_other_rows():
    for text in ("soon", "01/05/2020", "13/05/2020", "2020", "2020-13-01"):
        with pytest.raises(DataError, match=f"row 2: .{re.escape(text)}. is not a date"):
            parse_dates(pd.Series(["2020-05-01", text]), "later.csv, column 'day'")
    with pytest.raises(DataError, match="row 1: '2020' is not a date"):
        parse_dates(pd.Series([2020]), "later.csv, column 'day'")
    day_first = parse_dates(pd.Series(["13/05/2020", "01/05/2020"]), "day", "%d/%m/%Y")
    assert day_first.dt.day.tolist() == [13, 1]


def test_a_time_zone_keeps_its_clock_and_orders_by_the_instant():
    cells = pd.Series(["2020-01-01T04:00:00+09:00", "2020-01-01T01:00:00Z"])
    assert parse_dates(cells, "start").dt.hour.tolist() == [4, 1]
    assert parse_instants(cells, "start").is_monotonic_increasing


def days(number: int, date_format: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    dates = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(5 * np.arange(number), "D"))
    frame = pd.DataFrame({"day": dates.dt.strftime(date_format), "x": rng.normal(size=number)})
    frame["y"] = rng.choice(["a", "b"], number)
    return frame.sample(frac=1, random_state=0)


TIMED = ["train", "dataset=file", "dataset.path=t.csv", "dataset.time_column=day"]
TIMED += ["training.epochs=1", "tracking=scalars", "hydra.run.dir=run"]


def test_a_time_column_of_text_needs_its_format(capsys):
    days(100, "%d/%m/%Y").to_csv("t.csv", index=False)
    assert main(TIMED) == 2
    assert "dataset.date_format=%d/%m/%Y" in capsys.readouterr().err
    assert main([*TIMED, "dataset.date_format=%d/%m/%Y"]) == 0
    report = Path("run/data_report.md").read_text()
    assert "train from 2020-01-01 00:00:00 to 2020-10-22 00:00:00" in report
    assert "val from 2020-10-27 00:00:00 to 2021-01-30 00:00:00" in report
    assert "test from 2021-02-04 00:00:00 to 2021-05-10 00:00:00" in report


def test_the_report_orders_dates_in_time(capsys):
    days(100, "%d/%m/%Y").to_csv("t.csv", index=False)
    line = ["train", "dataset=file", "dataset.path=t.csv", "dataset.date_format=%d/%m/%Y"]
    assert main([*line, "training.epochs=1", "tracking=scalars", "hydra.run.dir=run"]) == 0
    report = Path("run/data_report.md").read_text()
    assert "| day | date | 100 | 0 | 2020-01-01 to 2021-05-10 |" in report


def test_a_time_column_of_other_text_is_refused(capsys):
    days(60, "w%j").to_csv("t.csv", index=False)
    assert main(TIMED) == 2
    assert "neither numbers nor dates" in capsys.readouterr().err


def test_a_later_file_is_read_like_the_file_of_the_training(capsys):
    frame = pd.DataFrame(
        {"city": ["서울", "부산", "대구", "인천"] * 20, "y": ["a", "a", "b", "b"] * 20}
    )
    frame.to_csv("t.csv", index=False, encoding="cp949", sep="^")
    options = ["dataset.encoding=cp949", "dataset.delimiter='^'", "dataset.target=y"]
    line = ["train", "dataset=file", "dataset.path=t.csv", "training.epochs=30", "optimizer.lr=0.1"]
    assert main([*line, *options, "tracking=off", "hydra.run.dir=run"]) == 0
    assert main(["predict", "run", "t.csv", "-o", "answers.csv"]) == 0
    assert (pd.read_csv("answers.csv")["prediction"] == frame["y"]).all()
    frame.to_csv("utf8.csv", index=False)
    assert main(["predict", "run", "utf8.csv", "-o", "other.csv"]) == 2
    further = ["--encoding", "utf-8", "--delimiter", ","]
    assert main(["predict", "run", "utf8.csv", "-o", "other.csv", *further]) == 0
    assert Path("answers.csv").read_bytes() == Path("other.csv").read_bytes()
    assert main(["evaluate", "run", "utf8.csv", *further]) == 0
    assert json.loads(Path("run/evaluation.json").read_text())["metrics"]["accuracy"]["value"] == 1


def test_predict_says_what_training_did_not_see(capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.uniform(0, 1, 80), "c": rng.choice(["a", "b"], 80)})
    frame.assign(y=np.where(frame["x"] > 0.5, "up", "down")).to_csv("t.csv", index=False)
    line = ["train", "dataset=file", "dataset.path=t.csv", "dataset.missing=impute"]
    assert main([*line, "training.epochs=1", "tracking=off", "hydra.run.dir=run"]) == 0
    later = pd.DataFrame({"x": [0.5, None, 7.0, 8.0], "c": ["a", "zzz", "b", "b"]})
    later.to_csv("later.csv", index=False)
    capsys.readouterr()
    assert main(["predict", "run", "later.csv", "-o", "answers.csv"]) == 0
    err = capsys.readouterr().err
    assert "column 'x': 1 of 4 cells are filled in because they are empty" in err
    assert "column 'x': 2 of 4 cells are outside the range of the training, 0.0" in err
    assert "column 'c': 1 of 4 cells are of a category that training did not see" in err
    assert "such as 'zzz'" in err


def test_an_unknown_category_moves_the_prediction_neither_way():
    """Noise of three categories: an unknown one predicts between the known ones."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=300), "c": rng.choice(["a", "b", "d"], 300)})
    frame["y"] = 2 * frame["x"] + (frame["c"] == "a")
    run = mlplab.fit(frame, "y", ["training.epochs=30", "tracking=off", "activation=identity"])
    rows = pd.DataFrame({"x": [0.3] * 4, "c": ["a", "b", "d", "new"]})
    *known, unknown = run.predict(rows)[:, 0]
    assert min(known) < unknown < max(known)
    assert unknown == pytest.approx(np.mean(known), abs=0.05)


def test_rows_without_a_target_are_left_out_where_cells_are_imputed(capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=90), "y": rng.choice(["a", "b"], 90)})
    frame.loc[:4, "y"] = None
    frame.loc[10:40, "x"] = None
    frame.to_csv("t.csv", index=False)
    line = ["train", "dataset=file", "dataset.path=t.csv", "training.epochs=1", "tracking=scalars"]
    assert main([*line, "dataset.missing=refuse", "hydra.run.dir=refused"]) == 2
    assert "dataset.missing=drop or impute" in capsys.readouterr().err
    assert main([*line, "dataset.missing=impute", "hydra.run.dir=run"]) == 0
    assert "5 rows had an empty target" in Path("run/data_report.md").read_text()


def test_a_class_may_be_called_na():
    frame = pd.DataFrame({"x": np.arange(60.0), "y": ["NA", "EU", "AS"] * 20})
    frame.to_csv("t.csv", index=False)
    line = ["dataset=file", "dataset.path=t.csv", "training.epochs=1", "tracking=off"]
    run = mlplab.run([*line, "dataset.na_values=[]"])
    assert run.preprocessing.class_names == ("AS", "EU", "NA")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("\n\na,b,y\n" + "1,2,u\n3,4,v\n" * 30, ("a", "b")),
        ("a,b,y\r\n" + "1,2,u\r\n3,4,v\r\n" * 30, ("a", "b")),
    ],
    ids=["empty lines before the header", "CRLF"],
)
def test_lines_of_a_file(text, names):
    Path("t.csv").write_bytes(text.encode())
    run = mlplab.run(["dataset=file", "dataset.path=t.csv", "training.epochs=1", "tracking=off"])
    assert run.preprocessing.feature_names == names
    assert main(["predict", str(run.folder), "t.csv", "-o", "answers.csv"]) == 0
    assert len(pd.read_csv("answers.csv")) == 60


def test_columns_of_a_database(capsys):
    """Decimals are numbers; lists and durations are refused by name."""
    from decimal import Decimal

    frame = pd.DataFrame({"d": [Decimal("0.02"), Decimal("1.5")] * 30, "y": ["a", "b"] * 30})
    frame.to_parquet("t.parquet")
    line = ["train", "dataset=file", "training.epochs=1", "tracking=off"]
    assert main([*line, "dataset.path=t.parquet", "hydra.run.dir=run"]) == 0
    assert main(["predict", "run", "t.parquet", "-o", "answers.csv"]) == 0
    for name, cells in (("lists", [[1], [2]]), ("durations", [pd.Timedelta("1h")] * 2)):
        frame.assign(d=cells * 30).to_parquet(f"{name}.parquet")
        assert main([*line, f"dataset.path={name}.parquet"]) == 2
        assert "dataset.ignore=[d]" in capsys.readouterr().err


def test_identifiers_may_have_the_name_of_a_prediction():
    frame = pd.DataFrame({"prediction": [f"i{i}" for i in range(60)], "x": np.arange(60.0)})
    frame.assign(row=frame["x"] * 2).to_csv("t.csv", index=False)
    line = ["dataset=file", "dataset.path=t.csv", "training.epochs=1", "tracking=off"]
    mlplab.run([*line, "dataset.target=row", "dataset.id_column=prediction"], "run")
    assert main(["predict", "run", "t.csv", "-o", "answers.csv"]) == 0
    assert list(pd.read_csv("answers.csv").columns) == ["prediction", "row"]
