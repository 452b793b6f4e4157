"""Tables, costs and the page of a report."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest

from ialstore.cli.output import Output
from ialstore.compare import drawing, plots
from ialstore.compare.costs import DAYS_PER_MONTH, break_even
from ialstore.compare.figures import Latency
from ialstore.compare.model import Index
from ialstore.compare.page import page
from ialstore.compare.report import Report
from ialstore.errors import ConfigurationError, MissingDriverError
from tests.compare.handmade import (
    FAISS,
    MEMORY,
    PACKED,
    PRICES,
    WORKLOAD,
    WRITES,
    calls,
    report,
    search,
    size,
    table,
)

pytest.importorskip("matplotlib", reason="the extra report is not installed")

GOLDEN = {
    "Searches": """\
index   enough  vectors   effort  recall@10         95 %  read units  reque\
sts  round trips  p50 ms  p95 ms  p99 ms  CPU ms
packed  *         1,000  default      0.970  0.950-0.990           9       \
  3            3       4      12      12       2
packed  *        10,000  default      0.960  0.940-0.980          30       \
  3            3       4      12      12       2
packed           40,000  default      0.930  0.910-0.950          90       \
  3            3       4      12      12       2
memory  *         1,000  default      1.000  0.980-1.000           0       \
  0            0       1       3       3     0.5
memory  *        10,000  default      1.000  0.980-1.000           0       \
  0            0       1       3       3     0.5""",
    "Writes and room": """\
index   vectors  upsert units  requests  p50 ms  p95 ms  p99 ms  delete uni\
ts  load s  load units      held   process       stored
packed    1,000             2         1       5      15      15            \
 2     1.5           0       0 B  2.86 MiB   <= 977 KiB
packed   10,000             2         1       5      15      15            \
 2     1.5           0       0 B  28.6 MiB  <= 9.54 MiB
packed   40,000             2         1       5      15      15            \
 2     1.5           0       0 B   114 MiB  <= 38.1 MiB
memory    1,000             0         0       2       6       6            \
 0     1.5           0  1.91 MiB  2.86 MiB      977 KiB
memory   10,000             0         0       2       6       6            \
 0     1.5           0  19.1 MiB  28.6 MiB     9.54 MiB""",
    "Cost, EUR": """\
index   vectors  million searches  million upserts  requests a month  stora\
ge a month  machines a month  machines  month  cores busy
packed    1,000              1.12             1.25              2.21       \
      0.23              0.00  -          2.44     0.00162
packed   10,000              3.75             1.25              3.80       \
      2.33              0.00  -          6.13     0.00162
packed   40,000             11.25             1.25              8.36       \
      9.31              0.00  -         17.68     0.00162
memory    1,000                 -                -              0.00       \
      0.07             14.60  1 small   14.67    0.000579
memory   10,000                 -                -              0.00       \
      0.75             29.20  2 small   29.95    0.000579""",
}


def test_the_terminal_shows_these_tables(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(PACKED, MEMORY)
    assert [one.title for one in found.tables] == list(GOLDEN)
    for one in found.tables:
        Output().table(one.columns, one.rows)
        shown = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
        assert shown == GOLDEN[one.title]


def test_a_recall_that_was_not_measured_is_a_dash() -> None:
    (searches, *_) = report(PACKED, ks=(10, 50)).tables
    assert searches.rows[0][4:6] == ["0.970", "-"]


def test_what_was_not_measured_whole_is_left_out() -> None:
    half = replace(PACKED, sizes=(*PACKED.sizes[:1], replace(PACKED.sizes[1], upserts=None)))
    deep = replace(FAISS, sizes=(size(1000, search(0.9, k=50)),))
    assert [one.size.vectors for one in report(half, deep, sizes=(1000, 10_000)).found] == [1000]
    other = replace(search(0.9), recalls=search(0.9, k=5).recalls)
    assert report(table("gsi", size(10, other))).found == ()


def test_the_delay_counts_for_each_round_trip() -> None:
    taken = replace(calls(10.0), round_trips=(0, 1, 2, 3) * 25)
    assert Latency.of(taken, 0.0).p50_ms == 10
    assert Latency.of(taken, 100.0).p50_ms == 10 + 1.5 * 100


def test_a_percentile_that_so_few_calls_do_not_tell_is_left_blank() -> None:
    few, more = (
        replace(calls(10.0), seconds=(0.01,) * count, round_trips=(0,) * count)
        for count in (19, 99)
    )
    assert (Latency.of(few, 0.0).p95_ms, Latency.of(few, 0.0).p99_ms) == (None, None)
    assert (Latency.of(more, 0.0).p95_ms, Latency.of(more, 0.0).p99_ms) == (10, None)
    one = replace(PACKED, sizes=(size(10, replace(search(0.99, trips=1), calls=few)),))
    result = report(one)
    assert "" in result.tables[0].rows[0][-5:]
    assert "p95" not in " ".join(result.verdict)
    assert plots.plots(result)


def cost_of(index: Index, **asked: Any) -> Any:
    (found,) = report(index, **asked).costs
    return found


def test_units_are_paid_by_the_request_and_for_what_is_stored() -> None:
    found = cost_of(replace(PACKED, sizes=PACKED.sizes[:1]))
    month = 1000 * DAYS_PER_MONTH * (20 * 9 * 0.125 + 40 * 2 * 0.625) / 1e6
    assert found.requests_month == pytest.approx(month)
    assert found.storage_month == pytest.approx(1000 * 1_000_000 / 2**30 * 0.25)
    assert found.month == pytest.approx(found.requests_month + found.storage_month)
    assert (found.billing, found.machines) == ("requests", "")


def test_bytes_of_a_vector_index_are_paid_by_the_gigabyte() -> None:
    one = size(
        10,
        search(0.99, trips=1, vector_search_bytes=2.0**20),
        upserts=calls(trips=1, vector_write_bytes=2.0**10),
    )
    tables = {told.title: told for told in report(table("ddb", one), PACKED).tables}
    for title, column, cells in (
        ("Searches", "#searched", ["1 MiB", "0 B"]),
        ("Writes and room", "#written", ["1 KiB", "0 B"]),
    ):
        place = tables[title].columns.index(column)
        assert [row[place] for row in tables[title].rows[:2]] == cells
    found = cost_of(table("ddb", one))
    assert found.million_searches == pytest.approx(0.002 * 1e6 / 2**10)
    assert found.million_upserts == pytest.approx(0.5 * 1e6 / 2**20)


def test_machines_are_the_cheapest_that_hold_the_active_users() -> None:
    def machines(held: int, active: float = 0.1) -> tuple[str, float]:
        one = size(1000, search(1.0), held_bytes=held)
        workload = replace(WORKLOAD, active=active)
        found = cost_of(table("faiss", one), workload=workload)
        return found.machines, round(found.machines_month, 6)

    assert machines(0) == ("1 small", 14.6)
    assert machines(2**20) == ("1 small", 14.6)
    assert machines(30 * 2**20) == ("2 small", 29.2)
    assert machines(110 * 2**20) == ("1 large", 73.0)
    assert machines(11 * 2**20, active=1.0) == ("1 large", 73.0)


def test_opensearch_is_paid_as_nodes_that_hold_its_graph() -> None:
    one = size(1000, search(0.99, trips=1), upserts=calls(trips=1))
    found = cost_of(table("opensearch", one))
    assert found.billing == "machines"
    # 1.1 * (4 * 384 + 8 * 16) * 1,000 * 1,000 bytes, in a quarter of the memory of each
    assert found.machines == "2 node"
    assert found.storage_month == pytest.approx(1000 * 1_000_000 / 2**30 * 0.1)


def test_other_services_have_no_known_price() -> None:
    found = cost_of(table("far", size(10, search(0.99, trips=1))))
    assert (found.billing, found.month) == ("unknown", None)
    *_, costs = report(table("far", size(10, search(0.99, trips=1)))).tables
    assert costs.rows[0][2:9] == ["-"] * 6 + ["unknown"]


def test_a_table_without_machines_is_refused() -> None:
    figures = {name: one for name, one in PRICES.figures.items() if "hosts" not in name}
    with pytest.raises(ConfigurationError, match=r"there is no price hosts\.any"):
        report(FAISS, prices=replace(PRICES, figures=figures))


def test_curves_cross_on_logarithmic_scales() -> None:
    assert break_even([(1, 1), (100, 100)], [(1, 10), (100, 10)]) == pytest.approx(10)
    assert break_even([(1, 1), (100, 100)], [(1, 0.5), (100, 10)]) is None
    assert break_even([], []) is None


# -- the page -------------------------------------------------------------------------------------


class _Text(HTMLParser):
    """The texts of a page, without its style and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.titles: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "svg"):
            self._hidden.append(tag)
        if tag == "svg":
            self.titles.append(dict(attrs).get("aria-label") or "")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag == self._hidden[-1]:
            self._hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)


def read(text: str) -> _Text:
    parser = _Text()
    parser.feed(text)
    return parser


ALL: dict[str, Report] = {
    "all kinds": report(PACKED, FAISS, MEMORY, delay_ms=5.0),
    "one size": report(
        replace(PACKED, sizes=PACKED.sizes[:1]), workload=replace(WORKLOAD, searches_per_day=0)
    ),
    "embedded": report(MEMORY),
    "nothing": report(PACKED, sizes=(7,)),
    "no price": report(*(table(f"far{n}", size(10, search(0.5, trips=1))) for n in range(8))),
}


@cache
def page_of(name: str) -> str:
    return page(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_the_page_needs_nothing_from_elsewhere(name: str) -> None:
    text = page_of(name)
    links = set(re.findall(r"""(?:https?:|//)[^"'\s<>]+""", text))
    # Names of formats, which nobody fetches.
    assert links <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for part in ("<script", "<link", "<img", "@import", "url(http", "<iframe"):
        assert part not in text
    assert not re.findall(r'(?:href|src)="(?!#)', text)


@pytest.mark.parametrize("name", ALL)
def test_every_figure_of_the_page_is_in_the_json(name: str) -> None:
    one = ALL[name]
    known = set(re.findall(r"[\d,.]*\d", json.dumps(one.document())))
    shown = {
        number for text in read(page_of(name)).texts for number in re.findall(r"[\d,.]*\d", text)
    }
    assert shown <= known
    assert shown or name == "nothing"


def test_the_same_report_is_the_same_page() -> None:
    assert page(ALL["one size"]) == page_of("one size")


@cache
def drawn(name: str) -> list[plots.Plot]:
    return plots.plots(ALL[name])


def test_each_picture_has_a_title_and_a_caption() -> None:
    found = drawn("all kinds")
    assert read(page_of("all kinds")).titles == [one.title for one in found]
    assert [one.title for one in found] == [
        "Recall against units",
        "Recall against latency",
        "Cost against size",
        "Cost against searches",
        "Units against size",
        "Latency against size",
    ]
    captions = {one.title: one.caption for one in found}
    assert captions["Cost against size"].endswith("There is no break-even point.")
    assert captions["Cost against searches"].endswith("There is no break-even point.")
    assert captions["Latency against size"].endswith(", 5 ms a round trip included.")


def test_a_cross_lies_on_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that are dear break even with requests only at many searches."""
    cheap = table(
        "cheap", size(1000, search(0.97, trips=1, read_units=0.1), upserts=WRITES, held_bytes=0)
    )
    ends: list[tuple[float, float]] = []

    def kept(picture: drawing.Drawing, **_: Any) -> str:
        cross = picture.axes.lines[-1]
        lines = [one.get_xdata() for one in picture.axes.lines if len(one.get_xdata()) > 2]
        ends.extend((min(one), max(one)) for one in lines if len(cross.get_xdata()))
        return "<svg />"

    monkeypatch.setattr(drawing.Drawing, "svg", kept)
    one = replace(FAISS, sizes=FAISS.sizes[:1])
    result = report(cheap, one)
    (point,) = result.crossings
    assert point.at > 1000
    pictures = {found.title: found for found in plots.plots(result)}
    assert "cheap and faiss at" in pictures["Cost against searches"].caption
    assert [low for low, _ in ends] == [0.1, 0.1]
    assert [high for _, high in ends] == pytest.approx([point.at, point.at])


def test_a_cross_of_other_vectors_than_those_drawn_is_left_out() -> None:
    result = report(PACKED, FAISS)
    assert [one.vectors for one in result.crossings] == [10_000]
    captions = {one.title: one.caption for one in plots.plots(result)}
    assert captions["Cost against searches"].endswith("There is no break-even point.")


def test_labels_of_an_axis_differ() -> None:
    places = [12.4, 12.425, 12.45, 12.475]
    assert [drawing.tick(one, places) for one in places] == ["12.4", "12.425", "12.45", "12.475"]
    assert drawing.tick(1000.0, [10.0, 1000.0]) == "1,000"
    assert [drawing.tick(one, [1000.2, 1000.4]) for one in (1000.2, 1000.4)] == [
        "1,000.2",
        "1,000.4",
    ]


def test_recall_ends_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tops: dict[str, float] = {}

    def kept(picture: drawing.Drawing, **_: Any) -> str:
        tops[picture.axes.get_ylabel()] = picture.axes.get_ylim()[1]
        return "<svg />"

    monkeypatch.setattr(drawing.Drawing, "svg", kept)
    plots.plots(ALL["all kinds"])
    assert tops["recall@10"] == 1


def test_what_has_no_figures_has_no_picture() -> None:
    assert drawn("nothing") == []
    titles = [one.title for one in drawn("embedded")]
    assert titles == ["Recall against latency", "Latency against size"]
    assert drawn("all kinds")[0].caption.endswith("faiss reads no units.")


def test_names_are_written_as_text() -> None:
    nasty = replace(FAISS, name="<script>alert(1)</script>")
    assert "<script" not in page(report(nasty))


def test_without_matplotlib_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    with pytest.raises(MissingDriverError, match=r"pip install 'ialstore\[report\]'"):
        page(ALL["embedded"])
