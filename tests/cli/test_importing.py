"""`beers import` and `beers export`: every row is accounted for, and none is added twice."""

import csv
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest

from beers_cli.exporting import _destination
from grpc_bridge.proto.beers.v1 import beers_pb2
from tests.cli.conftest import Run
from tests.cli.fake_service import FakeService, away, status


def write(path: Path, count: int, start: int = 0) -> str:
    with path.open("a", newline="", encoding="utf-8") as file:
        if not start:
            file.write("name,brewery,abv\n")
        csv.writer(file).writerows((f"Beer {number}", "Brewery, & Sons", 5) for number in range(start, start + count))
    return str(path)


def described(service: FakeService) -> list[tuple[str, str, str, float | None]]:
    """What the service holds; beers that are sent at the same time arrive in any order."""
    return sorted(
        (beer.name, beer.brewery, beer.description, beer.abv if beer.HasField("abv") else None)
        for beer in service.beers.values()
    )


def test_a_file_is_imported_once_however_often_it_is_run(service: FakeService, beers: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "beers.csv", 200)
    result = beers("import", file)
    assert (result.status, result.out) == (0, "200 rows read: 200 added, 0 already there, 0 refused.\n")
    assert beers("import", file).out == "200 rows read: 0 added, 200 already there, 0 refused.\n"
    write(tmp_path / "beers.csv", 10, start=200)
    assert beers("import", file).out == "210 rows read: 10 added, 200 already there, 0 refused.\n"
    assert len(service.beers) == 210


def test_identical_rows_are_beers_of_their_own(service: FakeService, beers: Run) -> None:
    stdin = b"name\nPale Ale\nPale Ale\n"
    assert beers("import", "-", stdin=stdin).status == 0
    assert beers("import", "-", stdin=stdin).out == "2 rows read: 0 added, 2 already there, 0 refused.\n"
    assert len(service.beers) == 2


def test_refused_rows_are_reported_with_line_and_reason_and_the_rest_goes_on(service: FakeService, beers: Run) -> None:
    stdin = b"name,abv,color\nA,5,x\n ,5,x\nB,strong,x\nC,5,x\n"
    result = beers("import", "-", stdin=stdin)
    assert result.status == 1
    assert result.out == "4 rows read: 2 added, 0 already there, 2 refused.\n"
    assert "line 3: name: must not be blank" in result.err
    assert "line 4: abv: must be a number such as 4.5, not 'strong'" in result.err
    assert "Columns that are not read: color" in result.err
    assert sorted(beer.name for beer in service.beers.values()) == ["A", "C"]
    document = beers("import", "-", "--json", stdin=stdin).document
    assert (document["read"], document["added"], document["already_there"], document["refused"]) == (4, 0, 2, 2)
    assert sorted(refusal["line"] for refusal in document["refusals"]) == [3, 4]
    assert document["ignored_columns"] == ["color"]


@pytest.mark.usefixtures("service")
def test_a_refused_row_of_several_lines_is_reported_with_all_of_them(beers: Run) -> None:
    stdin = b'name,abv,description\nA,5,x\n,5,"one\ntwo\nthree"\n"B,5,x\nC,5,x\n'
    result = beers("import", "-", stdin=stdin)
    assert "lines 3 to 5: name: must not be blank" in result.err  # as the service says it
    assert "lines 6 to 7: the quote that opens here is never closed" in result.err
    refusals = beers("import", "-", "--json", stdin=stdin).document["refusals"]
    assert sorted((refusal["line"], refusal["last_line"]) for refusal in refusals) == [(3, 5), (6, 7)]


def test_json_lines_from_standard_input_are_recognised(service: FakeService, beers: Run) -> None:
    assert beers("import", "-", stdin=b'{"name": "Jever", "ibu": 44}\n').status == 0
    assert service.beers[1].ibu == 44


def test_rows_without_an_answer_are_sent_again_with_the_same_ids(
    service: FakeService, beers: Run, tmp_path: Path
) -> None:
    service.failures.extend([away()] * 3)
    service.lose_answers = 2
    document = beers("import", "--json", write(tmp_path / "beers.csv", 9000)).document
    # Of rows whose answer was lost nobody can tell any more which run of the import added them.
    assert document["added"] + document["already_there"] == document["read"] == 9000
    assert document["refused"] == 0
    assert [service.beers[beer_id].name for beer_id in sorted(service.beers)] == [f"Beer {n}" for n in range(9000)]


def test_rows_travel_in_order_in_messages_of_a_thousand_or_a_megabyte(
    service: FakeService, beers: Run, tmp_path: Path
) -> None:
    file = tmp_path / "beers.csv"
    sent: list[beers_pb2.ImportBeersRequest] = []
    service.on_chunk = sent.append
    beers("import", write(file, 4500))
    assert [len(chunk.beers) for chunk in sent] == [1000, 1000, 1000, 1000, 500]
    assert len({chunk.import_id for chunk in sent}) == 2
    again = list(sent)
    sent.clear()
    beers("import", str(file))
    assert sent == again
    sent.clear()
    file.write_text("name,description\n" + "".join(f"{number},{'x' * 300_000}\n" for number in range(10)))
    beers("import", str(file))
    assert [len(chunk.beers) for chunk in sent] == [3, 3, 3, 1]


def test_all_refused_rows_are_reported_though_an_answer_tells_only_of_a_thousand(
    service: FakeService, beers: Run
) -> None:
    names = [b"" if number % 2 else b"A" for number in range(6000)]
    stdin = b"name,abv\n" + b"".join(b"%s,5\n" % name for name in names)
    document = beers("import", "-", "--json", stdin=stdin).document
    assert (document["read"], document["added"], document["already_there"], document["refused"]) == (
        6000,
        3000,
        0,
        3000,
    )
    assert [refusal["line"] for refusal in document["refusals"]] == list(range(3, 6003, 2))
    assert len(service.beers) == 3000


def test_a_bug_of_the_service_costs_one_row(service: FakeService, beers: Run, tmp_path: Path) -> None:
    service.breaks_on = {"Beer 0", "Beer 2499"}
    result = beers("import", write(tmp_path / "beers.csv", 2500))
    assert "2,500 rows read" in result.out
    assert "2 refused" in result.out
    assert "line 2: something went wrong, id 4711" in result.err
    assert "line 2501: something went wrong, id 4711" in result.err
    assert len(service.beers) == 2498


def test_after_its_patience_it_gives_up_and_says_how_to_go_on(service: FakeService, beers: Run, tmp_path: Path) -> None:
    service.failures.extend([away()] * 100_000)
    result = beers("import", write(tmp_path / "beers.csv", 100), "--patience", "0.5")
    assert result.status == 1
    assert "No answer for 0.5 s" in result.err
    assert "Run the same command again" in result.err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "you may not"),
        (grpc.StatusCode.UNIMPLEMENTED, "is no beers service, or one of an older version"),
    ],
)
def test_what_trying_again_does_not_change_stops_it_at_once(
    service: FakeService, beers: Run, tmp_path: Path, code: grpc.StatusCode, words: str
) -> None:
    service.failures.append(status(code, "you may not"))
    result = beers("import", write(tmp_path / "beers.csv", 100))
    assert result.status == 1
    assert words in result.err
    assert not service.beers


def test_an_interrupted_import_ends_with_130_and_goes_on_where_it_was(
    service: FakeService, beers: Run, tmp_path: Path
) -> None:
    file = write(tmp_path / "beers.csv", 20_000)
    arrived, go_on = threading.Event(), threading.Event()

    def wait_in_the_second_segment(_chunk: beers_pb2.ImportBeersRequest) -> None:
        if len(service.beers) >= 5000:
            arrived.set()
            go_on.wait(20)

    service.on_chunk = wait_in_the_second_segment
    with subprocess.Popen(
        [sys.executable, "-m", "beers_cli", "import", file],
        env=os.environ | {"BEERS_ADDRESS": service.address},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert arrived.wait(20)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=20)
    go_on.set()
    assert program.returncode == 130
    assert "Traceback" not in err
    assert "Not finished." in err
    assert "4,000 added" in err
    service.on_chunk = lambda _chunk: None
    document = beers("import", "--json", file).document
    assert document["already_there"] >= 5000
    assert document["added"] + document["already_there"] == 20_000
    assert len({beer.name for beer in service.beers.values()}) == len(service.beers) == 20_000


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.csv"], 1, "Cannot read nowhere.csv: No such file or directory"),
        (["/"], 1, "Cannot read /: Is a directory"),
        (["-", "--format", "xml"], 2, "csv or jsonl"),
        (["-"], 1, "no column called name"),
        ([], 2, "FILE"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_words(beers: Run, arguments: list[str], code: int, words: str) -> None:
    result = beers("import", *arguments)
    assert result.status == code
    assert words in result.err


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_what_is_exported_is_what_was_imported(
    service: FakeService, beers: Run, tmp_path: Path, file_format: str
) -> None:
    lines = io.StringIO()
    rows = [
        ["name", "brewery", "style", "abv", "ibu", "description"],
        ['Bière, "brune"', "L'Échoppe", "Dubbel", "8.05", "", "one\ntwo\r\n\ttabbed"],
        ["Pale Ale", "", "", "", "10000", ""],
        ["Alcohol-free", "", "", "0", "", ""],
    ]
    csv.writer(lines).writerows(rows)
    assert beers("import", "-", "--keep-zero", stdin=lines.getvalue().encode()).status == 0
    before = described(service)
    file = str(tmp_path / f"out.{file_format}")
    result = beers("export", "--output", file)
    assert result.status == 0
    assert "3 beers written" in result.err
    assert "1 of them have a known 0" in result.err
    assert not list(tmp_path.glob("*.unfinished"))
    service.beers.clear()
    service.answers.clear()
    assert beers("import", "--keep-zero", file).status == 0
    assert described(service) == before


def test_export_reads_page_by_page_and_leaves_removed_beers_out(
    service: FakeService, beers: Run, tmp_path: Path
) -> None:
    beers("import", write(tmp_path / "beers.csv", 1500))
    beers("remove", "7")
    service.calls.clear()
    exported = beers("export").out.splitlines()
    assert len(exported) == 1 + 1499
    assert len(service.calls) == 2


def test_an_export_that_fails_leaves_the_file_of_the_time_before_alone(
    service: FakeService, beers: Run, tmp_path: Path
) -> None:
    (tmp_path / "out.csv").write_text("yesterday's")
    service.failures.append(status(grpc.StatusCode.PERMISSION_DENIED, "you may not"))
    assert beers("export", "--output", str(tmp_path / "out.csv")).status == 1
    assert (tmp_path / "out.csv").read_text() == "yesterday's"
    assert len(list(tmp_path.iterdir())) == 1
    assert "Cannot write" in beers("export", "--output", str(tmp_path / "no" / "out.csv")).err


def test_an_export_into_a_pipe_or_a_device_leaves_it_one(service: FakeService, beers: Run, tmp_path: Path) -> None:
    service.beers[1] = beers_pb2.Beer(id=1, name="Jever")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert beers("export", "-o", str(fifo)).status == 0
        assert os.read(reading, 1000).decode().splitlines()[1].startswith("Jever,")
    finally:
        os.close(reading)
    assert fifo.is_fifo()
    device = tmp_path / "device"
    device.symlink_to("/dev/null")
    assert beers("export", "-o", str(device)).status == 0
    assert device.is_char_device()
    assert sorted(tmp_path.iterdir()) == [device, fifo]


@pytest.mark.usefixtures("service")
def test_an_export_follows_a_link_and_keeps_who_may_read_the_file(beers: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    kept, link, dangling = tmp_path / "elsewhere" / "kept.csv", tmp_path / "link.csv", tmp_path / "dangling.csv"
    kept.write_text("yesterday's")
    kept.chmod(0o600)
    link.symlink_to(kept)
    dangling.symlink_to("elsewhere/new.csv")
    for name in (link, dangling):
        assert beers("export", "-o", str(name)).status == 0
        assert name.is_symlink()
        assert name.read_text().startswith("name,")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


def test_two_exports_to_one_file_do_not_meet_before_it(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with _destination(str(out)) as first, _destination(str(out)) as second:
        first(b"one\n")
        second(b"two\n")
        first(b"one\n")
    assert out.read_text() == "one\none\n"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("name", ["file/out.csv", "no/out.csv", "folder", "loop", "n" * 300])
def test_a_file_that_cannot_be_written_is_named_with_the_reason(beers: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    result = beers("export", "-o", str(tmp_path / name))
    assert result.status == 1
    assert result.err.startswith(f"Error: Cannot write {tmp_path / name}: ")
    assert len(result.err.splitlines()) == 1


def test_a_full_device_is_named_as_what_cannot_be_written(service: FakeService, beers: Run) -> None:
    service.beers[1] = beers_pb2.Beer(id=1, name="Jever")
    result = beers("export", "-o", "/dev/full")
    assert (result.status, result.err.strip()) == (1, "Error: Cannot write /dev/full: No space left on device.")
