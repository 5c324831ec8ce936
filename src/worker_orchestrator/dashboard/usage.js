// What the worker uses, in pictures of the last minutes. It is read only while somebody looks, here or elsewhere: where nobody
// did, there is a gap.

import { Chart } from "./chart.js";
import { bytes, number, percent, time } from "./format.js";
import { html, useMemo } from "./html.js";
import { useStats } from "./stats.js";

const LONGEST_S = 900;
const SHORTEST_S = 60;
const GAP_MS = 20_000;
const perSecond = (value) => (value === null ? "–" : `${bytes(value)}/s`);
const CPU = [{ label: "CPU", colour: "accent", kind: "area" }];
const MEMORY = [{ label: "Memory", colour: "accent", kind: "area" }];
const NETWORK = [{ label: "Received", colour: "idle", kind: "line" }, { label: "Sent", colour: "accent", kind: "line" }];

export function Usage({ id, isActive }) {
  const { points, last, problem } = useStats(isActive ? id : null);
  const data = useMemo(() => shaped(points), [points]);
  const to = (points.at(-1)?.at ?? Date.now()) / 1000;
  const range = [Math.max(to - LONGEST_S, Math.min(to - SHORTEST_S, (points[0]?.at ?? Infinity) / 1000)), to];
  const empty = problem ? problem.message : "Reading…";
  const shared = { range, empty, sync: "usage", height: 144 };
  return html`<section class="usage" aria-labelledby="usage-title">
    <h2 id="usage-title" class="visually-hidden">Usage</h2>
    <div class="charts">
      <${Chart} ...${shared} label="CPU" series=${CPU} data=${data.cpu} format=${percent} least=${5} />
      <${Chart} ...${shared} label="Memory" series=${MEMORY} data=${data.memory} format=${bytes} least=${1e6} />
      <${Chart} ...${shared} label="Network" series=${NETWORK} data=${data.network} format=${perSecond} least=${1000} />
    </div>
    <p class="footnote" role=${problem ? "status" : undefined}>${problem && points.length ? `${problem.message} ` : ""}${last ? inAll(last) : ""}</p>
    ${points.length > 0 && html`<p class="footnote">${sinceWhen(points)}</p>`}
  </section>`;
}

const isGap = (before, point) => point.at - before.at > GAP_MS;

function sinceWhen(points) {
  const hasGaps = points.some((point, index) => index && isGap(points[index - 1], point));
  return `Measured since ${time(points[0].at)}, while somebody looked${hasGaps ? "; in the gaps nobody did" : ""}. Nothing older than 15 minutes is kept.`;
}

function inAll(used) {
  const limit = used.memory_limit_bytes ? ` of ${bytes(used.memory_limit_bytes)}` : "";
  return [
    used.memory_bytes === null ? "Memory unknown" : `Memory ${bytes(used.memory_bytes)}${limit}`,
    used.processes === null ? "" : `${number(used.processes)} processes`,
    used.cpu_seconds === null ? "CPU unknown" : `${number(used.cpu_seconds)} s of CPU since its start`,
    used.received_bytes === null ? "" : `${bytes(used.received_bytes)} received, ${bytes(used.sent_bytes)} sent`,
    "100 % of CPU is one processor",
  ].filter(Boolean).join(" · ");
}

/** Counters become rates; where one went back, the worker began anew, and there is none. Where nobody looked is a hole. */
function shaped(read) {
  const points = read.flatMap((point, index) => (index && isGap(read[index - 1], point) ? [hole(read[index - 1]), point] : [point]));
  const at = points.map((point) => point.at / 1000);
  const rate = (name) => points.map((point, index) => {
    const before = points[index - 1];
    if (!before || point[name] === null || before[name] === null || point[name] < before[name]) return null;
    return (point[name] - before[name]) / ((point.at - before.at) / 1000);
  });
  return {
    cpu: [at, points.map((point) => point.cpu)],
    memory: [at, points.map((point) => point.memory)],
    network: [at, rate("received"), rate("sent")],
  };
}

const hole = ({ at }) => ({ at: at + 1, cpu: null, memory: null, received: null, sent: null });
