// How the pools fared, in four pictures under one time axis. Where the service did not run, they show a gap. Samples are of all
// pools; only assigns are counted for each.

import { call } from "./api.js";
import { Chart } from "./chart.js";
import { ms, number } from "./format.js";
import { html, useEffect, useMemo, useState } from "./html.js";
import { changeQuery, useRoute } from "./route.js";

const RANGES = [
  { past: 900, label: "15 min", bin: 60, every: 10_000 },
  { past: 3600, label: "1 h", bin: 60, every: 10_000 },
  { past: 21_600, label: "6 h", bin: 360, every: 60_000 },
  { past: 86_400, label: "24 h", bin: 1200, every: 60_000 },
];
const STATES = [
  { label: "failed or past", colour: "failed", kind: "area" },
  { label: "stopping", colour: "muted", kind: "area" },
  { label: "sleeping", colour: "line-strong", kind: "area" },
  { label: "parked", colour: "parked", kind: "area" },
  { label: "starting", colour: "busy", kind: "area" },
  { label: "idle", colour: "idle", kind: "area" },
  { label: "assigned", colour: "accent", kind: "area" },
];
const ASSIGNS = [
  { label: "no machine", colour: "failed", kind: "bar" },
  { label: "cold", colour: "busy", kind: "bar" },
  { label: "warm", colour: "accent", kind: "bar" },
];
const ASSIGNS_OF_POOL = [{ label: "given a machine", colour: "accent", kind: "bar" }];
const LATENCY = [
  { label: "p99", colour: "busy", kind: "dot" },
  { label: "p50", colour: "accent", kind: "dot" },
];
const REFILL = [{ label: "lag", colour: "busy", kind: "area" }];
const NOTHING = "No samples in this time: the service did not run, or has just started.";
const seconds = (value) => (value === null ? "–" : `${number(value)} s`);

/** `{samples, step, until}` of so many seconds, read again with each step. What was read stays while nothing new can be had. */
function useSamples(live, { past, every }) {
  const [told, setTold] = useState(null);
  const { isLive } = live;
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      if (document.hidden) return;
      const history = await call(`/v1/history?seconds=${past}`, { signal: stop.signal }).catch(() => null);
      if (history) setTold({ past, samples: history.samples, step: history.step_seconds, until: Date.now() / 1000 });
    };
    const timer = isLive && setInterval(read, every);
    if (isLive) read();
    document.addEventListener("visibilitychange", read);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", read);
      stop.abort();
    };
  }, [past, isLive]);
  return told;
}

export function History({ live }) {
  const { query } = useRoute();
  const asked = Number(query.get("past")) || RANGES[0].past;
  const [past, setPast] = useState(asked);
  useEffect(() => setPast(asked), [query]);
  const isSeveral = live.pools.length > 1;
  const pool = isSeveral && live.pools.some(({ name }) => name === query.get("pool")) ? query.get("pool") : null;
  const range = RANGES.find((one) => one.past === past) ?? RANGES[0];
  const told = useSamples(live, range);
  const choose = (chosen) => {
    setPast(chosen);
    changeQuery("", { past: chosen === RANGES[0].past ? "" : chosen });
  };
  return html`<section class="history" aria-labelledby="history">
    <header>
      <h2 id="history">${isSeveral ? "History of all pools" : "History"}</h2>
      <div class="segments" role="group" aria-label="Time range">
        ${RANGES.map(
          (one) => html`<button key=${one.past} aria-pressed=${one === range ? "true" : "false"} onClick=${() => choose(one.past)}>${one.label}</button>`,
        )}
      </div>
    </header>
    <${Charts} told=${told} range=${range} pool=${pool} />
  </section>`;
}

function Charts({ told, range, pool }) {
  const data = useMemo(() => columns(told, range.bin, pool), [told, pool]);
  const shown = told ? [told.until - told.past, told.until] : null;
  const common = { range: shown, sync: "history" };
  return html`<div class="charts" aria-busy=${!told}>
    <${Chart} ...${common} label="Machines" series=${STATES} data=${data.states} stacked least=${4} empty=${told ? NOTHING : "Loading…"} />
    <${Chart} ...${common} label=${pool ? `Assigns per minute in pool ${pool}` : "Assigns per minute"} series=${pool ? ASSIGNS_OF_POOL : ASSIGNS} data=${data.assigns} stacked least=${4} empty=${told ? NOTHING : ""} />
    <${Chart} ...${common} label="Assign latency" series=${LATENCY} data=${data.latency} log format=${ms} empty=${told ? "No project was given a machine in this time." : ""} />
    <${Chart} ...${common} label="Refill lag" series=${REFILL} data=${data.refill} format=${seconds} least=${2} empty=${told ? NOTHING : ""} />
  </div>`;
}

/** The samples as columns, with a hole wherever steps are missing. */
function columns(told, bin, pool) {
  const rows = told ? withHoles(told.samples, told.step) : [];
  const at = rows.map((row) => row.at);
  const column = (read) => rows.map((row) => (row.sample ? read(row.sample) : null));
  return {
    states: [
      at,
      column((one) => one.failed),
      column((one) => one.stopping),
      column((one) => one.sleeping ?? 0),
      column((one) => one.parked ?? 0),
      column((one) => one.starting + one.restarting),
      column((one) => one.idle),
      column((one) => one.assigned),
    ],
    assigns: perMinute(told?.samples ?? [], bin, pool ? [(one) => one.assigns?.[pool] ?? 0] : COUNTED),
    latency: [at, column((one) => one.p99_ms), column((one) => one.p50_ms)],
    refill: [at, column((one) => one.refill_lag_seconds)],
  };
}

function withHoles(samples, step) {
  const rows = [];
  for (const sample of samples) {
    const at = Date.parse(sample.at) / 1000;
    const before = rows.at(-1)?.at;
    if (before !== undefined && at - before > 1.6 * step) rows.push({ at: before + 1, sample: null });
    rows.push({ at, sample });
  }
  return rows;
}

const COUNTED = [(one) => one.unavailable, (one) => one.cold, (one) => one.warm];

/** What these read of a sample, counted in bins that are wide enough for a bar each, as a rate. */
function perMinute(samples, bin, counts) {
  const bins = new Map();
  for (const sample of samples) {
    const at = (Math.floor(Date.parse(sample.at) / 1000 / bin) + 0.5) * bin;
    const sums = bins.get(at) ?? counts.map(() => 0);
    bins.set(at, sums.map((sum, index) => sum + counts[index](sample)));
  }
  const rows = [...bins].sort(([a], [b]) => a - b);
  return [rows.map(([at]) => at), ...counts.map((_, index) => rows.map(([, sums]) => (sums[index] * 60) / bin))];
}
