"""``VectorIndexSuite``: the contract of vector indexes, as tests of any index."""

from ialstore.testing.vector.expiry import ExpiryChapter, IsolationChapter
from ialstore.testing.vector.filters import FiltersChapter
from ialstore.testing.vector.life import LifeChapter
from ialstore.testing.vector.loading import LoadingChapter
from ialstore.testing.vector.machine import MachineChapter
from ialstore.testing.vector.reading import ReadingChapter
from ialstore.testing.vector.recall import RecallChapter
from ialstore.testing.vector.removing import RemovingChapter
from ialstore.testing.vector.search import SearchChapter
from ialstore.testing.vector.spec import SpecChapter
from ialstore.testing.vector.threads import ThreadsChapter
from ialstore.testing.vector.writing import WritingChapter

__all__ = ["VectorIndexSuite"]


class VectorIndexSuite(  # pytest begins with the last
    MachineChapter,
    ThreadsChapter,
    LifeChapter,
    RecallChapter,
    IsolationChapter,
    ExpiryChapter,
    LoadingChapter,
    RemovingChapter,
    FiltersChapter,
    SearchChapter,
    ReadingChapter,
    WritingChapter,
    SpecChapter,
):
    """Inherit from it and define the fixture ``make_index``; see ``VectorSuiteBase``.

    An index that is read-only also defines ``make_writer``, one without strong reads ``settle``.
    """
