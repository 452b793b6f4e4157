"""Store URLs: what they say, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import ConfigurationError, InvalidInputError
from ialstore.url import StoreURL, closest, redact_url, validated

SECRET = "zanzibar"  # noqa: S105 - a password that must never be shown


def parse(text: str, **environ: str) -> StoreURL:
    return StoreURL.parse(text, environ=environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory:", StoreURL("memory")),
        ("MEMORY:", StoreURL("memory")),
        ("dynamodb://Prod-_.1", StoreURL("dynamodb", "Prod-_.1")),
        (
            "dynamodb://p-?region=us-east-1&endpoint=http%3A//localhost:8000",
            StoreURL(
                "dynamodb", "p-", "", {"region": "us-east-1", "endpoint": "http://localhost:8000"}
            ),
        ),
        (
            "lsh+dynamodb://p-?layout=packed",
            StoreURL("lsh+dynamodb", "p-", "", {"layout": "packed"}),
        ),
        ("sqlite:///a.db", StoreURL("sqlite", "", "/a.db")),
        ("sqlite:////abs/a.db", StoreURL("sqlite", "", "//abs/a.db")),
        ("sqlite:///b@c.db?x=d@e", StoreURL("sqlite", "", "/b@c.db", {"x": "d@e"})),
        ("redis://h:6379/0", StoreURL("redis", "h:6379", "/0")),
        ("redis://u:p@h:6379/0", StoreURL("redis", "h:6379", "/0", {}, "u", "p")),
        ("redis://:p@h", StoreURL("redis", "h", "", {}, "", "p")),
        ("redis://u@h", StoreURL("redis", "h", "", {}, "u")),
        ("redis://@h", StoreURL("redis", "h", "", {}, "")),
        ("redis://u:a:b@h", StoreURL("redis", "h", "", {}, "u", "a:b")),
        ("redis://u:a%40b%2Fc%3Fd%23e@h", StoreURL("redis", "h", "", {}, "u", "a@b/c?d#e")),
        ("redis://u:a@b@h", StoreURL("redis", "h", "", {}, "u", "a@b")),
        ("redis://[::1]:6379/0", StoreURL("redis", "[::1]:6379", "/0")),
        ("redis://u:p@[fe80::1]", StoreURL("redis", "[fe80::1]", "", {}, "u", "p")),
        ("opensearch+http://h:9200/index", StoreURL("opensearch+http", "h:9200", "/index")),
        ("x://", StoreURL("x")),
        ("x:?a=", StoreURL("x", "", "", {"a": ""})),
        ("x:?a=b=c", StoreURL("x", "", "", {"a": "b=c"})),
        ("x:?", StoreURL("x")),
        ("x:?%61=1+1%20", StoreURL("x", "", "", {"a": "1+1 "})),
        ("x://%C3%BC/%25", StoreURL("x", "ü", "/%")),
        ("x:name", StoreURL("x", "", "name")),
    ],
)
def test_a_url_is_read(text: str, expected: StoreURL) -> None:
    """U1: `scheme://AUTHORITY/path?key=value`, percent-decoded, `+` is a plus."""
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a URL"),
        ("memory", "is not a URL"),
        (":", "is not a URL"),
        ("1x:", "is not a URL"),
        (" memory:", "is not a URL"),
        ("a b:", "is not a URL"),
        ("ü:", "is not a URL"),
        ("memory:#x", "has a fragment; write %23"),
        ("x:?a=b#c", "has a fragment; write %23"),
        ("x:?a", "an option is written key=value"),
        ("x:?=a", "an option is written key=value"),
        ("x:?a=1&", "an option is written key=value"),
        ("x:?a=1&&b=2", "an option is written key=value"),
        ("x:?a=1&a=1", "the option a is given twice"),
        ("x:?a=1&%61=1", "the option a is given twice"),
        ("x:?a=%", "a % is written %25"),
        ("x:?a=%4", "a % is written %25"),
        ("x:?%zz=1", "a % is written %25"),
        ("x://a%/b", "a % is written %25"),
        ("x:///%ff", "percent-escapes must be UTF-8"),
        ("x:///%ed%a0%80", "percent-escapes must be UTF-8"),
        ("sqlite:/abs/a.db", "write sqlite:///relative/path or sqlite:////absolute/path"),
        ("x:?a=${NOBODY}", "the environment variable NOBODY is not set"),
        ("x:?a=${}", "the environment variable  is not set"),
        ("redis:u:p@h", "in user info write %2F"),
        ("redis://u:p/q@h", "in user info write %2F"),
        ("redis://u:p?q@h", "in user info write %2F"),
        ("redis://u:p@q/r@h", "in user info write %2F"),
        ("redis://h?name=a@b", "elsewhere %40"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, words: str) -> None:
    """U1: repeated keys and fragments are `ConfigurationError`."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert words in str(caught.value)


def test_variables_are_put_in_as_they_are() -> None:
    """U1: `${VAR}` is expanded from the environment; a secret may hold any character."""
    wild = "a%40${B}@/?#&+ü\n"
    url = parse(
        "redis://${USER}:x${PW}@${HOST}:1/${DB}?a=${PW}&b=%24{PW}${NONE}",
        USER="u",
        PW=wild,
        HOST="h",
        DB="0",
        NONE="",
    )

    assert (url.username, url.password) == ("u", "x" + wild)
    assert (url.authority, url.path) == ("h:1", "/0")
    assert url.query == {"a": wild, "b": "${PW}"}


def test_variables_come_from_the_process_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IALSTORE_TEST_NAME", "there")
    assert StoreURL.parse("x://${IALSTORE_TEST_NAME}").authority == "there"


def test_options_may_stand_beside_the_url_but_not_twice() -> None:
    url = parse("redis://u:p@h/0?a=1")
    assert url.with_options({"b": "2"}) == StoreURL(
        "redis", "h", "/0", {"a": "1", "b": "2"}, "u", "p"
    )
    with pytest.raises(ConfigurationError, match="the option a is given in the URL and beside it"):
        url.with_options({"a": "1"})


@dataclass(frozen=True, slots=True)
class Options:
    size: int = 1
    share: float = 0.5
    fast: bool = False
    name: str = ""
    layout: Literal["gsi", "packed"] = "gsi"
    inner: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.size == 13:
            raise InvalidInputError("size must not be 13")


@dataclass(frozen=True, slots=True)
class Needed:
    region: str


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Options()),
        ("size=5&share=0.25&fast=true", Options(5, 0.25, fast=True)),
        ("fast=0&name=12&layout=packed", Options(name="12", layout="packed")),
        ("share=1", Options(share=1.0)),
    ],
)
def test_options_are_read_by_their_types(query: str, expected: Options) -> None:
    assert parse(f"x:?{query}").options(Options) == expected


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("siez=5", "x: option siez is unknown; did you mean size?"),
        ("zzz=5", "x: option zzz is unknown; known: fast, inner, layout, name, share, size"),
        ("Size=5", "x: option Size is unknown; did you mean size?"),
        ("size=five", "x: option size: Input should be a valid integer"),
        ("size=", "x: option size: "),
        ("size=5.5", "x: option size: "),
        ("size=13", "x: option: size must not be 13"),
        ("share=nan", "x: option share: must be a finite number"),
        ("share=inf", "x: option share: must be a finite number"),
        ("share=-1e999", "x: option share: must be a finite number"),
        ("fast=maybe", "x: option fast: "),
        ("layout=flat", "x: option layout: Input should be 'gsi' or 'packed'"),
    ],
)
def test_a_wrong_option_is_named(query: str, words: str) -> None:
    """U1: unknown keys are `ConfigurationError`, and the closest is named."""
    with pytest.raises(ConfigurationError) as caught:
        parse(f"x:?{query}").options(Options)
    assert str(caught.value).startswith(words)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigurationError, match="x: option region: "):
        parse("x:").options(Needed)
    assert parse("x:?region=r").options(Needed) == Needed("r")


def test_where_there_are_no_options_that_is_said() -> None:
    with pytest.raises(ConfigurationError, match="a is unknown; none is known here"):
        parse("x:?a=1").options(Nothing)


def test_values_of_a_config_are_read_the_same_way() -> None:
    assert validated(Options, {"size": 3, "inner": [1, 2]}, "x.") == Options(3, inner=(1, 2))
    with pytest.raises(ConfigurationError, match=r"^x\.inner\.1: Input should be a valid integer"):
        validated(Options, {"inner": [1, "b"]}, "x.")
    with pytest.raises(ConfigurationError, match=r"^x: size must not be 13"):
        validated(Options, {"size": 13}, "x.")


def test_the_closest_name_is_offered() -> None:
    assert closest("rgion", ["region", "endpoint"]) == "; did you mean region?"
    assert closest("zzz", ["b", "a"]) == "; known: a, b"
    assert closest("zzz", []) == "; none is known here"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////abs/a.db", "/abs/a.db"),
        ("sqlite:///../%41 b.db?x=1", "../A b.db"),
    ],
)
def test_a_file_is_relative_or_absolute(text: str, path: str) -> None:
    """U1: `sqlite:///relative.db`, `sqlite:////absolute.db`."""
    assert parse(text).file_path() == path


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:",
        "sqlite:a.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://a.db",
        "sqlite://host/a.db",
        "sqlite://u:p@/a.db",
        "sqlite:///a%00.db",
    ],
)
def test_what_names_no_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^sqlite: "):
        parse(text).file_path()


def test_user_info_is_refused_where_there_is_none() -> None:
    """U1: user info only for redis and opensearch."""
    parse("memory:").require_no_userinfo()
    for text in ("x://u@h", "x://u:p@h", "x://@h"):
        with pytest.raises(ConfigurationError, match="takes no user name or password"):
            parse(text).require_no_userinfo()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("memory:", "memory:"),
        ("sqlite:////abs/a.db", "sqlite:////abs/a.db"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        (f"redis://u:{SECRET}@h:6379/0", "redis://***@h:6379/0"),
        (f"x://h?a=1&b={SECRET}", "x://h?a=***&b=***"),
        ("x:?", "x:?***"),
        (f"x:a?{SECRET}&a=b", "x:a?***&a=***"),
        (f"x:a#{SECRET}", "x:a#***"),
        ("sqlite:///a\nb", "sqlite:///a\N{REPLACEMENT CHARACTER}b"),
        ("just words", "just words"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(text: str, shown: str) -> None:
    """E3: one `redact_url` feeds every message, `repr` and log."""
    assert redact_url(text) == shown


ANYWHERE = [
    f"redis://u:{SECRET}@h/0",
    f"redis://{SECRET}@h/0",
    f"redis://u:a/{SECRET}@h",
    f"redis://u:{SECRET}/b@h",
    f"redis://u:{SECRET}?b@h",
    f"redis://u:a?{SECRET}@h",
    f"redis://u:a?{SECRET}=c@h",
    f"redis://u:a#{SECRET}@h",
    f"redis://u:{SECRET}#b@h",
    f"redis://u:a@{SECRET}@h",
    f"redis://u:a@{SECRET}/b@h",
    f"redis://u:{SECRET}%@h",
    f"redis://u:{SECRET}%ff@h",
    f"redis:u:{SECRET}@h",
    f"u:{SECRET}@h",
    f"{SECRET}@h",
    f"redis://h?{SECRET}",
    f"redis://h?a={SECRET}&a=b",
    f"redis://h?a={SECRET}%",
    f"redis://h?a={SECRET}@h",
    f"redis://h#{SECRET}",
    f"h?a:={SECRET}",
    f"redis://u:{SECRET}@h?a=${{NOBODY}}",
]


@pytest.mark.parametrize("text", ANYWHERE)
def test_no_secret_is_shown_whatever_is_wrong(text: str) -> None:
    """E3: no secret in any message or `repr`."""
    assert SECRET not in redact_url(text)
    try:
        url = parse(text)
        assert SECRET not in f"{url!r} {url}"
        url.options(Options)
    except ConfigurationError:
        assert SECRET not in traceback.format_exc()


@pytest.mark.parametrize("name", ["size", "share", "fast", "layout"])
def test_no_value_of_an_option_is_shown(name: str) -> None:
    """E3: a value may be a secret in the wrong place."""
    with pytest.raises(ConfigurationError) as caught:
        parse(f"x:?{name}={SECRET}").options(Options)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@given(st.text())
def test_any_text_is_shown_on_one_line_and_parsed_or_refused(text: str) -> None:
    assert len(redact_url(text).splitlines()) <= 1
    environ: Mapping[str, str] = {}
    try:
        StoreURL.parse(text, environ=environ)
    except ConfigurationError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - most texts are no URLs


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_no_key_of_an_option_breaks_a_line(name: str, values: Any) -> None:
    try:
        validated(Nothing, {name: "", **values}, "x.")
    except ConfigurationError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - as above
