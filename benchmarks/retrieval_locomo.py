"""How much of a question's evidence a search finds: LoCoMo, on the whole path.

Reads the conversations, appends them to a store, indexes their turns, then searches each question
among the turns of its own conversation, and looks up in the store what was found. The figure is
evidence recall@k: the mean share of a question's evidence turns among the first k. No language
model takes part.

`--vectors minilm` uses ready-made all-MiniLM-L6-v2 vectors: an exact index gives 0.454 with them
over 1,155 questions at k = 10, so it checks the whole path. `--vectors hashing` uses the built-in
embedder.

The data (LoCoMo, CC BY-NC 4.0, Maharana et al. 2024) is not part of the project: IALSTORE_DATA or
--data names the folder with locomo6.json and locomo6_minilm.npz.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from _report import Report, arguments
from numpy.typing import NDArray

from ialstore import IndexSpec, Message, VectorRecord, open_index, open_store
from ialstore.embedding import HashingEmbedder, embedded_text
from ialstore.formats import read_locomo
from ialstore.limits import MAX_APPEND, MAX_TEXT_BYTES, MAX_UPSERT

CONVERSATIONS = "locomo6.json"
VECTORS = "locomo6_minilm.npz"
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Question:
    """A question that can be scored.

    Attributes:
        user_id: its conversation.
        text: the question.
        category: name of its kind.
        evidence: ids of the turns that answer it.
    """

    user_id: str
    text: str
    category: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What a run found."""

    turns: int
    questions: int
    not_scorable: int
    evidence_recall: float
    by_category: dict[str, float]
    search_p50_ms: float
    search_p95_ms: float


class Vectors(Protocol):
    """Where the vectors come from."""

    spec: IndexSpec

    def of_turns(self, messages: Sequence[Message]) -> Vector:
        """Return the vectors of turns, shape (len(messages), dimension)."""
        ...

    def of_question(self, question: Question) -> Vector:
        """Return the vector of a question, shape (dimension,)."""
        ...


class HashingVectors:
    """Vectors of the built-in embedder."""

    def __init__(self, dimension: int) -> None:
        self._embedder = HashingEmbedder(dimension=dimension)
        self.spec = IndexSpec(dimension, model=self._embedder.model)

    def of_turns(self, messages: Sequence[Message]) -> Vector:
        """Embed what the context engine would."""
        return self._embedder.embed([embedded_text(one) for one in messages])

    def of_question(self, question: Question) -> Vector:
        """Embed the question."""
        return self._embedder.embed_query(question.text)


class ReadyVectors:
    """Vectors made before; turn ids repeat, so the key is conversation and id."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self._turns = _by_key(stored, "turn_conversation", "turn_id", "turn_vectors")
            self._questions = _by_key(
                stored, "question_conversation", "question", "question_vectors"
            )
        dimension = len(next(iter(self._turns.values())))
        self.spec = IndexSpec(dimension, model="all-MiniLM-L6-v2")

    def of_turns(self, messages: Sequence[Message]) -> Vector:
        """Look them up by conversation and turn id."""
        return np.stack([self._turns[one.user_id, one.source_id or ""] for one in messages])

    def of_question(self, question: Question) -> Vector:
        """Look it up by conversation and text."""
        return self._questions[question.user_id, question.text]


def _by_key(
    stored: Mapping[str, NDArray[Any]], conversation: str, name: str, vectors: str
) -> dict[tuple[str, str], Vector]:
    rows = stored[vectors].astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    keys = zip(stored[conversation].tolist(), stored[name].tolist(), strict=True)
    return dict(zip(keys, rows, strict=True))


def read_questions(data: Any, turns: Mapping[str, set[str]]) -> tuple[list[Question], int]:
    """Return the questions with evidence among the turns, and the number of the others.

    Evidence is a list of texts, each with one or several ids between `;`, `,` or spaces.

    Args:
        data: the parsed file.
        turns: ids of the turns of each conversation.
    """
    questions: list[Question] = []
    others = 0
    for conversation in data:
        user_id: str = conversation["sample_id"]
        for one in conversation["qa"]:
            named = re.split(r"[;,\s]+", " ".join(one["evidence"]))
            evidence = turns[user_id].intersection(named)
            if evidence:
                category = CATEGORIES[one["category"]]
                questions.append(Question(user_id, one["question"], category, frozenset(evidence)))
            else:
                others += 1
    return questions, others


def batches(messages: list[Message], size: int) -> Iterator[list[Message]]:
    """Yield the messages, so many at a time."""
    for start in range(0, len(messages), size):
        yield messages[start : start + size]


def records(messages: Sequence[Message], vectors: Vectors) -> Iterator[VectorRecord]:
    """Yield the record of each message."""
    for message, vector in zip(messages, vectors.of_turns(messages), strict=True):
        text = message.content.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
        yield VectorRecord(message.id, vector, message.session_id, message.role, text)


def run(data: Path, vectors: Vectors, *, store_url: str, index_url: str | None, k: int) -> Found:
    """Store, index and search everything.

    Args:
        data: folder with the conversations.
        vectors: where the vectors come from.
        store_url: of the conversation store.
        index_url: of the vector index; by default the same.
        k: hits of a search.
    """
    parsed = json.loads((data / CONVERSATIONS).read_text(encoding="utf-8"))
    messages = list(read_locomo(parsed))
    turns: dict[str, set[str]] = defaultdict(set)
    for message in messages:
        turns[message.user_id].add(message.source_id or "")
    questions, others = read_questions(parsed, turns)
    shares: dict[str, list[float]] = defaultdict(list)
    search_ms: list[float] = []
    with open_store(store_url) as store, open_index(index_url or store_url, vectors.spec) as index:
        for user_id, own in groupby(messages, key=lambda one: one.user_id):
            turns_of_user = list(own)
            for batch in batches(turns_of_user, MAX_APPEND):
                store.append(*batch)
            for batch in batches(turns_of_user, MAX_UPSERT):
                index.upsert(user_id, list(records(batch, vectors)))
        for question in questions:
            vector = vectors.of_question(question)
            start = time.perf_counter()
            hits = index.search(question.user_id, vector, k)
            search_ms.append((time.perf_counter() - start) * 1000)
            found = store.get(question.user_id, [hit.id for hit in hits])
            evidence = question.evidence.intersection(one.source_id or "" for one in found)
            shares[question.category].append(len(evidence) / len(question.evidence))
    return Found(
        turns=len(messages),
        questions=len(questions),
        not_scorable=others,
        evidence_recall=round(float(np.mean([s for one in shares.values() for s in one])), 3),
        by_category={
            name: round(float(np.mean(shares[name])), 3)
            for name in CATEGORIES.values()
            if name in shares
        },
        search_p50_ms=round(float(np.percentile(search_ms, 50)), 2),
        search_p95_ms=round(float(np.percentile(search_ms, 95)), 2),
    )


def folder_of_data(given: str | None, needed: Sequence[str]) -> Path | str:
    """Return the folder that holds the data, or what is wrong with it."""
    named = given or os.environ.get("IALSTORE_DATA")
    if not named:
        return "set IALSTORE_DATA, or --data, to the folder with the LoCoMo data"
    missing = [name for name in needed if not (Path(named) / name).is_file()]
    return f"{named} does not hold {' and '.join(missing)}" if missing else Path(named)


def main() -> int:
    """Measure and report; return 2 where the data is missing."""
    parser = arguments(__doc__)
    parser.add_argument("--vectors", choices=("hashing", "minilm"), default="hashing")
    parser.add_argument("--dimension", type=int, default=384, help="of the hashing embedder (384)")
    parser.add_argument("--data", metavar="PATH", help="folder with the data (IALSTORE_DATA)")
    parser.add_argument("--store", metavar="URL", help="a store (SQLite in a temporary file)")
    parser.add_argument("--index", metavar="URL", help="a vector index (the store's URL)")
    parser.add_argument("-k", type=int, default=10, help="hits of a search (10)")
    given = parser.parse_args()
    ready = given.vectors == "minilm"
    data = folder_of_data(given.data, [CONVERSATIONS, VECTORS] if ready else [CONVERSATIONS])
    if isinstance(data, str):
        print(f"retrieval_locomo: {data}", file=sys.stderr)
        return 2
    vectors = ReadyVectors(data / VECTORS) if ready else HashingVectors(given.dimension)
    report = Report("retrieval_locomo", __doc__, ["numpy"])
    report.environment["vectors"] = vectors.spec.model
    with tempfile.TemporaryDirectory() as folder:
        store_url = given.store or f"sqlite:///{folder}/locomo.db"
        found = run(data, vectors, store_url=store_url, index_url=given.index, k=given.k)
    table = report.table("evidence", "Evidence found", "questions", f"recall@{given.k}")
    for name, value in found.by_category.items():
        table.add(name, value)
    report.figures |= {
        f"evidence recall@{given.k}": found.evidence_recall,
        "turns": found.turns,
        "questions": found.questions,
        "questions without evidence": found.not_scorable,
        "search p50, ms": found.search_p50_ms,
        "search p95, ms": found.search_p95_ms,
    }
    report.finish(given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
