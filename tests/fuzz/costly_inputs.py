"""Strategies for inputs that are costly to process: small units, repeated until the input is large."""

from typing import Any, Final

from hypothesis import strategies as st

_UNITS_OF_JSON: Final = (
    *(b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b" ", b"\n", b"a", b"0", b"1", b"."),
    *(b"[],", b"{},", b"[[]],", b'"",', b'"a",', b'"a":', b'"k%d":', b'"\\n', b'\\"', b"\\\\", b"\\u00e9"),
    *(b"\\ud83d\\ude00", b"\\u0000", "é".encode(), "😀".encode(), b"\xff", b"true,", b"null,", b"1,"),
    *(b"1e308,", b"1e-320,", b"1E+300,", b"9" * 25 + b",", b"0." + b"0" * 30 + b"1,", b"9" * 400 + b","),
    *(b"1." + b"3" * 120 + b",", b'{"a":1},', b'{"k%d":[]},', b"1.0,", b"-0.5,"),
)
_UNITS_OF_TEXT: Final = (
    *("a", "&", "=", ";", ",", "%", "%41", "%00", "+", " ", "\t", '"', "\\", "\\1", '\\"', "/", "a=b;", "a&"),
    *("bytes=", "1-2,", "k%d=1&", "eyJ", ".", "-", "cookie:", "bearer ", "token=", "{", "é", "://a:", "hr_"),
)
_UNITS_OF_QUERIES: Final = (
    *("{", "}", "(", ")", "[", "]", "a", " ", "\n", ",", "#", '"', '"""', "\\", "\\u0041", "$v%d:Int ", "9"),
    *("me{id} ", "jobs(limit:1){total} ", "...f ", "...on Query{", "@skip(if:true) ", "a%d:me{id} ", "@a "),
    *(
        "fragment f%d on User{id} ",
        "jobs(limit:1000){items{id tags{name}}} ",
        "username%d ",
        "1 ",
        "__schema{",
    ),
)


def repeated(units: tuple[Any, ...], max_length: int) -> st.SearchStrategy[Any]:
    """Return texts of up to *max_length*: a sequence of units, repeated; `%d` in it counts."""
    one = st.lists(st.sampled_from(units), min_size=1, max_size=4)
    return st.builds(_repeat, one, st.sampled_from([max_length // 64, max_length // 8, max_length]))


def _repeat(units: list[Any], length: int) -> Any:
    unit = units[0][:0].join(units)
    count = max(length // len(unit), 1)
    marker = b"%d" if isinstance(unit, bytes) else "%d"
    if marker not in unit:
        return unit * count
    places = unit.count(marker)
    escaped = unit.replace(marker, b"\x00" if isinstance(unit, bytes) else "\x00")
    number = (lambda n: b"%d" % n) if isinstance(unit, bytes) else str
    pieces = escaped.split(b"\x00" if isinstance(unit, bytes) else "\x00")
    return units[0][:0].join(
        piece if place == places else piece + number(index)
        for index in range(count)
        for place, piece in enumerate(pieces)
    )


_SHELLS: Final = (
    (b"", b""),
    (b"[", b"1]"),
    (b'{"pipeline":"ticks","params":{"a":[', b"1]}}"),
    (b'{"pipeline":"noop","meta":{"a":[', b"1]}}"),
    (b'{"pipeline":"ticks","params":{', b'"z":1}}'),
    (b'{"pipeline":"', b'"}'),
    (b'{"pipeline":"ticks","params":{"count":"', b'"}}'),
    (b'{"jobs":[', b'{"pipeline":"noop"}]}'),
    (b'{"jobs":[{"pipeline":"noop","meta":{"a":[', b"1]}}]}"),
    (b'{"query":"{me{id}}","variables":{"a":[', b"1]}}"),
    (b'{"query":"', b'"}'),
    (b'{"title":"t","pipeline":"ticks","params":{"a":[', b"1]}}"),
    (b'{"refresh_token":"', b'"}'),
    (b'{"meta":{', b'"z":1}}'),
)


def json_bodies(max_length: int) -> st.SearchStrategy[bytes]:
    """Return bodies, most of which are JSON of the shape that some route takes."""
    return st.builds(
        lambda shell, middle: shell[0] + middle + shell[1],
        st.sampled_from(_SHELLS),
        repeated(_UNITS_OF_JSON, max_length),
    )


def texts(max_length: int) -> st.SearchStrategy[str]:
    """Return values of headers, queries, cookies and names."""
    return repeated(_UNITS_OF_TEXT, max_length)


_FIELDS_OF_JOBS: Final = (
    *("id", "state", "params", "meta", "result", "waitingFor", "progress", "createdAt", "owner{username}"),
    *("tags{name}", "pipeline{name}", "pipeline{paramsSchema}", "steps(limit:%d){name state}"),
    *("steps(limit:%d){output error{code}}", "files(limit:%d){name size}", "files(limit:%d){meta}"),
)


def accepted_queries() -> st.SearchStrategy[str]:
    """Return GraphQL queries that are executed, unless they ask for too many fields."""
    limits = st.sampled_from([1, 20, 100])
    fields = st.lists(st.sampled_from(_FIELDS_OF_JOBS), min_size=1, max_size=8, unique=True)
    return st.builds(_query_of_jobs, st.integers(1, 30), fields, limits, limits)


def _query_of_jobs(lists: int, fields: list[str], limit: int, inner_limit: int) -> str:
    below = " ".join(fields).replace("%d", str(inner_limit))
    jobs = (f"j{number}:jobs(limit:{limit} offset:{number}){{{below}}}" for number in range(lists))
    return f"{{{' '.join(jobs)}}}"


def queries(max_length: int) -> st.SearchStrategy[str]:
    """Return GraphQL documents, few of which are valid."""
    shells = st.sampled_from(
        [("", ""), ("{", "}"), ("{me{", "}}"), ('{job(id:"', '"){id}}'), ("{jobs(", "){total}}")]
    )
    return st.builds(
        lambda shell, middle: shell[0] + middle + shell[1], shells, repeated(_UNITS_OF_QUERIES, max_length)
    )
