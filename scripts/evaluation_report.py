"""What an evaluation found: a page of markdown, the same in one file of HTML, and pictures."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

import imageio.v2 as imageio

from paradp.rollouts.comparison import Compared, Comparison, interval
from paradp.rollouts.directory import write_whole
from paradp.rollouts.environments import Scenery
from paradp.rollouts.strips import film_strip
from paradp.scripts.figures import plot_clocks, plot_reward_against_latency
from paradp.scripts.paper_table import HEADER, paper_remark, paper_rows
from paradp.scripts.report import made_by, markdown_table

# A sampler is recommended if, with 95 % confidence, it loses less success than this.
TOLERATED_LOSS = 0.05
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-size:13px;display:block;overflow-x:auto}
td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
img{max-width:100%}figcaption,footer{color:#555;font-size:13px}"""


@dataclass(frozen=True)
class Picture:
    """A file and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Table:
    """What a table says, and what its columns mean."""

    header: list[str]
    rows: list[list[str]]
    remark: str


def write_evaluation(comparison: Comparison, convention: str, page: Path, strips: bool = True) -> Path:
    """Writes PAGE (markdown), the same as HTML, and pictures beside them; returns the HTML's path.

    Args:
        comparison: the cells.
        convention: what the policy's actions mean, to film episodes.
        page: the markdown file.
        strips: whether to film a success and a failure of every cell.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    pictures = _plots(comparison, page) + (_strips(comparison, convention, page) if strips else [])
    tables = [_outcomes(comparison), _latencies(comparison)]
    if rows := paper_rows(comparison):
        tables.append(Table(HEADER, rows, paper_remark(comparison)))
    title, verdict, remarks = f"{comparison.title} a cell", recommend(comparison), _power(comparison)
    write_whole(page, _markdown(title, verdict, remarks, tables, pictures, page).encode())
    as_html = page.with_suffix(".html")
    write_whole(as_html, _html(title, verdict, remarks, tables, pictures).encode())
    return as_html


def recommend(comparison: Comparison) -> str:
    """Which cell to pick, in one sentence: the fastest of those that lose little success for sure."""
    safe = [run for run in comparison.runs if run.loss is None or run.loss.upper95 <= TOLERATED_LOSS]
    pick = min(safe, key=_p50)
    baseline = next(run for run in comparison.runs if run.loss is None)
    if pick is baseline:
        return f"Pick {pick.label}: nothing faster loses less than {TOLERATED_LOSS} success with 95 % confidence."
    assert pick.loss is not None
    faster = _p50(baseline) / _p50(pick)
    return (
        f"Pick {pick.label}: the fastest ({_p50(pick):.1f} ms a plan for one robot, {faster:.1f} times as fast as"
        f" {baseline.label}) of those that, with 95 % confidence, lose less than {TOLERATED_LOSS} success against"
        f" {baseline.label} on the same seeds (lost {pick.loss.loss:+.3f}, one-sided bound {pick.loss.upper95:+.3f})."
    )


def _p50(run: Compared) -> float:
    return run.summary.latency_ms_batch1.replan.p50


def _outcomes(comparison: Comparison) -> Table:
    header = ["cell", "success (95 %)", "lost, paired (95 %)", "lost at most", "would have shown", "reward (95 %)", "steps",
              "longer than baseline", "jerk, m/s³", "waiting"]  # fmt: skip
    rows = []
    for run in comparison.runs:
        s, loss, detectable = run.summary, run.loss, run.detectable
        rows.append(
            [
                run.label,
                interval(s.success),
                f"{loss.loss:+.3f} ({loss.ci95[0]:+.3f} to {loss.ci95[1]:+.3f})" if loss else "baseline",
                f"{loss.upper95:+.3f}" if loss else "",
                f"{detectable:.3f}" if detectable else "",
                interval(s.reward),
                f"{run.episodes['steps'].mean():.0f}",
                interval(run.differences["steps"], 0) if loss else "",
                interval(s.jerk, 0),
                f"{100 * s.steps_held:.0f} %",
            ]
        )
    remark = (
        f"Success with Wilson's interval; lost: success lost against {comparison.baseline} on the same seeds, with its 95 %"
        " interval and its one-sided 95 % bound (Bonett & Price 2012); would have shown: the loss that so many seeds"
        " show with 80 % power at 5 %, given how often the two disagreed; steps: of an episode, and how many more than the"
        " baseline; jerk: of where the hand is sent; waiting: share of control steps without an action to execute."
    )
    return Table(header, rows, remark)


def _latencies(comparison: Comparison) -> Table:
    header = ["cell", "plan p50", "p95", "p99", "max", "jitter", "step p50", "p99", "max", "rounds", "evaluations",
              "s an episode", "denoised by"]  # fmt: skip
    rows = []
    for run in comparison.runs:
        s = run.summary
        plan, step = s.latency_ms_batch1.replan, s.latency_ms_batch1.step
        times = [f"{t:.1f}" for t in (plan.p50, plan.p95, plan.p99, plan.max, plan.jitter, step.p50, step.p99, step.max)]
        cost = [f"{s.solver.rounds_mean:.1f}", f"{s.solver.evaluations_mean:.0f}", f"{s.seconds_per_episode_batch1:.1f}"]
        rows.append([run.label, *times, *cost, s.sampler["settings"].get("chosen", s.sampler["name"])])
    first = comparison.runs[0].summary
    remark = (
        f"Milliseconds, one robot at a time with all cores, engine {first.engine} {first.precision}; jitter: standard"
        " deviation of a plan's latency; rounds and evaluations: means over all plans of all episodes; s an episode:"
        " wall-clock time of one robot's episode, simulation included."
    )
    return Table(header, rows, remark)


def _power(comparison: Comparison) -> str:
    detectable = [run.detectable for run in comparison.runs if run.detectable]
    first = comparison.runs[0].summary
    together = f"Episodes ran in groups of {first.envs}, {first.threads} threads each, on the same seeds in every cell."
    if not detectable:
        return together
    least, most = min(detectable), max(detectable)
    return f"{together} A loss of {least:.3f} to {most:.3f} success would have been found with 80 % power."


def _plots(comparison: Comparison, page: Path) -> list[Picture]:
    pareto = page.with_suffix(".png")
    plot_reward_against_latency(comparison, pareto)
    pictures = [Picture(pareto, "success against latency of a plan")]
    clocks = page.with_name(f"{page.stem}-clocks.png")
    if plot_clocks(comparison, clocks):
        pictures.append(Picture(clocks, "success against the latency that the clock gave every plan"))
    return pictures


def _strips(comparison: Comparison, convention: str, page: Path) -> list[Picture]:
    """A success and a failure of every cell, where it has them."""
    pictures = []
    folder = page.with_name(f"{page.stem}-strips")
    for i, run in enumerate(comparison.runs):
        summary = run.summary
        scenery = Scenery(summary.task, convention, summary.disturbance, summary.max_steps)
        for outcome, name in ((True, "success"), (False, "failure")):
            seeds = run.episodes.loc[run.episodes["success"] == outcome, "seed"]
            if len(seeds):
                folder.mkdir(exist_ok=True)
                path = folder / f"{i}-{name}.png"
                imageio.imwrite(path, film_strip(scenery, int(seeds.iloc[0]), run.steps)[::2, ::2])
                pictures.append(Picture(path, f"{run.label}: {name}, seed {seeds.iloc[0]}"))
    return pictures


def _markdown(title: str, verdict: str, remarks: str, tables: list[Table], pictures: list[Picture], page: Path) -> str:
    parts = [f"# {title}", f"**{verdict}**", remarks]
    for table in tables:
        parts += [markdown_table(table.header, table.rows), table.remark]
    shown = [f"![{picture.caption}]({picture.path.relative_to(page.parent)})" for picture in pictures]
    return "\n\n".join([*parts, *shown, f"---\n{made_by()}"]) + "\n"


def _html(title: str, verdict: str, remarks: str, tables: list[Table], pictures: list[Picture]) -> str:
    parts = [_element("h1", title), f"<p>{_element('b', verdict)}</p>", _element("p", remarks)]
    for table in tables:
        lines = [_row("th", table.header), *(_row("td", row) for row in table.rows)]
        parts += [f"<table>{''.join(lines)}</table>", _element("p", table.remark)]
    for picture in pictures:
        data = base64.b64encode(picture.path.read_bytes()).decode()
        image = f'<img alt="{html.escape(picture.caption)}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}{_element('figcaption', picture.caption)}</figure>")
    head = f'<meta charset="utf-8">{_element("title", title)}<style>{STYLE}</style>'
    body = "\n".join([*parts, _element("footer", made_by())])
    return f"<!doctype html>\n<html><head>{head}</head>\n<body>{body}</body></html>\n"


def _element(tag: str, text: str) -> str:
    return f"<{tag}>{html.escape(text)}</{tag}>"


def _row(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join(_element(tag, cell) for cell in cells)}</tr>"
