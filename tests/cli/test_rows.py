"""Files of beers: what is read from them, and what is refused with its line."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beers_cli.failure import Failure
from beers_cli.rows import Refused, Row, Source, guess_format


def read(content: str | bytes, file_format: str = "csv", *, keep_zero: bool = False) -> list[Row | Refused]:
    raw = content if isinstance(content, bytes) else content.encode()
    return list(Source(io.BytesIO(raw), file_format, keep_zero=keep_zero).rows())


def rows(content: str | bytes, file_format: str = "csv", *, keep_zero: bool = False) -> list[Row]:
    found = read(content, file_format, keep_zero=keep_zero)
    assert all(isinstance(row, Row) for row in found), found
    return [row for row in found if isinstance(row, Row)]


def refusals(content: str | bytes, file_format: str = "csv") -> list[tuple[int, str, str]]:
    return [(row.lines[0], row.field, row.reason) for row in read(content, file_format) if isinstance(row, Refused)]


def test_columns_are_found_by_name_whatever_their_order_case_and_the_byte_order_mark() -> None:
    source = Source(io.BytesIO(b"\xef\xbb\xbfABV, Name ,Untappd\r\n5.6,Punk IPA,x\r\n"), "csv")
    (row,) = source.rows()
    assert isinstance(row, Row)
    expected = {"name": "Punk IPA", "brewery": "", "style": "", "abv": 5.6, "ibu": None, "description": ""}
    assert dict(row.details) == expected
    assert source.ignored == ["untappd"]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beers_cli.rows._LONGEST_LINE", 1000)
    with pytest.raises(Failure, match="Line 2 of the file is longer"):
        read("name\n" + "x" * 5000)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_of_the_header(delimiter: str) -> None:
    (row,) = rows(f"name{delimiter}ibu\nJever{delimiter}44\n")
    assert row.details["ibu"] == 44


def test_a_row_is_named_by_the_line_on_which_it_starts() -> None:
    content = 'name,abv,description\nA,5,"one\ntwo\n\nthree"\n\nB,strong,\nC,4,x\n'
    found = read(content)
    assert [row.lines[0] for row in found] == [2, 7, 8]
    assert isinstance(found[0], Row)
    assert found[0].details["description"] == "one\ntwo\n\nthree"
    assert refusals(content) == [(7, "abv", "must be a number such as 4.5, not 'strong'")]


@pytest.mark.parametrize("value", ["", " ", "0", "0.0", "0 %"])
def test_nothing_and_zero_mean_unknown(value: str) -> None:
    assert rows(f"name,abv\nA,{value}\n")[0].details["abv"] is None


def test_a_zero_is_kept_on_request() -> None:
    assert rows("name,abv,ibu\nA,0,\n", keep_zero=True)[0].details["abv"] == 0
    assert rows('{"name": "A", "ibu": 0}\n', "jsonl", keep_zero=True)[0].details["ibu"] == 0
    assert rows('{"name": "A", "ibu": 0}\n', "jsonl")[0].details["ibu"] is None


def test_alcohol_may_carry_its_percent_sign() -> None:
    assert rows("name,abv\nA,4.5%\n")[0].details["abv"] == 4.5
    assert refusals("name,ibu\nA,45%\n")[0][:2] == (2, "ibu")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", '"4,5"'])
def test_what_is_no_number_is_refused(value: str) -> None:
    assert refusals(f"name,abv\nA,{value}\n")[0][:2] == (2, "abv")


def test_a_row_with_too_few_or_too_many_columns_is_refused_and_the_next_is_read() -> None:
    content = "name,abv\nA\nB,5,x\nC,5\n"
    assert refusals(content) == [
        (2, "", "it has 1 columns, the header has 2"),
        (3, "", "it has 3 columns, the header has 2"),
    ]
    assert len(read(content)) == 3


def test_a_quote_that_is_never_closed_is_refused_where_it_opens() -> None:
    assert refusals('name,description\nA,x\nB,"never\nclosed\nC,x\n') == [
        (3, "", "the quote that opens here is never closed")
    ]


def test_a_stray_quote_is_refused_with_all_lines_that_it_swallowed() -> None:
    swallowed = "".join(f"beer {number},x\n" for number in range(4, 31))
    content = f'name,description\nA,x\n"B,x\n{swallowed}C,"x\nD,x\n'
    unclosed = f'name,description\n"A,x\n{swallowed}'
    (found, after) = read(content)[1:]
    assert isinstance(found, Refused)
    assert found.place == "lines 3 to 31"
    assert after.lines == (32, 32)
    assert [row.place for row in read(unclosed) if isinstance(row, Refused)] == ["lines 2 to 29"]


def test_what_is_not_utf8_is_refused_and_the_rest_read() -> None:
    content = b"name,brewery\nKolsch,Fr\xfch\nJever,Friesisches\n"
    assert refusals(content) == [(2, "brewery", "must be UTF-8")]
    assert len(read(content)) == 2


@pytest.mark.parametrize("content", ["", "\n", "title,abv\nA,5\n", "name,name\nA,B\n", "n\xefme\n"])
def test_a_file_without_a_name_column_is_refused_as_a_whole(content: str) -> None:
    with pytest.raises(Failure, match="column called name"):
        read(content)


def test_utf16_is_refused_with_what_to_do() -> None:
    with pytest.raises(Failure, match="UTF-16") as failure:
        read("name\nA\n".encode("utf-16"))
    assert "iconv" in failure.value.hint


def test_json_lines_are_read_and_each_bad_one_refused() -> None:
    content = (
        '{"name": "A", "abv": 5.6, "brewery": null, "origin": "x"}\n\n'
        "{nonsense\n[1]\n"
        '{"name": 7}\n{"name": "B", "abv": true}\n{"name": "C", "abv": NaN}\n{"name": "D", "ibu": "44"}\n'
    )
    found = read(content, "jsonl")
    good = [row for row in found if isinstance(row, Row)]
    assert [(row.lines[0], row.details["name"]) for row in good] == [(1, "A"), (8, "D")]
    assert good[0].details["brewery"] == ""
    assert good[1].details["ibu"] == 44
    assert [(line, field) for line, field, _ in refusals(content, "jsonl")] == [
        (3, ""), (4, ""), (5, "name"), (6, "abv"), (7, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "start", "expected"),
    [
        ("beers.csv", b"{", "csv"),
        ("beers.CSV", b"", "csv"),
        ("beers.ndjson", b"name", "jsonl"),
        ("-", b'\xef\xbb\xbf {"name"', "jsonl"),
        ("-", b"name,abv", "csv"),
        ("beers", b"", "csv"),
    ],
)
def test_the_format_is_guessed_from_the_name_else_from_the_content(name: str, start: bytes, expected: str) -> None:
    assert guess_format(name, start) == expected


def test_request_ids_stand_for_the_content_and_not_for_the_place() -> None:
    first = [row.request_id for row in rows("name,abv\nA,5\nB,\nA,5\n")]
    assert len(set(first)) == 3
    assert all(len(request_id) <= 128 and request_id.isascii() for request_id in first)
    # Another order of columns and rows, another way to write the same, and a row more.
    again = [row.request_id for row in rows("ibu,abv,name\n,,B\n0,5.0,A\n,5%, A \n,6,C\n")]
    assert set(first) < set(again)
    assert len(set(again)) == 4
    assert [row.request_id for row in rows('{"name": "A", "abv": 5}', "jsonl")] == [first[0]]


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=20))
def test_reading_never_fails_on_any_row(values: list[tuple[str, str, str]]) -> None:
    lines = "".join(",".join(row) + "\n" for row in values)
    for found in read(b"name,abv,description\n" + lines.encode("utf-8", "surrogatepass")):
        assert found.lines[0] >= 2
