// One machine in the list. What it uses is read only while its row is on screen.

import { MachineActions } from "./actions.js";
import { age, bytes, exactly, percent } from "./format.js";
import { html } from "./html.js";
import { Mark } from "./mark.js";
import { Spark } from "./spark.js";
import { useStats } from "./stats.js";

const RUNS = new Set(["idle", "assigned", "restarting"]);
const LEAST_CPU = 5;

export function Row({ live, machine, pool, now, top, index, isOnScreen }) {
  const { id, state, project, port, url, created_at: since, reason } = machine;
  const isMeasured = isOnScreen && RUNS.has(state) && live.isLive;
  return html`<div class="row" role="row" aria-rowindex=${index} style=${{ transform: `translateY(${top}px)` }}>
    <span class="state" role="cell" title=${reason}><${Mark} state=${state} /></span>
    <span class="project" role="cell" title=${project}>${project ?? html`<span class="muted">–</span>`}</span>
    <span class="machine" role="cell"><a href="#/machines/${id}"><code>${id}</code></a></span>
    <span class="age" role="cell" title=${exactly(since)}>${age(now - Date.parse(since))}</span>
    <span class="port" role="cell">
      ${url ? html`<a href=${url} target="_blank" rel="noopener noreferrer" aria-label=${`Open port ${port} of ${project ?? id}`}>${port}</a>` : html`<span class="muted">${port ?? "–"}</span>`}
    </span>
    <span class="image" role="cell">${imageOf(machine, pool)}</span>
    <${Used} id=${isMeasured ? id : null} />
    <span class="actions" role="cell"><${MachineActions} live=${live} machine=${machine} isPlain /></span>
  </div>`;
}

function imageOf({ template }, pool) {
  if (!pool) return html`<code>${template}</code>`;
  const isOld = pool.template && template && pool.template !== template;
  if (isOld) return html`<span class="old" title="It was made of an older image or of other settings, and is replaced when it is free">older</span>`;
  return html`<code title=${pool.image}>${pool.image}</code>`;
}

function Used({ id }) {
  const { points, last } = useStats(id);
  return html`<span class="cpu" role="cell"><span>${last ? percent(last.cpu_percent) : "–"}</span><${Spark} values=${points.map((one) => one.cpu)} least=${LEAST_CPU} /></span>
    <span class="memory" role="cell"><span>${last ? bytes(last.memory_bytes) : "–"}</span><${Spark} values=${points.map((one) => one.memory)} least=${1} /></span>`;
}
