"""How many tokens texts and messages take: a counter for one text, and the sums over messages.

What a message looks like to a provider is in ``render``.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ialstore.context.render import rendered_message
from ialstore.errors import ConfigurationError, IalStoreError

if TYPE_CHECKING:
    from ialstore.model import Message

__all__ = [
    "MESSAGE_TOKENS",
    "EstimateCounter",
    "TokenCounter",
    "TokenCounting",
    "estimate_tokens",
]

TokenCounter = Callable[[str], int]
"""Returns the number of tokens of a text, 0 or more."""

MESSAGE_TOKENS: Final = 4
"""What a message takes besides its texts: its role and the marks around it."""

_LONG: Final = 4096
"""Characters from which on a digest is so much cheaper than a count that this is remembered."""
_MOST_KNOWN: Final = 1024

# The pieces into which byte-pair tokenizers cut a text before they look for tokens, nearly as
# o200k_base does: a word takes one space or punctuation mark before it along. Lengths are bounded
# so that what is remembered of a piece stays small.
_PIECES: Final = re.compile(
    r"[^\r\n\w]?(?:[A-Z]?[a-z]{1,24}+|[A-Z]{1,24}+)(?![^\W\d_a-zA-Z])"
    r"(?:'(?:[sdmt]|ll|ve|re)(?![a-z]))?"
    r"|[^\r\n\w]?[^\W\d_]{1,24}"
    r"|[0-9]{1,3}"
    r"| ?(?:[^\s\w]|_){1,16}[\r\n]{0,16}"
    r"|\s{0,48}[\r\n]{1,16}"
    r"|[^\S\r\n]{1,64}"
    r"|.",
    re.DOTALL,
).findall
_ACCENTED: Final = re.compile("[\u00df-\u024f\u1e00-\u1eff]").findall
_LETTERS_PER_ACCENT: Final = 200
"""A text with more accented letters than one in so many is in another language than English."""

# Tokens a character, by the first code point of a script (or of several alike).
_SCRIPTS: Final = (
    (0x0000, 0.25),  # ASCII beside other letters
    (0x0080, 0.3),  # Latin with accents
    (0x0250, 0.45),  # Greek
    (0x0400, 0.3),  # Cyrillic
    (0x0530, 0.45),  # Armenian, Hebrew
    (0x0600, 0.33),  # Arabic
    (0x0900, 0.4),  # scripts of India, Thai
    (0x1100, 0.9),  # Hangul parts
    (0x1200, 1.0),
    (0x1E00, 0.3),  # Latin with more accents
    (0x2000, 1.0),  # signs
    (0x3040, 0.8),  # kana
    (0x3100, 1.0),  # Han
    (0xAC00, 0.85),  # Hangul
    (0xD7B0, 1.0),
    (0x1F000, 1.6),  # emoji
    (0x20000, 1.2),  # rare Han
)
_STARTS: Final = tuple(start for start, _ in _SCRIPTS)


def estimate_tokens(text: str) -> int:
    """Return about as many tokens as GPT-4o's tokenizer cuts a text into, rather more than fewer.

    Needs no tokenizer and no download. It is closest for English, code and JSON; for other
    scripts it stands between today's tokenizers and older ones, which need more. Where a budget
    must hold exactly, give the engine the counter of the model.
    """
    foreign = not text.isascii() and len(_ACCENTED(text)) * _LETTERS_PER_ACCENT > len(text)
    return math.ceil(sum([_piece_tokens(piece, foreign) for piece in _PIECES(text)]))


@lru_cache(maxsize=16_384)
def _piece_tokens(piece: str, foreign: bool) -> float:  # noqa: FBT001 - called for every word
    if not piece.isascii():
        total = sum(_SCRIPTS[bisect_right(_STARTS, ord(c)) - 1][1] for c in piece if c != " ")
        return max(1.0, total + 0.4) if foreign else max(total, 0.5)
    if piece[-1].isalpha():
        return _word_tokens(piece, foreign=foreign)
    if piece[-1].isdigit() or piece.isspace() or piece.count(piece[0]) == len(piece):
        return 1.0
    return 1.0 + 0.15 * max(0, len(piece) - 2)


def _word_tokens(piece: str, *, foreign: bool) -> float:
    """Return the tokens of an ASCII word with the mark before it: longer words have more parts."""
    word, contraction, _ = piece.partition("'") if piece[0] != "'" else (piece, "", "")
    tokens = 1.25 if contraction else 1.0
    if not word[0].isalpha():
        tokens += 0.0 if word[0] == " " else 0.55
        word = word[1:]
    if len(word) > 1 and word.isupper():
        return tokens + 0.2 * max(0, len(word) - 3)
    return tokens + 0.2 * max(0, len(word) - (5 if foreign else 8))


class EstimateCounter:
    """``estimate_tokens``, as a configuration names it."""

    def __call__(self, text: str) -> int:
        """Return the estimate."""
        return estimate_tokens(text)


class TokenCounting:
    """Counts what a context would send, with the counter of its engine; long texts once."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._known: dict[bytes, int] = {}

    def text(self, text: str) -> int:
        """Return the tokens of a text.

        Raises:
            ConfigurationError: the counter raised, or returned no number of tokens.
            IalStoreError: what the counter raised, if it is one.
        """
        if len(text) < _LONG:
            return self._counted(text)
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        tokens = self._known.get(digest)
        if tokens is None:
            tokens = self._counted(text)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[digest] = tokens
        return tokens

    def _counted(self, text: str) -> int:
        try:
            tokens = self._counter(text)
        except IalStoreError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"the token counter raised {type(error).__name__}; it must take any text, "
                "that of special tokens too"
            ) from error
        if type(tokens) is not int or tokens < 0:
            raise ConfigurationError(
                f"the token counter must return an int, 0 or more, not {type(tokens).__name__}"
            )
        return tokens

    def rendered(self, rendered: Mapping[str, Any]) -> int:
        """Return the tokens of a message as a provider gets it: all but its role is counted."""
        total = MESSAGE_TOKENS
        for key, value in rendered.items():
            if key == "role":
                continue
            if key != "content":
                total += self.text(key)
            total += self.text(value if isinstance(value, str) else _json(value))
        return total

    def message(self, message: Message) -> int:
        """Return the tokens of a message: as rendered, or as its maker counted them if more.

        The maker knows what an image in the payload takes; but who imports a message with a
        false number must not break the budget.
        """
        counted = self.rendered(rendered_message(message))
        if message.tokens is None:
            return counted
        named = 0 if message.name is None else self.text("name") + self.text(message.name)
        return max(counted, MESSAGE_TOKENS + message.tokens + named)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
