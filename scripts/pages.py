"""Reports: a markdown page with separate pictures, and the same as one HTML file."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from paradp.policy.files import write_whole
from paradp.scripts.report import made_by, markdown_table

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-size:13px}
td,th{border-bottom:1px solid #ddd;padding:.25rem .7rem;text-align:right;white-space:nowrap}
th{border-bottom:2px solid #888;vertical-align:bottom}
td:first-child,th:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
img{max-width:100%}figure{margin:1rem 0}figcaption,footer,.remark{color:#555;font-size:13px}"""


@dataclass(frozen=True)
class Picture:
    """A PNG, its description, and its file's suffix to the page's name: `-strips/0.png` for page.md is page-strips/0.png."""

    suffix: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class PageTable:
    """A table: its title, its cells, and an explanation of its columns, whose names are unique."""

    title: str
    header: list[str]
    rows: list[list[str]]
    remark: str


@dataclass(frozen=True)
class ReportPage:
    """A report: first the main results, then the details.

    Attributes:
        title: title of the page.
        verdict: one sentence; may be empty.
        pictures: shown first.
        main: the main table, which follows.
        remarks: remarks on all results.
        details: further tables.
        episodes: pictures of single episodes.
    """

    title: str
    verdict: str
    pictures: list[Picture]
    main: PageTable
    remarks: str
    details: list[PageTable]
    episodes: list[Picture]

    def write(self, page: Path) -> Path:
        """Writes PAGE (markdown) with its pictures beside it, and all of it as HTML; returns the HTML's path."""
        for picture in (*self.pictures, *self.episodes):
            path = _beside(page, picture)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, picture.png)
        write_whole(page, self._markdown(page).encode())
        write_whole(page.with_suffix(".html"), self._html().encode())
        return page.with_suffix(".html")

    def _markdown(self, page: Path) -> str:
        def table(shown: PageTable) -> list[str]:
            return [markdown_table(shown.header, shown.rows), shown.remark]

        def picture(shown: Picture) -> str:
            return f"![{shown.caption}]({_beside(page, shown).relative_to(page.parent)})"

        parts = [f"# {self.title}", *([f"**{self.verdict}**"] if self.verdict else []), *map(picture, self.pictures)]
        parts += [*table(self.main), self.remarks]
        for detail in self.details:
            parts += [f"## {detail.title}", *table(detail)]
        if self.episodes:
            parts += ["## Episodes", *map(picture, self.episodes)]
        return "\n\n".join([*parts, f"---\n{made_by()}"]) + "\n"

    def _html(self) -> str:
        verdict = [f"<p>{_element('b', self.verdict)}</p>"] if self.verdict else []
        parts = [_element("h1", self.title), *verdict, *map(_figure, self.pictures)]
        parts += [*_html_table(self.main), _element("p", self.remarks)]
        for detail in self.details:
            parts += [_element("h2", detail.title), *_html_table(detail)]
        if self.episodes:
            parts += [_element("h2", "Episodes"), *map(_figure, self.episodes)]
        head = f'<meta charset="utf-8">{_element("title", self.title)}<style>{STYLE}</style>'
        body = "\n".join([*parts, _element("footer", made_by())])
        return f"<!doctype html>\n<html><head>{head}</head>\n<body>{body}</body></html>\n"


def _beside(page: Path, picture: Picture) -> Path:
    return page.parent / f"{page.stem}{picture.suffix}"


def _element(tag: str, text: str) -> str:
    return f"<{tag}>{html.escape(text)}</{tag}>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    image = f'<img alt="{html.escape(picture.caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}{_element('figcaption', picture.caption)}</figure>"


def _html_table(table: PageTable) -> list[str]:
    lines = [_row("th", table.header), *(_row("td", row) for row in table.rows)]
    return [f"<table>{''.join(lines)}</table>", f'<p class="remark">{html.escape(table.remark)}</p>']


def _row(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join(_element(tag, cell) for cell in cells)}</tr>"
