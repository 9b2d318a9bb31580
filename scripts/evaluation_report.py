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
    """Which cell to pick, in one sentence: the fastest of those that lose little success for sure.

    Only cells in the baseline's world are there to be picked: nobody chooses the clock or the disturbance. Empty if there is
    no other.
    """
    baseline = next(run for run in comparison.runs if run.loss is None)
    others = [run for run in comparison.runs if run.world == baseline.world and run.loss is not None]
    if not others:
        return ""
    # Bonferroni: of many cells one would pass by chance.
    confidence = 1 - 0.05 / len(others)
    safe = {run.label for run in others if run.loss and run.loss.upper(confidence) <= TOLERATED_LOSS}
    pick = min((run for run in (baseline, *others) if run is baseline or run.label in safe), key=_p50)
    if pick is baseline:
        return (
            f"Pick {pick.label}: of what is faster, nothing is known with 95 % confidence to lose less than {TOLERATED_LOSS}"
            f" success over these {baseline.summary.episodes} episodes."
        )
    assert pick.loss is not None
    faster = _p50(baseline) / _p50(pick)
    return (
        f"Pick {pick.label}: the fastest ({_p50(pick):.1f} ms a plan for one robot, {faster:.1f} times as fast as"
        f" {baseline.label}) of those that lose less than {TOLERATED_LOSS} success against {baseline.label} on the same"
        f" seeds, with 95 % confidence for all {len(others)} cells together (lost {pick.loss.loss:+.3f}, one-sided bound"
        f" {pick.loss.upper(confidence):+.3f})."
    )


def _p50(run: Compared) -> float:
    return run.summary.latency_ms_batch1.replan.p50


def _outcomes(comparison: Comparison) -> Table:
    header = ["cell", "success (95 %)", "against", "lost, paired (95 %)", "lost at most", "would have shown",
              "reward (95 %)", "more", "steps", "more", "jerk, m/s³", "more", "disturbed", "late by", "waiting"]  # fmt: skip
    rows = []
    for i, run in enumerate(comparison.runs, 1):
        s, loss, detectable = run.summary, run.loss, run.detectable
        rows.append(
            [
                f"{i}. {run.label}",
                interval(s.success),
                _number(comparison, run.against),
                f"{loss.loss:+.3f} ({loss.ci95[0]:+.3f} to {loss.ci95[1]:+.3f})" if loss else "baseline",
                f"{loss.upper95:+.3f}" if loss else "",
                f"{detectable:.3f}" if detectable else "",
                interval(s.reward),
                interval(run.differences["reward"]) if loss else "",
                f"{run.episodes['steps'].mean():.0f}",
                interval(run.differences["steps"], 0) if loss else "",
                interval(s.jerk, 0),
                interval(run.differences["jerk"], 0) if loss else "",
                f"{100 * s.disturbed:.0f} %",
                f"{run.steps['replan_lateness'].mean():.1f}",
                f"{100 * s.steps_held:.0f} %",
            ]
        )
    remark = (
        "Success with Wilson's interval. Against: the row that it is compared with, on the same seeds — the "
        "baseline's sampler, controller and horizon under the same clock and disturbance, where there is that row. "
        "Lost: the paired loss of success with its 95 % interval, and at most: its one-sided 95 % bound (Bonett & "
        "Price 2012). Would have shown: the loss that so many seeds show with 80 % power at 5 %, given how often the "
        "two disagreed. Steps: of an episode. Jerk: of where the hand is sent. More: the paired difference, "
        "bootstrapped. Disturbed: share of episodes in which the disturbance acted. Late by: control steps from an "
        "observation until its chunk can be executed. Waiting: share of control steps without an action to execute."
    )
    return Table(header, rows, remark)


def _number(comparison: Comparison, label: str | None) -> str:
    """Of a row."""
    return next((str(i) for i, run in enumerate(comparison.runs, 1) if run.label == label), "")


def _latencies(comparison: Comparison) -> Table:
    header = ["cell", "plan p50", "p95", "p99", "max", "jitter", "step p50", "p99", "max", "rounds", "evaluations",
              "s an episode (95 %)", "plans", "denoised by"]  # fmt: skip
    rows = []
    for run in comparison.runs:
        s = run.summary
        plan, step = s.latency_ms_batch1.replan, s.latency_ms_batch1.step
        times = [f"{t:.1f}" for t in (plan.p50, plan.p95, plan.p99, plan.max, plan.jitter, step.p50, step.p99, step.max)]
        cost = [f"{s.solver.rounds_mean:.1f}", f"{s.solver.evaluations_mean:.0f}", interval(s.seconds_per_episode_batch1, 2)]
        rows.append([run.label, *times, *cost, str(s.plans_batch1), _denoised_by(run)])
    first = comparison.runs[0].summary
    remark = (
        f"Milliseconds, one robot at a time with all cores, engine {first.engine} {first.precision}, without clock or"
        " disturbance, over so many plans; jitter: standard deviation of a plan's latency; rounds and evaluations: means"
        " over all plans of all episodes; s an episode: wall-clock time with one robot, simulation included: the steps of"
        " all episodes by the time of a step."
    )
    return Table(header, rows, remark)


def _denoised_by(run: Compared) -> str:
    """What a measured sampler stood for, in the episodes and for one robot alone."""
    samplers = (run.summary.sampler, run.summary.sampler_batch1)
    batch, alone = (sampler["settings"].get("chosen", sampler["name"]) for sampler in samplers)
    return batch if batch == alone else f"{batch}; alone {alone}"


def _power(comparison: Comparison) -> str:
    detectable = [run.detectable for run in comparison.runs if run.detectable]
    first = comparison.runs[0].summary
    threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
    together = f"Episodes ran in groups of {first.envs} on {threads}, with the same seeds in every cell."
    if not detectable:
        return together
    least, most = min(detectable), max(detectable)
    return f"{together} A loss of {least:.3f} to {most:.3f} success would have been found with 80 % power."


def _plots(comparison: Comparison, page: Path) -> list[Picture]:
    pictures = []
    if len({run.label.partition(",")[0] for run in comparison.runs}) > 1:
        pareto = page.with_suffix(".png")
        plot_reward_against_latency(comparison, pareto)
        pictures.append(Picture(pareto, "success against latency of a plan"))
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
    parts = [f"# {title}", *([f"**{verdict}**"] if verdict else []), remarks]
    for table in tables:
        parts += [markdown_table(table.header, table.rows), table.remark]
    shown = [f"![{picture.caption}]({picture.path.relative_to(page.parent)})" for picture in pictures]
    return "\n\n".join([*parts, *shown, f"---\n{made_by()}"]) + "\n"


def _html(title: str, verdict: str, remarks: str, tables: list[Table], pictures: list[Picture]) -> str:
    parts = [_element("h1", title), *([f"<p>{_element('b', verdict)}</p>"] if verdict else []), _element("p", remarks)]
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
