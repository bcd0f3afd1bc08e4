"""dataset=file: what is read, what is refused and with which message, and what train determines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import row

import mlplab
from mlplab.cli import main
from mlplab.data.preparation.examples import prepare
from mlplab.data.tabular import File
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.readers import read
from mlplab.data.tabular.sniffing import Format
from mlplab.errors import DataError
from mlplab.model.preprocessing import Preprocessing

RNG = np.random.default_rng(0)


def people(n=120, seed=0):
    """Return numbers, a boolean, a category, a date, and a target that depends on them."""
    rng = np.random.default_rng(seed)
    age, income, city = (
        rng.uniform(18, 80, n),
        rng.lognormal(8, 1, n),
        rng.choice(["Paris", "Rome", "Oslo"], n),
    )
    member, start = (
        rng.random(n) < 0.5,
        pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, n), "D"),
    )
    churn = np.where((age > 50) ^ (city == "Rome"), "yes", "no")
    return pd.DataFrame(
        {
            "age": age,
            "income": income,
            "city": city,
            "member": member,
            "start": start,
            "churn": churn,
        }
    )


def file(path="people.csv", **fields):
    return File(path=str(path), **{"target": "churn", **fields})


@pytest.fixture
def csv():
    people().to_csv("people.csv", index=False)
    return Path("people.csv")


def refuses(overrides, capfd, *texts):
    capfd.readouterr()
    assert main(["train", "dataset=file", "training.epochs=2", "tracking=off", *overrides]) == 2
    errors = capfd.readouterr().err
    assert len(errors.strip().splitlines()) == 1, errors
    for text in texts:
        assert text in errors, errors
    assert not Path("outputs").exists()
    return errors


@pytest.mark.parametrize(
    "kind",
    [
        "csv",
        "tsv",
        "semicolons",
        "csv.gz",
        "parquet",
        "feather",
        "utf-16",
        "latin-1",
        "bom",
        "crlf",
    ],
)
def test_every_kind_of_file_gives_the_same_table(kind):
    frame = people().assign(city=lambda f: f["city"].replace({"Rome": "Zürich"}))
    path = Path(
        f"people.{kind}" if kind in ("csv", "tsv", "csv.gz", "parquet", "feather") else "people.csv"
    )
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "feather":
        frame.to_feather(path)
    elif kind == "semicolons":
        frame.to_csv(path, index=False, sep=";", decimal=",")
    else:
        encoding = {"utf-16": "utf-16", "latin-1": "latin-1", "bom": "utf-8-sig"}.get(kind, "utf-8")
        frame.to_csv(
            path,
            index=False,
            sep="\t" if kind == "tsv" else ",",
            encoding=encoding,
            lineterminator="\r\n" if kind == "crlf" else "\n",
        )
    result = read(path).frame
    assert list(result.columns) == list(frame.columns)
    np.testing.assert_allclose(result["income"], frame["income"], rtol=1e-12)
    assert result["city"].tolist() == frame["city"].tolist()
    assert result["member"].tolist() == frame["member"].tolist()
    assert pd.to_datetime(result["start"]).tolist() == frame["start"].tolist()


def test_numpy_and_idx_files():
    x, y = RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40)
    np.savez("a.npz", x=x, y=y)
    frame = read("a.npz").frame
    np.testing.assert_array_equal(frame[["x1", "x2", "x3"]], x)
    np.testing.assert_array_equal(frame["y"], y)
    images = RNG.integers(0, 256, (30, 4, 4)).astype(np.uint8)
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    Path("train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    Path("train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(b"\0\0\x08\x01" + (30).to_bytes(4, "big") + bytes(range(10)) * 3)
    )
    frame = read("train-images-idx3-ubyte.gz").frame
    np.testing.assert_array_equal(frame.drop(columns="y"), images.reshape(30, 16))
    assert frame["y"].tolist() == list(range(10)) * 3
    Path("t10k-images-idx3-ubyte").write_bytes((header + images.tobytes())[:-1])
    with pytest.raises(DataError, match="cut off"):
        read("t10k-images-idx3-ubyte")


@row("C16")
def test_pickles_in_data_files_are_refused():
    # what an attacker would write; the test is that the reader refuses it
    np.save("objects.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    np.savez("objects.npz", x=np.array([print], dtype=object), y=np.zeros(1))
    for name in ("objects.npy", "objects.npz"):
        with pytest.raises(DataError, match="cannot be read"):
            read(name)


def test_without_a_header_columns_are_numbered():
    Path("plain.csv").write_text("1.5,2,a\n2.5,3,b\n" * 20)
    result = read("plain.csv")
    assert list(result.frame.columns) == ["x1", "x2", "x3"]
    assert "no header" in result.notes[0]
    assert list(read("plain.csv", Format(header=True)).frame.columns) == ["1.5", "2", "a"]


def test_a_run_from_a_file(csv, capfd):
    overrides = [
        "dataset=file",
        "dataset.path=people.csv",
        "dataset.target=churn",
        "training.epochs=150",
        "optimizer.lr=0.02",
        "model.hidden=16-16",
        "tracking=summary",
    ]
    assert main(["train", *overrides, "hydra.run.dir=run"]) == 0
    printed = capfd.readouterr().err
    assert "comma between cells" in printed
    assert "target churn: 2 classes" in printed
    run = mlplab.load("run")
    assert run.preprocessing.class_names == ("no", "yes")
    assert run.metrics["train/accuracy"] > 0.95
    report = Path("run/data_report.md").read_text()
    assert "| city | category | 3 | 0 |" in report
    frame = read("people.csv").frame
    assert (run.predict(frame) == frame["churn"]).mean() > 0.8
    stored = json.dumps(Preprocessing.from_json(run.preprocessing.to_json()).encoder.to_dict())
    assert stored == json.dumps(run.preprocessing.encoder.to_dict())


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "quantile", "none"])
def test_scaling_is_that_of_scikit_learn_measured_on_train(scaling, csv):
    from sklearn import preprocessing as sk

    prepared = prepare(file(scaling=scaling), 3, True)
    column = prepared.feature_names.index("income")
    raw = prepared.feature_scaler.invert(prepared.train.x)[:, column]
    every = prepared.feature_scaler.invert(prepared.test.x)[:, column]
    if scaling == "quantile":  # ranks of the train split are evenly spaced from 0 to 1
        ranks = np.sort(prepared.train.x[:, column])
        np.testing.assert_allclose(ranks, np.linspace(0, 1, len(ranks)), atol=1e-9)
        return
    theirs = {
        "standard": sk.StandardScaler(),
        "minmax": sk.MinMaxScaler(),
        "robust": sk.RobustScaler(),
        "none": sk.FunctionTransformer(),
    }[scaling]
    theirs.fit(raw[:, None])
    np.testing.assert_allclose(
        prepared.test.x[:, column], np.ravel(theirs.transform(every[:, None])), rtol=1e-9, atol=1e-9
    )
    one_hot = [i for i, name in enumerate(prepared.feature_names) if name.startswith("city=")]
    assert set(np.unique(prepared.train.x[:, one_hot])) <= {0.0, 1.0}


def test_ranks_are_those_of_scikit_learn():
    from sklearn.preprocessing import QuantileTransformer

    from mlplab.data.tabular.ranks import by_rank, rank_values

    values = np.round(RNG.normal(size=500), 1)  # with ties
    theirs = QuantileTransformer(n_quantiles=100, random_state=0).fit(values[:, None])
    new = np.concatenate([values[:50], RNG.normal(size=50) * 3])
    np.testing.assert_allclose(
        by_rank(new, theirs.quantiles_[:, 0], rank_values(len(theirs.quantiles_), False)),
        theirs.transform(new[:, None])[:, 0],
        atol=1e-9,
    )


@row("D1")
@pytest.mark.parametrize("where", ["one cell", "a column", "validation"])
def test_d1_empty_cells_are_refused_or_filled(where, capfd):
    frame = people()
    if where == "one cell":
        frame.loc[7, "age"] = np.nan
    elif where == "a column":
        frame["age"] = np.nan
    else:
        people(30, 1).assign(age=lambda f: f["age"].where(f.index != 4)).to_csv(
            "val.csv", index=False
        )
    frame.to_csv("people.csv", index=False)
    more = ["dataset.val_path=val.csv"] if where == "validation" else []
    overrides = ["dataset.path=people.csv", "dataset.target=churn", *more]
    expected = {"one cell": "row 8", "a column": "no value at all", "validation": "row 125"}[where]
    refused = [*overrides, "dataset.missing=refuse"]
    refuses(refused, capfd, "column 'age'", expected, "dataset.ignore=[age]")
    code = main(
        [
            "train",
            "dataset=file",
            "training.epochs=2",
            "tracking=summary",
            *overrides,
            "dataset.missing=impute",
            "hydra.run.dir=run",
        ]
    )
    assert code == (2 if where == "a column" else 0)


@row("D2", "D3")
@pytest.mark.parametrize(
    ("column", "value", "text"),
    [("age", np.inf, "not finite"), ("age", -np.inf, "not finite"), ("age", 1e39, "too large")],
)
def test_d2_numbers_that_are_not_finite(column, value, text, capfd):
    frame = people()
    frame.loc[[5, 9], column] = value
    frame.to_csv("people.csv", index=False)
    refuses(
        ["dataset.path=people.csv", "dataset.target=churn"],
        capfd,
        "people.csv",
        f"column '{column}'",
        "row 6",
        text,
        "2 such cell(s)",
    )
    refuses(
        ["dataset.path=people.csv", f"dataset.target={column}", "dataset.task=regression"],
        capfd,
        f"'{column}'",
        "row 6",
        text,
    )


@row("D3")
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_d3_an_empty_target(task, capfd):
    frame = people()
    target = "churn" if task == "classification" else "income"
    frame.loc[3, target] = None
    frame.to_csv("people.csv", index=False)
    refuses(
        ["dataset.path=people.csv", f"dataset.target={target}", "dataset.missing=refuse"],
        capfd,
        f"target '{target}'",
        "row 4",
        "1 of 120 cells are",
    )


@row("D4")
@pytest.mark.parametrize("text", ["abc", "1,5", "12:30"])
def test_d4_text_among_numbers(text, capfd):
    frame = people().astype({"age": object})
    frame.loc[10, "age"] = text
    frame.to_csv("people.csv", index=False)
    refuses(
        ["dataset.path=people.csv", "dataset.target=churn"],
        capfd,
        "column 'age'",
        "row 11",
        text,
        "1 such cell(s)",
        "dataset.ignore=[age]",
    )
    assert (
        main(
            [
                "train",
                "dataset=file",
                "dataset.path=people.csv",
                "dataset.target=churn",
                "dataset.ignore=[age]",
                "training.epochs=1",
                "tracking=summary",
            ]
        )
        == 0
    )


@row("D5")
@pytest.mark.parametrize(("name", "near"), [("chrun", "churn"), ("Churn", "churn"), ("x99", "age")])
def test_d5_a_target_that_does_not_exist(name, near, csv, capfd):
    refuses(
        ["dataset.path=people.csv", f"dataset.target={name}"],
        capfd,
        f"'{name}'",
        near,
        "people.csv",
    )


@row("D6")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\ufeff", "no rows"),
        ("a,b\n", "no rows"),
        ("\n\n", "no rows"),
        ("y\n1\n2\n3\n1\n2\n", "no feature column"),
    ],
)
def test_d6_empty_files(text, message, capfd):
    Path("empty.csv").write_text(text, encoding="utf-8")
    refuses(["dataset.path=empty.csv"], capfd, "empty.csv", message)


@row("D7")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_d7_too_few_rows(n, capfd):
    pd.DataFrame({"a": np.arange(n) * 1.5, "y": ["p", "q", "p"][:n]}).to_csv("few.csv", index=False)
    refuses(["dataset.path=few.csv", "dataset.target=y"], capfd)


@row("D8")
def test_d8_a_single_class(capfd):
    people().assign(churn="yes").to_csv("people.csv", index=False)
    refuses(["dataset.path=people.csv", "dataset.target=churn"], capfd, "one class", "'yes'")


@row("D9")
def test_d9_a_class_that_is_not_trained(capfd):
    frame = people()
    frame.loc[0, "churn"] = "maybe"
    frame.to_csv("people.csv", index=False)
    refuses(["dataset.path=people.csv", "dataset.target=churn"], capfd, "'maybe'", "1 example(s)")
    frame["split"] = ["test"] + ["train"] * 119
    frame.to_csv("people.csv", index=False)
    refuses(
        ["dataset.path=people.csv", "dataset.target=churn", "dataset.split_column=split"],
        capfd,
        "'maybe'",
        "1 row(s), all in test",
    )


@pytest.mark.parametrize("labels", [(0, 5), (-1, 1), (-100, 3), (True, False), ("yes", "no")])
def test_labels_are_kept_whatever_they_are(labels):
    people().assign(churn=lambda f: np.where(f["churn"] == "yes", labels[1], labels[0])).to_csv(
        "people.csv", index=False
    )
    prepared = prepare(file(), 0, True)
    assert set(prepared.class_names) == {str(label) for label in labels}
    assert set(np.unique(prepared.train.y)) == {0, 1}


@row("D11")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n1,2,p\n1,2\n3,4,q\n", "2 cells, not 3"),
        ("a,b,y\n1,2,p\n1,2,3,q\n3,4,q\n", "4 cells, not 3"),
        ("a,a,y\n1,2,p\n3,4,q\n", "'a' occurs 2 times"),
        ("a,,y\n1,2,p\n3,4,q\n", "column 2 has no name"),
    ],
)
def test_d11_ragged_rows_and_names_twice(text, message, capfd):
    Path("bad.csv").write_text(text)
    refuses(["dataset.path=bad.csv", "dataset.target=y"], capfd, "bad.csv", message)


@row("D11")
def test_d11_a_wrong_encoding_is_named(capfd):
    Path("bad.csv").write_bytes("a,y\n1,é\n2,b\n".encode("latin-1") * 3)
    refuses(
        ["dataset.path=bad.csv", "dataset.target=y", "dataset.encoding=utf-8"],
        capfd,
        "utf-8",
        "dataset.encoding=",
    )


@row("D12")
def test_d12_types_that_are_no_data(capfd):
    np.savez("complex.npz", x=np.zeros((9, 2), complex), y=np.arange(9))
    refuses(["dataset.path=complex.npz"], capfd, "complex")
    frame = people().assign(number=lambda f: 2**30 + np.arange(len(f)) * 7 % 1000)
    frame.to_csv("people.csv", index=False)
    prepared = prepare(file(), 0, True)
    assert any("Single precision" in finding.consequence for finding in prepared.report.findings)


@row("D13")
def test_d13_constant_columns(tmp_path):
    people().assign(same=3.0, hardly=lambda f: 1 + 1e-15 * (f.index % 2)).to_csv(
        "people.csv", index=False
    )
    prepared = prepare(file(), 0, True)
    assert np.isfinite(prepared.train.x).all()
    assert any(
        finding.column == "same" and "always the same" in finding.observation
        for finding in prepared.report.findings
    )


@row("D24", "D25")
def test_d25_the_digest_is_that_of_what_was_read(csv):
    before = prepare(file(), 0, True).data_hash
    people().assign(age=lambda f: f["age"] + (f.index == 7)).to_csv("people.csv", index=False)
    assert prepare(file(), 0, True).data_hash != before


def test_oddities_are_reported():
    frame = people(200)
    frame["code"] = np.arange(200) + 1000
    frame["leak"] = (frame["churn"] == "yes").astype(int)
    frame = pd.concat([frame, frame.iloc[:15]], ignore_index=True)
    frame.to_csv("people.csv", index=False)
    findings = prepare(file(), 0, True).report.findings
    observations = {(finding.column, finding.observation.split(",")[0]) for finding in findings}
    assert ("leak", "predicts the target almost by itself") in observations
    assert any("repeat another one" in finding.observation for finding in findings)
    assert any("have the features of a train row" in finding.observation for finding in findings)
    fresh = people(200).assign(code=np.arange(200) + 1000)
    fresh.to_csv("people.csv", index=False)
    assert any(
        "identifier" in finding.observation for finding in prepare(file(), 0, True).report.findings
    )
    rare = people(400).assign(churn=lambda f: np.where(f.index < 12, "yes", "no"))
    rare.to_csv("people.csv", index=False)
    assert any(
        "3.0% of the rows" in finding.observation
        for finding in prepare(file(), 0, True).report.findings
    )


def test_groups_stay_together_and_time_goes_forward():
    frame = people(300).assign(group=lambda f: "g" + (f.index // 7).astype(str))
    frame.to_csv("people.csv", index=False)
    from mlplab.data.tabular.dataset import read_table
    from mlplab.data.tabular.splits import split_table

    dataset = file(group_column="group", ignore=["start"])
    table = read_table(dataset)
    rows = split_table(table, dataset, np.random.default_rng(0))
    groups = {split: set(table.frame["group"].iloc[index]) for split, index in rows.items()}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values()))
    assert sum(len(index) for index in rows.values()) == 300
    assert 40 <= len(rows["test"]) <= 80
    few = file(group_column="pair", ignore=["start", "group"], test=0, val=0.5)
    frame.assign(pair=np.where(frame.index < 30, "a", "b")).to_csv("people.csv", index=False)
    rows = split_table(read_table(few), few, np.random.default_rng(0))
    assert sorted(map(len, rows.values())) in ([0, 30, 270],)  # the last group remains for training
    frame.to_csv("people.csv", index=False)
    dataset = file(time_column="start", ignore=["group"])
    table = read_table(dataset)
    rows = split_table(table, dataset, np.random.default_rng(0))
    moments = pd.to_datetime(table.frame["start"])
    assert moments.iloc[rows["train"]].max() <= moments.iloc[rows["val"]].min()
    assert moments.iloc[rows["val"]].max() <= moments.iloc[rows["test"]].min()


@pytest.mark.parametrize("missing", ["refuse", "impute"])
def test_only_the_train_split_determines_what_is_learned(missing):
    """Changing any test row leaves scalers, encoders, weights and the best epoch unchanged."""
    frame = people(150)
    if missing == "impute":
        frame.loc[::9, "age"] = np.nan
        frame.loc[::11, "city"] = None
    frame["split"] = ["train"] * 90 + ["val"] * 30 + ["test"] * 30
    results = set()
    for seed in range(4):
        changed = frame.copy()
        if seed:
            other = people(30, seed).assign(city="Quito", income=lambda f: f["income"] * 1000)
            for name in ("age", "income", "city", "churn"):
                changed.loc[120:, name] = other[name].to_numpy()
        changed.to_csv("people.csv", index=False)
        run = mlplab.run(
            [
                "dataset=file",
                "dataset.path=people.csv",
                "dataset.target=churn",
                "dataset.split_column=split",
                f"dataset.missing={missing}",
                "training.epochs=12",
                "tracking=off",
            ],
            f"run{seed}",
        )
        results.add(
            (
                Path(f"run{seed}/checkpoints/last.safetensors").read_bytes(),
                run.preprocessing.to_json(),
                run.summary["best_epoch"],
            )
        )
    assert len(results) == 1


def test_integer_weights_equal_repeated_rows():
    """In full batches, an integer weight is the same as repeating the row."""
    frame = (
        people(40)
        .drop(columns="start")
        .assign(
            weight=lambda f: 1 + f.index % 3,
            age=lambda f: f["age"] / 100,  # unscaled ages would saturate the units
        )
    )
    frame.to_csv("weighted.csv", index=False)
    repeated = frame.loc[frame.index.repeat(frame["weight"])].assign(weight=1)
    repeated.to_csv("repeated.csv", index=False)
    overrides = [
        "dataset=file",
        "experiment=null",
        "dataset.target=churn",
        "dataset.val=0",
        "dataset.test=0",
        "dataset.scaling=none",
        "dataset.ignore=[income]",
        "training=batch",
        "training.epochs=20",
        "dtype=float64",
        "tracking=off",
    ]
    one = mlplab.run(
        [*overrides, "dataset.path=weighted.csv", "dataset.weight_column=weight"], "one"
    )
    two = mlplab.run(
        [*overrides, "dataset.path=repeated.csv", "dataset.weight_column=weight"], "two"
    )
    assert one.summary["best_epoch"] > 0  # not the initial weights
    for a, b in zip(one.module().parameters(), two.module().parameters(), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-9, atol=1e-12)


def test_unknown_categories_and_missing_cells_at_prediction(csv):
    frame = people(150)
    frame.loc[::10, "age"] = np.nan
    frame.to_csv("people.csv", index=False)
    prepared = prepare(file(missing="impute"), 0, True)
    encoder: Encoder = prepared.encoder
    new = people(3).assign(city=["Quito", None, "Oslo"], age=[np.nan, 30, 40])
    encoded = pd.DataFrame(encoder.apply(new), columns=encoder.feature_names)
    cities = [i for i, name in enumerate(encoder.feature_names) if name.startswith("city=")]
    # no city was missing in training, so both become the mean of the train rows
    mean = prepared.train.x[:, cities].mean(0)
    np.testing.assert_allclose(encoded.iloc[:2, cities], [mean, mean], rtol=1e-6)
    assert encoded.iloc[2, cities].tolist() == [
        name == "city=Oslo" for name in encoded.columns[cities]
    ]
    assert encoded["age missing"].tolist() == [1.0, 0.0, 0.0]
    assert encoded["age"].iloc[0] == pytest.approx(np.nanmedian(people(150)["age"]), abs=8)
    strict = prepare(file(path=str(_complete())), 0, True).encoder
    with pytest.raises(DataError, match=r"column 'age', row 1: the cell is empty"):
        strict.apply(new, "new.csv")
    with pytest.raises(DataError, match=r"lacks the column\(s\) income"):
        strict.apply(new.drop(columns="income"), "new.csv")


def _complete():
    people().to_csv("complete.csv", index=False)
    return Path("complete.csv")


def test_several_targets(tmp_path):
    frame = people().assign(a=lambda f: f["age"] * 2, b=lambda f: f["income"] / 100)
    frame.to_csv("people.csv", index=False)
    run = mlplab.run(
        [
            "dataset=file",
            "dataset.path=people.csv",
            "dataset.target=[a,b]",
            "dataset.ignore=[churn]",
            "training.epochs=200",
            "optimizer.lr=0.02",
            "tracking=summary",
        ],
        "run",
    )
    assert run.preprocessing.target_names == ("a", "b")
    assert run.predict(frame).shape == (120, 2)
    assert run.metrics["train/r2"] > 0.5
