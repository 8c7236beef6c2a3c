"""The file of remote checkers: what it may name, and that an error gives the place and no secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deepcompress_service.remote import Endpoint, EndpointError, read_endpoints


def written(folder: Path, text: str) -> Path:
    file = folder / "remote.toml"
    file.write_text(text)
    return file


def test_no_file_is_no_endpoint() -> None:
    assert read_endpoints(None) == {}


def test_endpoints_and_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    text = """
    [sandbox]
    url = "http://sandbox:9000/check?mode=strict"
    timeout_seconds = 3
    send_response = true
    token_file = "token"
    headers = { X-Team = "a" }
    [judge]
    kind = "judge"
    url = "https://judge/v1"
    model = "some-model"
    """
    found = read_endpoints(written(tmp_path, text), ("math",))
    sandbox, judge = found["sandbox"], found["judge"]
    assert (sandbox.kind, sandbox.timeout_seconds, sandbox.token) == ("json", 3, "s3cret")
    assert (sandbox.max_answer_chars, judge.max_answer_chars) == (65_536, 4000)
    assert "s3cret" not in repr(sandbox)
    assert "s3cret" not in sandbox.model_dump_json()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[math]\nurl = "http://a/"', "there is a checker of this name"),
        ('["a b"]\nurl = "http://a/"', "a name has"),
        ("[a]", "url: Field required"),
        ('[a]\nurl = "ftp://a/"', "is not an address"),
        ('[a]\nurl = "file:///etc/passwd"', "is not an address"),
        ('[a]\nurl = "http://"', "is not an address"),
        ('[a]\nurl = "http://a:99999/"', "is not an address"),
        ('[a]\nurl = "http://user:hunter2@a/"', "has a user or a password"),
        ('[a]\nurl = "http://a/#b"', "has a fragment"),
        ('[a]\nurl = "http://a/ b"', "is not an address"),
        ('[a]\nurl = "http://a/"\nspeed = 1', "speed: Extra inputs"),
        ('[a]\nurl = "http://a/"\nattempts = 0', "attempts:"),
        ('[a]\nurl = "http://a/"\ntoken = "hunter2"', "use token_file"),
        ('[a]\nurl = "http://a/"\ntoken_file = "none"', "token_file: No such file"),
        ('[a]\nurl = "http://a/"\ntoken_file = "empty"', "has no token"),
        ('[a]\nurl = "http://a/"\nheaders = { Host = "b" }', "is set by the service"),
        ('[a]\nurl = "http://a/"\nheaders = { X = "a\\r\\nY: b" }', "not a header"),
        ('[a]\nurl = "http://a/"\nmodel = "m"', 'for kind = "judge"'),
        ('[a]\nkind = "judge"\nurl = "http://a/"', "a judge needs its model"),
        ('[a]\nkind = "judge"\nurl = "http://a/"\nmodel = "m"\nsend_response = true', "answer only"),
        ('[a]\nkind = "judge"\nurl = "http://a/"\nmodel = "m"\nbody = { n = 2 }', "set by the service"),
        (
            '[a]\nkind = "judge"\nurl = "http://a/"\nmodel = "m"\nbody = { a = 99999999999999999999 }',
            "is not JSON",
        ),
        ("a = 1", "is not a table"),
        ("[a", "remote.toml"),
        ("a = " + "[" * 3000 + "]" * 3000, "recursion"),
        ("#" * (1 << 20) + '\n[a]\nurl = "http://a/"', "over 1048576 bytes"),
        ('[a]\nurl = "http://a/"\ntoken_file = "long"', "not a short text"),
        ('[a]\nurl = "http://a/"\ntoken_file = "\\u0000"', "token_file: "),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_not_valid_is_an_error_at_start(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "long").write_text("x" * (1 << 20) + "y")
    with pytest.raises(EndpointError) as error:
        read_endpoints(written(tmp_path, table), ("math",))
    assert message in str(error.value)
    assert "remote.toml" in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"none\.toml"):
        read_endpoints(tmp_path / "none.toml")


def test_the_page_has_every_field_with_its_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs" / "remote-checkers.md").read_text()
    fields = {name: field for name, field in Endpoint.model_fields.items() if not field.exclude}
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", page, re.MULTILINE))
    assert {name: " ".join((field.description or "").split()) for name, field in fields.items()} == {
        name: rows[name] for name in fields
    }


def test_the_example_of_the_page_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "remote-checkers.md").read_text()
    example = page.partition("    [sandbox]")[2].partition("\n\nThen")[0]
    (tmp_path / "judge").write_text("token")
    text = "[sandbox]" + example.replace("/run/secrets/judge", "judge")
    assert list(read_endpoints(written(tmp_path, text))) == ["sandbox", "judge"]
