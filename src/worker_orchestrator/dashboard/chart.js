// A picture of numbers over time, with their names and values in words beside it. uPlot draws it, loaded when one is needed.

import { colour, useScheme } from "./colours.js";
import { minute, number, time } from "./format.js";
import { html, useEffect, useId, useMemo, useRef, useState } from "./html.js";
import { load } from "./lazy.js";

const LEAST_LEFT = 56; // of the labels at the left, in pixels
const LETTER = 6.5;
const PADDING = 4;

let loading;
const library = () => (loading ??= load("vendor/uplot.js").then((module) => module.default));

/**
 * `series`: `[{label, colour, kind}]`, colour being a token of style.css, kind `area`, `line`, `bar`, or
 * `dot` for what is there only now and then.
 * `data`: `[[seconds since 1970], [values of the first], …]`, null where there is none. `stacked`: each stands on the one before.
 * `range`: `[from, to]` in seconds. `format(value)` puts a value in words; `least` is the least that the axis reaches up to.
 * `log`: for what spans orders of magnitude. `empty`: what to say where there is nothing to draw.
 */
export function Chart({ label, series, data, range, format = number, stacked, log, least = 1, height = 128, empty, sync }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [at, setAt] = useState(null);
  const scheme = useScheme();
  const id = useId();
  const shape = JSON.stringify([series, stacked, log, least, height, sync]);
  const drawn = useMemo(() => (stacked ? onTopOfEachOther(data) : data), [data, stacked]);
  const latest = useRef({});
  latest.current = { drawn, range };
  const isRead = data[0].length > 0;

  useEffect(() => {
    if (!isRead) return undefined; // the rest of the page comes first
    let made = null;
    let isOver = false;
    const observer = new ResizeObserver(([{ contentRect }]) => made?.setSize({ width: contentRect.width, height }));
    library().then((UPlot) => {
      if (isOver) return;
      const { drawn, range } = latest.current;
      const options = optionsOf(UPlot, { series, stacked, log, least, height, sync, format, setAt, width: box.current.clientWidth });
      made = plot.current = new UPlot(options, drawn, box.current);
      if (range) made.setScale("x", { min: range[0], max: range[1] });
      observer.observe(box.current);
    });
    return () => {
      isOver = true;
      observer.disconnect();
      made?.destroy();
      plot.current = null;
    };
  }, [scheme, shape, isRead]);

  useEffect(() => {
    plot.current?.batch(() => {
      plot.current.setData(drawn, !range);
      if (range) plot.current.setScale("x", { min: range[0], max: range[1] });
    });
  }, [drawn, range?.[0], range?.[1]]);

  const isPointed = at !== null && at < data[0].length;
  const shown = isPointed ? at : data[0].length - 1;
  const valueOf = (values, kind) => (!isPointed && kind === "dot" ? values.findLast((one) => one !== null) : values[shown]) ?? null;
  const isEmpty = !data.slice(1).some((values) => values.some((value) => value !== null));
  return html`<figure class="chart" aria-labelledby=${id}>
    <figcaption>
      <h3 id=${id}>${label}</h3>
      <span class="muted">${isPointed && !isEmpty ? time(data[0][shown] * 1000) : ""}</span>
      <dl>
        ${series.map(
          (one, index) => html`<div key=${one.label}>
            <dt><i class="key ${one.kind} ${one.colour}" aria-hidden="true"></i>${one.label}</dt>
            <dd>${isEmpty ? "–" : format(valueOf(data[index + 1], one.kind))}</dd>
          </div>`,
        )}
      </dl>
    </figcaption>
    <div class="plot" ref=${box} role="img" aria-label=${inWords(label, series, data, format, isEmpty ? empty : "")}></div>
    ${isEmpty && empty && html`<p class="empty muted" aria-hidden="true">${empty}</p>`}
  </figure>`;
}

function optionsOf(UPlot, { series, stacked, log, least, height, sync, format, setAt, width }) {
  const isMarked = log && { filter: (_, splits) => splits.map((s) => (isDecade(s) ? s : null)) };
  const grid = { stroke: colour("line"), width: 1, ...isMarked };
  const axis = { stroke: colour("muted"), font: "11px system-ui, sans-serif", grid, ticks: { show: false } };
  const lines = series.map((one) => styleOf(UPlot, one, stacked));
  return {
    width,
    height,
    padding: [8, PADDING, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, ...(sync && { sync: { key: sync, scales: ["x", null] } }) },
    scales: {
      x: { time: true },
      y: log ? { distr: 3, range: (_, low, high) => decades(low, high) } : { range: (_, __, high) => [0, Math.max(least, (high ?? 0) * 1.1)] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 24, gap: 8, space: 72, values: (plot, splits) => splits.map((s) => clockAt(plot, splits, s)) },
      { ...axis, ...isMarked, size: (_, labels) => widthOf(labels), gap: 8, space: 28, values: (_, splits) => splits.map((s) => (s === null ? "" : format(s))) },
    ],
    series: [{}, ...lines],
    hooks: { setCursor: [(plot) => setAt(plot.cursor.idx ?? null)] },
  };
}

function styleOf(UPlot, { label, colour: name, kind }, stacked) {
  const style = { label, stroke: colour(name), width: 1.5, points: { show: false }, spanGaps: false };
  if (kind === "line") return style;
  if (kind === "dot") return { ...style, width: 1, points: { show: true, size: 5, width: 0, fill: colour(name) } };
  const fill = colour(`${name}/${stacked ? 35 : 18}`);
  if (kind === "bar") return { ...style, width: 0, fill: colour(name), paths: UPlot.paths.bars({ size: [0.8, 24] }) };
  return { ...style, fill, width: 1, paths: UPlot.paths.stepped({ align: -1 }) };
}

/** To the minute, or where the marks are closer than that, to the second. At the edge, where it would be cut off, there is none. */
function clockAt(plot, splits, s) {
  const said = splits[1] - splits[0] >= 60 ? minute(s * 1000) : time(s * 1000);
  const { min, max } = plot.scales.x;
  const left = ((max - s) / (max - min)) * (plot.width - LEAST_LEFT - PADDING);
  return left + PADDING < (said.length * LETTER) / 2 ? "" : said;
}

/** Room for the longest label, and of all charts on a page the same where that can be. */
const widthOf = (labels) => Math.max(LEAST_LEFT, 16 + LETTER * Math.max(0, ...(labels ?? []).map((label) => label?.length ?? 0)));

const isDecade = (value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6);

/** Whole decades around what there is. */
function decades(low, high) {
  if (!(low > 0)) return [0.1, 10];
  return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.001))];
}

/** Sums from below; the series are drawn from the first to the last, so the first one must be the whole. */
function onTopOfEachOther([at, ...values]) {
  const sums = values.map((one) => one.slice());
  for (let s = sums.length - 2; s >= 0; s -= 1) {
    for (let i = 0; i < at.length; i += 1) if (sums[s][i] !== null) sums[s][i] += sums[s + 1][i] ?? 0;
  }
  return [at, ...sums];
}

function inWords(label, series, [at, ...values], format, empty) {
  if (empty || !at.length) return `${label}: ${empty || "nothing yet"}`;
  const told = series.map(({ label: name }, index) => {
    const known = values[index].filter((value) => value !== null);
    if (!known.length) return `${name} none`;
    return `${name} from ${format(Math.min(...known))} to ${format(Math.max(...known))}, last ${format(known.at(-1))}`;
  });
  return `${label}, ${time(at[0] * 1000)} to ${time(at.at(-1) * 1000)}: ${told.join("; ")}`;
}
