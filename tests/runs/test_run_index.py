"""The index of runs: whatever happens to folders and index, a list with it equals one without."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
from pathlib import Path

import pytest
from harness import size

from mlplab.errors import MlplabError
from mlplab.io.links import refuse_links
from mlplab.runs import line_file, plan_text, run_index
from mlplab.runs.job_record import JobRecord
from mlplab.runs.line_file import LineFile
from mlplab.runs.listing import RunTable
from mlplab.runs.packs import Packs
from mlplab.runs.run_index import CONFIGS_FILE, INDEX, RUNS_FILE, RunIndex, entries

CONFIG = """name: {name}
seed: {seed}
optimizer:
  name: adam
  lr: {lr}
model:
  name: mlp
  hidden: [4, {width}]
"""


@pytest.fixture(autouse=True)
def _every_run_counts(monkeypatch):
    monkeypatch.setattr(run_index, "MIN_NEW_LINES", 1)
    monkeypatch.setattr(run_index, "MAX_STALE_LINES", 2)


def add_run(folder, number=0, ended=True):
    folder = Path(folder)
    folder.mkdir(parents=True)
    text = CONFIG.format(name="r", seed=number, lr=0.01 * (number % 3), width=number % 4)
    (folder / "config.yaml").write_text(text)
    (folder / "overrides.yaml").write_text(f"- experiment=xor_mlp\n- seed={number}\n")
    if ended:
        write_summary(folder, number)


def write_summary(folder, number, status="done"):
    metrics = {"test/accuracy": number / 64, "val/loss": None if number % 5 == 0 else 0.5}
    content = {"status": status, "name": "r", "seed": number, "epochs": 3, "metrics": metrics}
    (folder / "summary.json").write_text(json.dumps(content))


def add_sweep(folder, jobs=3, status="done"):
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "plan.yaml").write_text("jobs: []\n")
    counts = {"planned": jobs, "missing": 0}
    (folder / "summary.json").write_text(json.dumps({"status": status, "name": "s", **counts}))
    for number in range(jobs):
        add_run(folder / "jobs" / str(number), number)


def add_packed_sweep(folder, number):
    """A sweep of six jobs of which four have ended, and one that was removed from its plan."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "plan.yaml").write_text(plan_with("base"))
    counts = {"planned": 6, "missing": 2}
    status = {"status": ("running", "done")[number % 2], "name": "s"}
    (folder / "summary.json").write_text(json.dumps({**status, **counts}))
    add_pack(folder, [0, 1, number % 4, 6], number)


def plan_with(key):
    """The text of a plan whose configurations stand under `key` + "s"."""
    text = CONFIG.format(name="r", seed=0, lr=0.01, width=3)
    lines = [
        plan_text.job_line(
            n, "h", [f"seed={n}"], 0, f'{{"seed": {n}, "optimizer": {{"lr": {n / 8}}}}}', n == 6
        )
        for n in range(7)
    ]
    head = f"format: {plan_text.FORMAT}\n{key}s:\n- " + text.replace("\n", "\n  ").rstrip(" ")
    return head + plan_text.jobs_block(lines)


def add_pack(folder, numbers, number):
    statuses = ("done", "failed", "diverged", "pruned", "interrupted")
    metrics = {"test/accuracy": number / 64, "val/loss": None if number % 5 == 0 else 0.5}
    records = [
        JobRecord(
            n,
            1e9 + number,
            {
                **{"status": statuses[(n + number) % 5], "name": "r", "seed": n, "reason": ""},
                **{"epochs": 3, "metrics": metrics if (n + number) % 5 != 1 else {}},
            },
            {},
        )
        for n in dict.fromkeys(numbers)
    ]
    Packs(folder).write(records, f"{number:07d}")


def age(root, clock):
    """Give what has just changed a time long ago, but later than that of all earlier changes."""
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            path = os.path.join(folder, name)
            if os.lstat(path).st_mtime > 1_500_000_000:
                clock[0] += 1
                stamp = (1_000_000_000 + clock[0]) * 10**9
                os.utime(path, ns=(stamp, stamp), follow_symlinks=False)


def listed(root, jobs=True):
    """All that a list shows, and the configurations."""
    index = RunIndex(root)
    of_index = index.entries(jobs)
    rows = [
        (
            *(str(entry.folder), entry.kind, entry.changed, entry.sweep),
            *(entry.summary, entry.damaged, entry.num_jobs),
            {key: index.config(entry).get(key) for key in index.config(entry)},
            index.config(entry).overridden,
        )
        for entry in of_index
    ]
    table = RunTable.of(index, of_index)
    index.save()
    return rows, list(table.json_lines())


def without_index(root, jobs=True):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LineFile, "read", lambda file: [])
        patched.setattr(RunIndex, "save", lambda index: None)
        return listed(root, jobs)


def count_reads(root):
    """The number of summaries and configurations that a list reads."""
    reads = []
    with pytest.MonkeyPatch.context() as patched:
        for name in ("summary_of", "flat_config"):
            function = getattr(run_index, name)

            def counting(folder, function=function):
                reads.append(folder)
                return function(folder)

            patched.setattr(run_index, name, counting)
        listed(root)
    return len(reads)


@pytest.fixture
def outputs():
    """Six runs and a sweep of three jobs, all old."""
    root = Path("outputs")
    for number in range(6):
        add_run(root / f"runs/r/{number}", number)
    add_sweep(root / "sweeps/s/a")
    age(root, [0])
    return root


def lines_of(root, name):
    return (root / INDEX / name).read_bytes().split(b"\n")


def test_a_second_list_reads_no_run(outputs):
    expected = listed(outputs)
    assert [row[1] for row in expected[0]].count("job") == 3
    assert count_reads(outputs) == 0
    assert listed(outputs) == expected == without_index(outputs)
    assert len(listed(outputs, jobs=False)[0]) == 7


def test_differences_of_configurations_are_stored(outputs):
    listed(outputs)
    lines = [json.loads(line[9:]) for line in lines_of(outputs, CONFIGS_FILE) if line]
    assert [line[0] for line in lines].count("base") == 1
    assert all(line[4].keys() <= {"seed", "optimizer.lr", "model.hidden"} for line in lines[1:])


def test_runs_that_may_still_change_are_not_stored():
    add_run("outputs/runs/r/0")
    listed(Path("outputs"))
    assert count_reads(Path("outputs")) > 0


def test_few_runs_leave_no_index(outputs, monkeypatch):
    monkeypatch.setattr(run_index, "MIN_NEW_LINES", 50)
    monkeypatch.setattr(run_index, "MAX_STALE_LINES", 50)
    listed(outputs)
    assert not (outputs / INDEX).exists()


def test_a_moved_outputs_folder_keeps_its_index(outputs):
    before = listed(outputs)[0]
    outputs.rename("elsewhere")
    after = listed(Path("elsewhere"))[0]
    assert count_reads(Path("elsewhere")) == 0
    assert [row[4:] for row in after] == [row[4:] for row in before]


def test_a_copy_of_the_outputs_is_read_again(outputs):
    listed(outputs)
    shutil.copytree(outputs, "copy")
    for path in sorted(Path("copy").rglob("summary.json")):
        status = path.stat()
        content = path.read_text().replace('"epochs": 3', '"epochs": 4')
        path.write_text(content)  # in place, with the size and the time of the original
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert listed(Path("copy")) == without_index(Path("copy"))


def test_a_list_without_jobs_keeps_those_in_the_index(outputs, monkeypatch):
    listed(outputs)
    monkeypatch.setattr(run_index, "MAX_STALE_LINES", 0)
    for number in range(6):
        shutil.rmtree(outputs / f"runs/r/{number}")
    for _ in range(3):
        assert len(listed(outputs, jobs=False)[0]) == 1
    lines = [json.loads(line[9:]) for line in lines_of(outputs, RUNS_FILE) if line]
    assert sorted(line[0] for line in lines) == [
        "sweeps/s/a",
        *(f"sweeps/s/a/jobs/{n}" for n in "012"),
    ]
    assert count_reads(outputs) == 0


def test_an_interrupted_run_that_continues(outputs):
    folder = outputs / "runs/r/0"
    write_summary(folder, 0, "interrupted")
    age(outputs, [100])
    assert [row[4]["status"] for row in listed(outputs)[0]].count("interrupted") == 1
    write_summary(folder, 0, "done")
    age(outputs, [200])
    assert listed(outputs) == without_index(outputs)
    assert not [row for row in listed(outputs)[0] if row[4]["status"] == "interrupted"]


@pytest.mark.parametrize(
    "damage", ["cut", "flip", "text", "binary", "empty", "nested", "open", "values"]
)
def test_damaged_lines_are_skipped(damage, outputs):
    expected = listed(outputs)
    for name in (RUNS_FILE, CONFIGS_FILE):
        path = outputs / INDEX / name
        data = bytearray(path.read_bytes())
        if damage == "cut":
            data = data[: len(data) - 30]
        elif damage == "flip":
            data[len(data) // 2] ^= 1
        elif damage in ("nested", "open", "values"):
            values = {
                "nested": ["[" * 5000 + "]" * 5000],
                "open": ["[" * 60] * 1000,
                "values": ['["runs/r/0"]', "1", "[[], []]", '["run", "runs/r/0", [], "x", {}, []]'],
            }[damage]
            for body in (value.encode() for value in values):
                data += b"%08x %s\n" % (line_file.crc32(body), body)
        else:
            data += {"text": b"hello", "binary": b"\0\xff\n\n", "empty": b"\n" * 99}[damage]
        path.write_bytes(data)
    for _ in range(2):
        assert listed(outputs) == expected


def test_an_index_of_lies_is_only_displayed(outputs, monkeypatch, capsys):
    """A stranger's index may give wrong values for a summary, like a stranger's summary. It names
    no file that is read, and its texts do not control the terminal.
    """
    from mlplab.cli import main

    listed(outputs)
    path = outputs / INDEX / RUNS_FILE
    lines = []
    for line in (line for line in path.read_bytes().split(b"\n") if line):
        value = json.loads(line[9:])
        value[4] |= {"status": "\x1b[2J done", "name": "../../x", "seed": 10**200}
        lines += [value, ["../../secret", "run", *value[2:]], [f"{value[0]}/..", *value[1:]]]
    lines.append(["runs/r/1", "run", lines[0][2], lines[0][3], {"status": "done", "seed": "no"}])
    file = LineFile(path)
    file.read()
    file.replace(lines)
    opened = []
    monkeypatch.setattr(run_index, "summary_of", opened.append)
    for more in ([], ["--jobs"], ["--json"], ["--csv"], ["--where", "optimizer=adam"]):
        assert main(["runs", *more]) == 0
        assert "\x1b" not in capsys.readouterr().out
    assert not opened


@pytest.mark.parametrize("what", ["folder", "file"])
def test_links_are_not_followed(what, outputs, tmp_path):
    expected = listed(outputs)
    outside = tmp_path / "outside"
    target = outputs / INDEX if what == "folder" else outputs / INDEX / RUNS_FILE
    shutil.move(target, outside)
    if what == "file":
        outside.write_bytes(outside.read_bytes()[:-100])
    target.symlink_to(outside)
    before = sorted((str(path), path.stat().st_size) for path in (outside, *outside.rglob("*")))
    shutil.rmtree(outputs / "runs/r/5")
    assert len(listed(outputs)[0]) == len(expected[0]) - 1
    after = sorted((str(path), path.stat().st_size) for path in (outside, *outside.rglob("*")))
    assert after == before
    summary = outputs / "runs/r/0/summary.json"
    shutil.move(summary, tmp_path / "summary")
    summary.symlink_to(tmp_path / "summary")
    (damaged,) = [row for row in listed(outputs)[0] if row[5]]
    assert damaged[0].endswith("runs/r/0")


def test_special_files_are_not_opened(outputs):
    for path in (outputs / "runs/r/0/summary.json", outputs / "runs/r/1/config.yaml"):
        path.unlink()
        os.mkfifo(path)
    (outputs / INDEX).mkdir()
    os.mkfifo(outputs / INDEX / CONFIGS_FILE)
    rows = listed(outputs)[0]
    assert [row[5] for row in rows].count(True) == 1
    assert [row[7] for row in rows if row[0].endswith("r/1")] == [{}]


def test_a_folder_that_cannot_be_written_to(outputs, monkeypatch):
    expected = without_index(outputs)

    def refused(*arguments):
        raise PermissionError(13, "Permission denied")

    for name in ("make_folder", "open_to_append"):
        monkeypatch.setattr(line_file, name, refused)
    assert listed(outputs) == expected
    assert not (outputs / INDEX).exists()


def test_a_locked_file_is_left_to_its_writer(outputs):
    (outputs / INDEX).mkdir()
    path = outputs / INDEX / RUNS_FILE
    with open(path, "wb") as file:
        assert line_file.try_lock(file.fileno())
        listed(outputs)
    assert path.stat().st_size == 0
    listed(outputs)
    assert path.stat().st_size > 0


def test_a_file_that_is_too_large_is_written_again(outputs, monkeypatch):
    expected = listed(outputs)
    with open(outputs / INDEX / RUNS_FILE, "ab") as file:
        file.write(b"\n" * 100_000)
    monkeypatch.setattr(line_file, "MAX_BYTES", 90_000)
    assert listed(outputs) == expected
    assert (outputs / INDEX / RUNS_FILE).stat().st_size < 10_000
    assert listed(outputs) == expected


def append_many(root, first):
    for number in range(first, first + 40):
        file = LineFile(root / "x")
        file.read()
        file.append([[number, "x" * 3000]])


def test_two_writers_at_once(tmp_path):
    processes = [
        multiprocessing.get_context("fork").Process(target=append_many, args=(tmp_path, first))
        for first in (0, 1000)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    values = LineFile(tmp_path / "x").read()
    assert len(values) == len({value[0] for value in values})
    assert len(values) > 20  # a writer that meets the lock drops its lines


def test_two_writers_in_turn(outputs):
    first, second = RunIndex(outputs), RunIndex(outputs)
    for index in (first, second):
        for entry in index.entries(jobs=True):
            index.config(entry)
    for index in (first, second):
        index.save()
    assert listed(outputs) == without_index(outputs)
    stale = RunIndex(outputs)
    stale.entries()
    shutil.rmtree(outputs / "runs")
    listed(outputs)  # rewrites the file
    size_before = (outputs / INDEX / RUNS_FILE).stat().st_size
    stale.save()
    assert (outputs / INDEX / RUNS_FILE).stat().st_size == size_before
    assert listed(outputs) == without_index(outputs)


def test_values_that_json_lacks_are_read_each_time():
    texts = ["a: 2020-01-01", "a: [{1: 2}]", "a: .nan", "a: !!set {x}", f"a: 0x{'f' * 5000}"]
    for number, text in enumerate(texts):
        add_run(f"outputs/{number}", number)
        Path(f"outputs/{number}/config.yaml").write_text(f"name: r\n{text}\n")
    age("outputs", [0])
    expected = repr(without_index(Path("outputs")))
    for _ in range(2):
        assert repr(listed(Path("outputs"))) == expected


# Random operations.


def run_folders(root):
    return sorted(path.parent for path in Path(root).rglob("config.yaml"))


def operate_on_packs(root, choose, number):
    """Change a packed sweep in one way."""
    sweeps = sorted(path.parent for path in root.rglob("packs"))
    sweep = choose.choice(sweeps) if sweeps else root / f"sweeps/p{number}"
    packs = sorted((sweep / "packs").glob("*.safetensors"))
    path = choose.choice([*packs, sweep / "plan.yaml"])
    match choose.randrange(10):
        case _ if not sweeps:
            add_packed_sweep(sweep, number)
        case 0 | 1:
            add_packed_sweep(root / f"sweeps/p{number}", number)
        case 2 | 3 if not (sweep / "packs").is_symlink():
            with contextlib.suppress(MlplabError):
                add_pack(sweep, [choose.randrange(7), choose.randrange(7)], number)
        case 4:
            with contextlib.suppress(MlplabError):
                Packs(sweep).merge()
        case 5:
            path.unlink(missing_ok=True)
        case 6 if path.is_file():
            data = bytearray(path.read_bytes())
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
            path.write_bytes(data[: choose.randrange(len(data)) or 1] if number % 2 else data)
        case 7:
            for target in (path, sweep / "packs")[: 1 + number % 2]:
                if target.exists() and not target.is_symlink():
                    outside = root.parent / f"outside-{root.name}-{number}-{target.name}"
                    target.rename(outside)
                    target.symlink_to(outside)
        case 8:
            (sweep / "plan.yaml").unlink(missing_ok=True)
            (sweep / "plan.yaml").write_text(plan_with(choose.choice(["base", "bas"])))
        case 9:
            sweep = sweep.rename(root / f"sweeps/moved-{number}")
    if (sweep / "plan.yaml").is_file() and (sweep / "packs").is_dir():
        assert_is_listed(sweep)


def operate(root, choose, number):
    """Change the folders or the index in one way."""
    if choose.random() < 0.25:
        operate_on_packs(root, choose, number)
        return
    folders = run_folders(root)
    folder = choose.choice(folders) if folders else root
    summary, index = folder / "summary.json", root / INDEX
    target = root / f"runs/g{choose.randrange(3)}/{number}"
    match choose.randrange(17):
        case 0 | 1 | 2:
            add_run(target, number, ended=choose.random() < 0.8)
        case 3:
            add_sweep(
                root / f"sweeps/{number}", choose.randrange(4), choose.choice(["done", "running"])
            )
        case 4 if folders:
            write_summary(folder, number)
        case 5 if summary.is_file():  # in place, of the same size
            summary.write_text(summary.read_text().replace("done", choose.choice(["done", "none"])))
        case 6 if folders:
            shutil.rmtree(folder)
        case 7 if folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
        case 8 if folders:
            shutil.copytree(folder, target, symlinks=True)
        case 9 if len(folders) > 1:  # exchange two
            other = choose.choice([other for other in folders if other != folder])
            if not (folder in other.parents or other in folder.parents):
                folder.rename(root / "aside")
                other.rename(folder)
                (root / "aside").rename(other)
        case 10 if folders:
            summary.unlink(missing_ok=True)
            summary.write_text(choose.choice(["{dam", "[]", '{"status": 3}', "{}"]))
        case 11 if folders and (folder / "config.yaml").is_file():
            text = CONFIG.format(name="e", seed=number, lr=9, width=1)
            (folder / "config.yaml").write_text(text + choose.choice(["", "more: 1\n", "{"]))
        case 12 if folders:
            (folder / "overrides.yaml").write_text(f"- optimizer.lr={number}\n")
        case 13 if (root / "runs").is_dir():
            groups = sorted((root / "runs").iterdir())
            if groups:
                choose.choice(groups).rename(root / "runs" / f"moved-{number}")
        case 14 if summary.is_file() and not summary.is_symlink():
            summary.rename(folder / "else.json")
            summary.symlink_to("else.json")
        case 15 if index.is_dir():
            path = choose.choice([*sorted(index.iterdir()), index])
            if path == index:
                shutil.rmtree(index)
            else:
                data = bytearray(path.read_bytes())
                if data:
                    data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
                path.write_bytes(data[: choose.randrange(len(data) + 1)] if number % 2 else data)
        case 16 if folders and not (folder / "plan.yaml").exists():
            (folder / "plan.yaml").write_text("jobs: []\n")


def assert_is_listed(sweep):
    """A list has the jobs of all packs that can be read, with the values that the plan has."""
    packs, numbers = Packs(sweep), set()
    with contextlib.suppress(MlplabError, OSError):
        refuse_links([sweep / "packs"])
        packs.refresh()
        numbers = set(packs.numbers)
    index = RunIndex(sweep)
    jobs = [entry for entry in index.entries(jobs=True) if entry.kind == "job"]
    assert {int(entry.folder.name) for entry in jobs if not entry.damaged} >= numbers
    plan = sweep / "plan.yaml"
    is_sound = not plan.is_symlink() and plan.read_bytes() == plan_with("base").encode()
    for entry in (entry for entry in jobs if is_sound and not entry.damaged):
        number = int(entry.folder.name)
        assert index.config(entry).get("optimizer.lr") == number / 8
        assert index.config(entry).get("seed") == number
        assert index.config(entry).overridden == ("seed",)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("first_seed", range(0, size(2, 300), size(2, 20)))
def test_after_random_operations_the_index_changes_nothing(tmp_path, first_seed):
    for seed in range(first_seed, first_seed + size(2, 20)):
        choose, root, clock = random.Random(seed), tmp_path / str(seed), [0]
        root.mkdir()
        stale = RunIndex(root)
        for number in range(size(25, 40)):
            operate(root, choose, number)
            age(root, clock)
            if choose.random() < 0.2:
                stale.save()  # another process, which listed some time ago
            for jobs in (choose.random() < 0.5, True):
                assert repr(listed(root, jobs)) == repr(without_index(root, jobs)), (seed, number)
            if choose.random() < 0.2:
                stale = RunIndex(root)
                for entry in stale.entries(jobs=choose.random() < 0.5):
                    stale.config(entry)
        assert [entry.folder for entry in entries(root)]
