"""Token counts: the estimate, and what a wrong counter leads to."""

from __future__ import annotations

from typing import Any

import pytest

from ialstore import ConfigurationError
from ialstore.context import estimate_tokens, tokens

# Counted with o200k_base.
KNOWN = {
    "Hey Mel! Good to see you! How have you been?": 13,
    "I went to a LGBTQ support group yesterday and it was so powerful.": 14,
    "What's the plan for Saturday, and don't we need another 1,250 tickets?": 17,
    "def add(self, units: Units) -> None:\n    self._units += units\n": 18,
    '{"name":"get_weather","arguments":{"city":"Berlin","days":3}}': 16,
    "Können wir uns am Donnerstag um halb acht vor dem Kino treffen?": 15,
    "请帮我总结一下上个月会议的主要内容。": 12,
    "Добрый день! Мои друзья вчера купили большой дом.": 13,
}


@pytest.mark.parametrize(("text", "tokens"), KNOWN.items())
def test_the_estimate_is_near_a_real_tokenizer_and_seldom_below_it(text: str, tokens: int) -> None:
    assert 0.9 * tokens <= estimate_tokens(text) <= 1.5 * tokens


def test_an_empty_text_has_no_tokens() -> None:
    assert estimate_tokens("") == 0


@pytest.mark.parametrize(
    "text",
    [
        "a",
        " ",
        "\n",
        "7",
        "!",
        "é",
        "ß",
        "中",
        "😀",
        "'",
        "'s",
        "\u0301",
        "x'",
        "_",
        "\x00",
        "\U000e0041",
    ],
)
def test_every_text_has_a_token(text: str) -> None:
    assert estimate_tokens(text) >= 1


@pytest.mark.parametrize("text", ["a", "A", " ", "\n", "'", "é", "中", "ab1 ", "a'"])
def test_a_long_text_takes_about_as_many_tokens_as_its_parts(text: str) -> None:
    whole = estimate_tokens(text * 10_000)

    assert whole <= 10_000 * len(text) * estimate_tokens(text)
    assert whole >= 10_000 * len(text) / 64


def test_words_in_capitals_take_more_tokens() -> None:
    assert estimate_tokens("CONFIGURATION") > estimate_tokens("Configuration")


def test_a_counter_that_raises_is_named(new_rig: Any) -> None:
    def counter(text: str) -> int:
        raise ValueError("disallowed special token in " + text)

    rig = new_rig(token_counter=counter)
    rig.say("secret words")

    with pytest.raises(ConfigurationError, match="token counter raised ValueError") as caught:
        rig.build()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("result", [-1, 1.5, None, True])
def test_a_counter_must_return_a_number_of_tokens(new_rig: Any, result: Any) -> None:
    rig = new_rig(token_counter=lambda _: result)
    rig.say("words")

    with pytest.raises(ConfigurationError, match="must return an int"):
        rig.build()


def test_a_long_text_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts hold the same tool results again and again."""
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    monkeypatch.setattr(tokens, "_MOST_KNOWN", 3)
    counting = tokens.TokenCounting(count)
    long = ["\ud800" * tokens._LONG, *(str(one) * tokens._LONG for one in range(3))]  # noqa: SLF001
    for text in ["short", *long[:3]] * 2:
        assert counting.text(text) == len(text)
    assert counted == ["short", *long[:3], "short"]
    assert counting.text(long[3]) == tokens._LONG  # noqa: SLF001 - and no more than some are known
    assert counting.text(long[0]) == tokens._LONG  # noqa: SLF001 - as above
    assert counted[5:] == [long[3], long[0]]
