"""Named values that stores get wrong: texts, JSON values and ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

__all__ = ["IDS", "TEXTS", "VALUES", "named"]

TEXTS = {
    "empty": "",
    "space": " ",
    "1 MiB": "x" * 1024 * 1024,
    "1 MiB of astral characters": "😀" * (256 * 1024),
    "NUL": "\0",
    "NUL inside": "a\0b\0",
    "every control character": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "ZWJ": "👩\u200d👩\u200d👧",
    "right to left": "\u202eabc\u202c שלום",
    "BOM": "\ufeffabc\ufeff",
    "CRLF": "a\r\nb\rc\n",
    "non-NFC": "e\u0301 \u00e9 \u212b A\u030a",
    "astral": "\U0010ffff\U00010000𝄞",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0c",
    "noncharacters": "\ufffe\uffff\ufffd",
    "looks like JSON": '{"a": null}',
    "looks like a number": "0012.50",
    "quotes": "'\"`\\'); DROP TABLE messages; --",
    "wildcards": "%_*?[a-z]",
    "percent-escapes": "%00%25%23+",
    "trailing space": "a \t\n",
}

VALUES: dict[str, Any] = {
    "1 and 1.0": [1, 1.0, True],
    "0, 0.0, -0.0 and False": [0, 0.0, -0.0, False],
    "extreme floats": [1e308, -1e308, 5e-324, 0.1, 1e22, 1e-7],
    "floats of 17 digits": [0.1 + 0.2, 1 / 3, 1.7976931348623157e308, 2.2250738585072014e-308],
    "integers past 64 bits": [2**53 + 1, 2**63, -(2**64), 10**99, 1 - 10**100],
    "key order": {"b": 1, "a": {"d": 2, "c": 3}, "": 4},
    "odd keys": {'."$[]': 1, "#": 2, "a\0b": 3, "é": 4, "e\u0301": 5, "__proto__": 6, "😀": 7},
    "keys that differ by case": {"a": 1, "A": 2, "ß": 3, "ss": 4, "é": 5, "É": 6},
    "None in objects and lists": {"a": None, "b": [None, {"c": None}]},
    "empty containers": {"list": [], "object": {}, "text": "", "none": None},
    "texts": [text for name, text in TEXTS.items() if "MiB" not in name],
}

IDS = {
    "a letter": "u",
    "prefix": "u1",
    "longer": "u10",
    "longest": "u100",
    "other case": "U1",
    "hash sign": "a#b",
    "hash sign behind": "u1#",
    "hash sign before": "#u1",
    "escaped hash sign": "a%23b",
    "percent": "%",
    "escaped percent": "%25",
    "quote": "'",
    "double quote": '"',
    "injection": "'; DROP TABLE messages; --",
    "wildcard": "u_",
    "other wildcard": "*",
    "newline": "u1\n",
    "set": "[a-z]1",
    "question mark": "u?",
    "full stop": "u.",
    "backslash": "u1\\",
    "plus": "u+1",
    "zero-width space": "u\u200b1",
    "zero-width joiner": "u\u200d1",
    "soft hyphen": "u\u00ad1",
    "BOM": "\ufeffu1",
    "wide letter": "\uff551",
    "sharp s": "stra\u00dfe",
    "two s": "strasse",
    "space": " ",
    "space behind": "u1 ",
    "path": "../../etc/passwd",
    "colon": "a:b",
    "braces": "{u1}",
    "at": "u#@",
    "equals": "u#=",
    "emoji": "😀",
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "line separator": "\u2028",
    "384 bytes": "x" * 384,
    "384 bytes with another end": "x" * 383 + "y",
    "64 bytes": "x" * 64,
    "384 bytes when escaped": "#" * 128,
    "384 bytes of UTF-8": "😀" * 96,
    "highest character": "\U0010ffff",
    "a date": "2024-02-29",
    "a role": "user",
    "a number": "1",
    "a number with a zero": "01",
    "a number with a point": "1.0",
}


def named(cases: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Return a mark that runs a test once for each case, as ``value``, under its name."""
    return pytest.mark.parametrize("value", [pytest.param(v, id=k) for k, v in cases.items()])
