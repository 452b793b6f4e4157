"""``tiktoken``: counting tokens as OpenAI's models do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ialstore.errors import InvalidInputError, UnavailableError
from ialstore.url import closest
from ialstore_backends._late import Late, require

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["TiktokenCounter"]

_PIECE: Final = 100_000
"""Characters counted at once: a million spaces in one text make tiktoken panic."""


class TiktokenCounter:
    """Counts the tokens of a text with tiktoken; safe from many threads.

    Names of special tokens in a text are counted as the text they are. Of a text longer than
    100,000 characters each such piece is counted by itself, which may add a few tokens for each.

    tiktoken downloads the ranks of an encoding when it first needs them, into a cache: the folder
    that the environment variable ``TIKTOKEN_CACHE_DIR`` names.
    """

    def __init__(self, encoding: str | Encoding = "o200k_base") -> None:
        """Make a counter; loads nothing.

        Args:
            encoding: its name, such as ``o200k_base`` (GPT-4o and later) or ``cl100k_base``; or an
                encoding of your own.

        Raises:
            InvalidInputError: there is no such encoding.
            MissingDriverError: tiktoken is not installed.
        """
        require("tiktoken", extra="tiktoken", needed_by="the token counter tiktoken")
        import tiktoken

        if isinstance(encoding, str):
            names = tiktoken.list_encoding_names()
            if encoding not in names:
                raise InvalidInputError(
                    f"there is no encoding {encoding}{closest(encoding, names)}"
                )
        elif not isinstance(encoding, tiktoken.Encoding):
            raise InvalidInputError(
                f"encoding must be a name or an Encoding, not {type(encoding).__name__}"
            )
        self._given = encoding
        self._encoding = Late(self._load, inherited=True)

    def __call__(self, text: str) -> int:
        """Return the number of tokens.

        Raises:
            UnavailableError: the ranks of the encoding are not there and can't be downloaded.
        """
        count = self._encoding.get().encode_ordinary
        if len(text) <= _PIECE:
            return len(count(text))
        return sum(len(count(text[i : i + _PIECE])) for i in range(0, len(text), _PIECE))

    def __repr__(self) -> str:
        name = self._given if isinstance(self._given, str) else self._given.name
        return f"TiktokenCounter({name!r})"

    def _load(self) -> Encoding:
        import tiktoken

        given = self._given
        if not isinstance(given, str):
            return given
        try:
            return tiktoken.get_encoding(given)
        except (OSError, ValueError) as error:  # no network, or other bytes than expected
            raise UnavailableError(
                f"tiktoken could not get the ranks of {given} ({type(error).__name__}); where "
                "there is no network, set TIKTOKEN_CACHE_DIR to a folder that was filled where "
                "there is one, by: python -c 'import tiktoken; "
                f'tiktoken.get_encoding("{given}")\'',
                operation="count",
                retryable=True,
            ) from error
