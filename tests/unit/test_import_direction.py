"""Imports point one way: from the command line down to the model, never up."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Bottom to top. A module may import its own layer and every layer below it.
LAYERS = (
    (
        "capabilities",
        "cost",
        "decoding",
        "errors",
        "estimate",
        "events",
        "ids",
        "limits",
        "listing",
        "model",
        "operation",
        "prices",
        "recall",
        "url",
        "vector_model",
    ),
    ("component", "exporters", "loading"),
    ("conversation", "vector"),
    ("registry", "caching", "callables", "config", "embedding", "formats", "wrappers"),
    ("context",),
    ("aio",),
    ("migrate", "compare", "costing", "testing"),
    ("cli", "__main__"),
)
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names}
FACE = LAYER["aio"]  # `ialstore` itself offers everything up to here
BACKENDS_REACH = LAYER["wrappers"]
BACKENDS = "ialstore_backends"

HEAVY = {
    "boto3",
    "botocore",
    "faiss",
    "ialstore_backends",
    "matplotlib",
    "opensearchpy",
    "pydantic",
    "pynamodb",
    "redis",
    "rich",
    "sentence_transformers",
    "sqlite3",
    "tenacity",
    "tiktoken",
    "torch",
    "typer",
}


def layer_of(module: str) -> int | None:
    """Return the layer of a module of ialstore; None for one the table doesn't know."""
    parts = module.split(".")
    if len(parts) == 1:
        return FACE
    return LAYER.get(parts[1], 0 if parts[1].startswith("_") else None)


def modules(source_root: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Yield every module of a package: its dotted name and its file."""
    for path in sorted((source_root / package).rglob("*.py")):
        parts = path.relative_to(source_root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(module: str, path: Path, known: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield what a module imports, anywhere in it: a dotted module name and the line."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield (submodule if submodule in known else base), node.lineno


def faults(root: Path) -> list[str]:
    """Return one sentence for every import under ``root`` that points up."""
    framework = list(modules(root, "ialstore"))
    backends = list(modules(root / "backends", BACKENDS))
    known = frozenset(name for name, _ in framework)
    found = [
        f"{name} is in no layer: add it to LAYERS"
        for name in sorted({".".join(name.split(".")[:2]) for name in known})
        if layer_of(name) is None
    ]
    for module, path in (*framework, *backends):
        is_backend = module.split(".")[0] == BACKENDS
        reach = BACKENDS_REACH if is_backend else layer_of(module)
        for target, line in imports(module, path, known):
            top = target.split(".")[0]
            where = f"{path.relative_to(root)}:{line}: {module} imports {target}"
            if top == "backends":
                found.append(f"{where}, which is {target.removeprefix('backends.')} a second time")
            elif top == BACKENDS and not is_backend:
                found.append(f"{where}: the framework knows no backend")
            elif top == "ialstore" and not (is_backend and target == "ialstore"):
                layer = layer_of(target)
                if layer is None:
                    found.append(f"{where}, which is in no layer")
                elif reach is not None and layer > reach:
                    found.append(f"{where}, which is above it")
    return found


def test_no_import_points_up() -> None:
    found = faults(ROOT)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        pytest.param(
            "ialstore/model.py",
            "import ialstore.cli",
            "imports ialstore.cli, which is above",
            id="up",
        ),
        pytest.param(
            "ialstore/model.py",
            "def late():\n    from ialstore.vector import x",
            "model.py:2: ialstore.model imports ialstore.vector, which is above it",
            id="inside a function",
        ),
        pytest.param(
            "ialstore/wrappers/base.py",
            "from ..context import engine",
            "imports ialstore.context, which is above it",
            id="relative",
        ),
        pytest.param(
            "ialstore/config.py",
            "from ialstore import cli",
            "imports ialstore.cli, which is above it",
            id="a module as a name",
        ),
        pytest.param(
            "ialstore/errors.py",
            "from ialstore import Message",
            "imports ialstore, which is above it",
            id="the package itself",
        ),
        pytest.param(
            "ialstore/__init__.py",
            "from .testing import x",
            "imports ialstore.testing, which is above it",
            id="the face",
        ),
        pytest.param(
            "ialstore/config.py",
            "import ialstore_backends.memory",
            "the framework knows no backend",
            id="a backend",
        ),
        pytest.param(
            "ialstore/config.py",
            "from backends.ialstore_backends import memory",
            "which is ialstore_backends a second time",
            id="the twin",
        ),
        pytest.param(
            "backends/ialstore_backends/memory.py",
            "from ialstore.testing import models",
            "imports ialstore.testing, which is above it",
            id="a backend reaching up",
        ),
        pytest.param(
            "ialstore/stranger.py",
            "",
            "ialstore.stranger is in no layer: add it to LAYERS",
            id="an unknown module",
        ),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, file: str, source: str, fault: str) -> None:
    for name in (
        "ialstore/__init__.py",
        "ialstore/cli/__init__.py",
        "backends/ialstore_backends/__init__.py",
        file,
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / file).write_text(source, encoding="utf-8")

    found = faults(tmp_path)

    assert len(found) == 1, found
    assert fault in found[0]


def test_what_points_down_is_no_fault(tmp_path: Path) -> None:
    sources = {
        "ialstore/__init__.py": "from ialstore.context import x\nfrom . import model",
        "ialstore/model.py": "import json\nfrom ialstore import errors\nfrom . import _text",
        "ialstore/errors.py": "from ialstore.model import x",
        "ialstore/_text.py": "",
        "ialstore/context/__init__.py": "from ialstore.wrappers.base import x",
        "ialstore/cli/__init__.py": "from ialstore import x\nfrom . import demo",
        "ialstore/cli/demo.py": "from ..testing import x",
        "backends/ialstore_backends/__init__.py": "",
        "backends/ialstore_backends/memory.py": (
            "from ialstore import Message\nfrom ialstore.registry import x\n"
            "from ialstore_backends import y"
        ),
    }
    for name, source in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")

    assert faults(tmp_path) == []


def test_importing_ialstore_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, ialstore; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    # Coverage imports sqlite3 itself, wherever it measures.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = HEAVY.intersection(result.stdout.split())
    assert not loaded, f"`import ialstore` imports {sorted(loaded)}"
