"""The report's figures (Plotly), each from rows or tables; None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan, log10

import plotly.graph_objects as go

from harness.analysis.matlab import FORMS, TENS, against
from harness.analysis.speed import Acceleration
from harness.spec import paper

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
HEIGHT = 380


def speed(lines: Sequence[Acceleration], dataset: str) -> go.Figure | None:
    """Ratio to the floor of each contender, a group of bars each scale, with 95 % intervals.

    Who passed no exam, or failed an audit, is in the tables alone.
    """
    shown = [line for line in lines if line.of_figure_3 and line.dataset == dataset]
    shown = [line for line in shown if line.standing != "none" and not isnan(line.ratio_to_floor)]
    if not shown:
        return None
    figure = go.Figure()
    for scale, bars in _by_scale(shown):
        known = [bar if bar.ratio_high < inf else None for bar in bars]
        figure.add_bar(
            name=scale,
            x=[bar.name for bar in bars],
            y=[bar.ratio_to_floor for bar in bars],
            error_y={
                "type": "data",
                "color": "#808080",
                "symmetric": False,
                "array": [bar and bar.ratio_high - bar.ratio_to_floor for bar in known],
                "arrayminus": [bar and bar.ratio_to_floor - bar.ratio_low for bar in known],
            },
            marker={"pattern": {"shape": ["/" if bar.preliminary else "" for bar in bars]}},
            customdata=[[bar.ratio_low, bar.ratio_high, bar.rounds] for bar in bars],
            hovertemplate="%{x}: %{y:.2f} x floor "
            "[%{customdata[0]:.2f}, %{customdata[1]:.2f}], n = %{customdata[2]}<extra></extra>",
        )
    figure.add_hline(y=1, line_dash="dot", annotation_text="floor")
    return finished(figure, "time of a training step / floor")


def matlab(lines: Sequence[Acceleration]) -> go.Figure | None:
    """Time of each form of the Matlab code over plain PyTorch's, on a logarithmic axis."""
    shown = against(lines)
    if not shown:
        return None
    figure = go.Figure()
    for variant in dict.fromkeys(line.variant for line in shown):
        bars = [line for line in shown if line.variant == variant]
        times = [1 / bar.speedup_vs_reference for bar in bars]
        ends = [(1 / bar.speedup_high, 1 / bar.speedup_low) for bar in bars]
        figure.add_bar(
            name=FORMS[variant],
            x=[f"{paper.settings(bar.dataset).title} {bar.scale}" for bar in bars],
            y=times,
            error_y={
                "type": "data",
                "color": "#808080",
                "symmetric": False,
                "array": [high - time for time, (_, high) in zip(times, ends, strict=True)],
                "arrayminus": [time - low for time, (low, _) in zip(times, ends, strict=True)],
            },
            text=["scaled" if not isnan(bar.part) else "" for bar in bars],
            marker={"pattern": {"shape": ["x" if not isnan(bar.part) else "" for bar in bars]}},
            customdata=[[*end, bar.rounds] for end, bar in zip(ends, bars, strict=True)],
            hovertemplate="%{x}: %{y:.3g} times [%{customdata[0]:.3g}, %{customdata[1]:.3g}], "
            "n = %{customdata[2]} %{text}<extra></extra>",
        )
    figure.add_hrect(TENS, 10 * TENS, opacity=0.15, fillcolor="#808080", line_width=0)
    # on the paper: on a logarithmic axis an annotation's place is a logarithm, a shape's is not
    figure.add_annotation(
        text="shaded: tens of times",
        showarrow=False,
        **{"xref": "paper", "yref": "paper", "x": 1, "y": 1},
        **{"xanchor": "right", "yanchor": "bottom"},
    )
    most = max(1 / bar.speedup_low for bar in shown)
    figure.update_yaxes(type="log", dtick=1, range=[log10(0.5), log10(3 * max(most, 10 * TENS))])
    return finished(figure, "time over plain PyTorch's")


def memory(lines: Sequence[Acceleration], dataset: str) -> go.Figure | None:
    """Peak memory of each contender, of those whose speed is shown."""
    shown = [line for line in lines if line.of_figure_3 and line.dataset == dataset]
    shown = [line for line in shown if line.standing != "none"]
    shown = [line for line in shown if not isnan(line.peak_memory_mib)]
    if not shown:
        return None
    figure = go.Figure()
    for scale, bars in _by_scale(shown):
        figure.add_bar(
            name=scale,
            x=[bar.name for bar in bars],
            y=[bar.peak_memory_mib for bar in bars],
            hovertemplate="%{x}: %{y:,.0f} MiB<extra></extra>",
        )
    return finished(figure, "peak memory of a step, MiB over the base")


def _by_scale(lines: Sequence[Acceleration]) -> list[tuple[str, list[Acceleration]]]:
    scales = dict.fromkeys((*paper.SCALES, *(line.scale for line in lines)))
    groups = [(scale, [line for line in lines if line.scale == scale]) for scale in scales]
    return [(scale, bars) for scale, bars in groups if bars]


def finished(figure: go.Figure, y_title: str) -> go.Figure:
    """The figure in the report's size and colours."""
    figure.update_yaxes(title=y_title, gridcolor="rgba(128,128,128,0.25)")
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", automargin=True)
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 60, "r": 15, "t": 20, "b": 50},
        colorway=COLOURS,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080"},
        legend={"orientation": "h", "y": -0.25},
        barmode="group",
    )
    return figure
