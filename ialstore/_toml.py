"""Reading TOML files, with errors in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ialstore.errors import ConfigurationError

__all__ = ["read_toml"]


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a file.

    Raises:
        ConfigurationError: it can't be read, or is not TOML.
    """
    import tomllib  # slow to import; only a file needs it

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deep") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8") from error
    except ValueError as error:  # TOMLDecodeError is one; so is what a path with NUL raises
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
