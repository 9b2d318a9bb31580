"""A report: a page of markdown with its pictures beside it, and the same in one file of HTML."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from paradp.policy.files import write_whole
from paradp.scripts.report import made_by, markdown_table

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-size:13px;display:block;overflow-x:auto}
td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
img{max-width:100%}figcaption,footer{color:#555;font-size:13px}"""


@dataclass(frozen=True)
class Picture:
    """A PNG, what it shows, and what its file's name adds to the page's: `-strips/0.png` of page.md is page-strips/0.png."""

    suffix: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Table:
    """What a table says, and what its columns mean."""

    header: list[str]
    rows: list[list[str]]
    remark: str


@dataclass(frozen=True)
class Report:
    """What was found. The verdict, one sentence, may be empty."""

    title: str
    verdict: str
    remarks: str
    tables: list[Table]
    pictures: list[Picture]

    def write(self, page: Path) -> Path:
        """Writes PAGE (markdown) with its pictures beside it, and all of it as HTML; returns the HTML's path."""
        for picture in self.pictures:
            path = _beside(page, picture)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, picture.png)
        write_whole(page, self._markdown(page).encode())
        write_whole(page.with_suffix(".html"), self._html().encode())
        return page.with_suffix(".html")

    def _markdown(self, page: Path) -> str:
        parts = [f"# {self.title}", *([f"**{self.verdict}**"] if self.verdict else []), self.remarks]
        for table in self.tables:
            parts += [markdown_table(table.header, table.rows), table.remark]
        shown = [f"![{picture.caption}]({_beside(page, picture).relative_to(page.parent)})" for picture in self.pictures]
        return "\n\n".join([*parts, *shown, f"---\n{made_by()}"]) + "\n"

    def _html(self) -> str:
        verdict = [f"<p>{_element('b', self.verdict)}</p>"] if self.verdict else []
        parts = [_element("h1", self.title), *verdict, _element("p", self.remarks)]
        for table in self.tables:
            lines = [_row("th", table.header), *(_row("td", row) for row in table.rows)]
            parts += [f"<table>{''.join(lines)}</table>", _element("p", table.remark)]
        for picture in self.pictures:
            data = base64.b64encode(picture.png).decode()
            image = f'<img alt="{html.escape(picture.caption)}" src="data:image/png;base64,{data}">'
            parts.append(f"<figure>{image}{_element('figcaption', picture.caption)}</figure>")
        head = f'<meta charset="utf-8">{_element("title", self.title)}<style>{STYLE}</style>'
        body = "\n".join([*parts, _element("footer", made_by())])
        return f"<!doctype html>\n<html><head>{head}</head>\n<body>{body}</body></html>\n"


def _beside(page: Path, picture: Picture) -> Path:
    return page.parent / f"{page.stem}{picture.suffix}"


def _element(tag: str, text: str) -> str:
    return f"<{tag}>{html.escape(text)}</{tag}>"


def _row(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join(_element(tag, cell) for cell in cells)}</tr>"
