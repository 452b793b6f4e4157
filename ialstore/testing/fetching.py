"""How servers come from the registries of their languages into a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["copy_from_maven", "run"]

_FETCH_SECONDS: Final = 1800.0

_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ialstore</groupId><artifactId>services</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_DEPENDENCY: Final = """<dependency>
    <groupId>{0}</groupId><artifactId>{1}</artifactId><version>{2}</version><type>{3}</type>
  </dependency>"""


def run(command: Sequence[str], folder: Path) -> None:
    """Run a program in a folder.

    Raises:
        subprocess.SubprocessError: it failed, or took too long.
    """
    subprocess.run(  # noqa: S603 - a program of our own choice
        command, cwd=folder, check=True, stdin=subprocess.DEVNULL, timeout=_FETCH_SECONDS
    )


def copy_from_maven(folder: Path, *artifacts: str) -> None:
    """Copy artifacts and all that they need into a folder.

    Args:
        folder: where they go, beside a ``pom.xml``.
        artifacts: ``group:artifact:version:type`` each.
    """
    dependencies = "".join(_DEPENDENCY.format(*one.split(":")) for one in artifacts)
    (folder / "pom.xml").write_text(_POM.format(dependencies=dependencies), encoding="utf-8")
    run(["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}"], folder)
