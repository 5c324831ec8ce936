// One machine in the list. What it uses is read only while its row is on screen.

import { MachineActions } from "./actions.js";
import { configuredWord, whyNot } from "./configured.js";
import { ends, endsInWords } from "./deadline.js";
import { age, bytes, exactly, percent } from "./format.js";
import { html } from "./html.js";
import { ImageName, isOlder, OLDER_LONG } from "./image.js";
import { memo } from "./memo.js";
import { POINTS, Spark } from "./sparkline.js";
import { Mark } from "./statemark.js";
import { useStats } from "./stats.js";
import { coded, uncoded } from "./told.js";

const RUNS = new Set(["idle", "assigned"]);
const IN_TROUBLE = new Set(["failed", "restarting"]);
const UNMEASURED = "memory"; // the demo engine, whose machines are this service itself
const LEAST_CPU = 5;

export function Row({ live, machine, pool, now, top, index, isOnScreen, isSeveral }) {
  const { id, state, created_at: since } = machine;
  const { isLive } = live;
  const isMeasured = isOnScreen && RUNS.has(state) && isLive && live.health?.engine.kind !== UNMEASURED;
  return html`<div class="row" role="row" aria-rowindex=${index} style=${{ transform: `translateY(${top}px)` }}>
    <${Facts} machine=${machine} image=${pool?.image} template=${pool?.template} isSeveral=${isSeveral} note=${noteOf(machine, now)} inFull=${noteInFull(machine, live.events)} />
    <span class="age" role="cell" title=${exactly(since)}>${age(now - Date.parse(since))}</span>
    ${IN_TROUBLE.has(state)
      ? html`<${Why} machine=${machine} now=${now} />`
      : html`<${Used} id=${isMeasured ? id : null} />`}
    <span class="actions" role="cell"><${Actions} ...${{ live, machine, isLive }} isPlain /></span>
  </div>`;
}

const Actions = memo(MachineActions);

/** In one word, as there is no room for more; whoever hears it hears all of it. */
const Old = () => html`<span class="old" title=${OLDER_LONG}>older<span class="visually-hidden"> image or settings</span></span>`;

/** What stands below its project. */
const noteOf = (machine, now) => [ends(machine.lease, now), configuredWord(machine)].filter(Boolean).join(", ");

const noteInFull = (machine, events) => [endsInWords(machine.lease), uncoded(whyNot(machine, events))].filter(Boolean).join(" ");

const Facts = memo(({ machine, image, template, isSeveral, note, inFull }) => {
  const { id, pool, state, project, port, url, reason } = machine;
  return html`<span class="state" role="cell" title=${uncoded(reason)}><${Mark} state=${state} /></span>
    <span class="project" role="cell" title=${project}>${project ?? html`<span class="muted">–</span>`}
      ${note && html`${" "}<span class="until" title=${inFull}>${note}</span>`}</span>
    <span class="machine" role="cell"><a href="#/machines/${id}"><code>${id}</code></a></span>
    <span class="port" role="cell">
      ${url && state !== "sleeping"
        ? html`<a href=${url} target="_blank" rel="noopener noreferrer" aria-label=${`Open port ${port} of ${project ?? id}`}>${port}</a>`
        : html`<span class="muted" title=${state === "sleeping" ? "Its URL may be somebody else's until it wakes." : undefined}>${port ?? "–"}</span>`}
    </span>
    ${isSeveral
      ? html`<span class="of-pool" role="cell" title=${isOlder(machine, template) ? OLDER_LONG : pool}>
          ${pool}${isOlder(machine, template) && html`${" "}<${Old} />`}
        </span>`
      : html`<span class="image" role="cell">
          ${isOlder(machine, template) ? html`<${Old} />` : image && html`<${ImageName} image=${image} />`}
        </span>`}`;
});

/** Why it failed, or is restarting and when the next try is; what a cell cuts off stands in its title. */
function Why({ machine, now }) {
  const { state, reason, next_try_at: nextTryAt } = machine;
  const left = state === "restarting" && nextTryAt ? Math.ceil((Date.parse(nextTryAt) - now) / 1000) : 0;
  const next = left > 0 ? `Next try in ${left} s. ` : "";
  return html`<span class="why ${state}" role="cell" aria-colspan="2" title=${`${next}${uncoded(reason)}`}>${next}${coded(reason)}</span>`;
}

function Used({ id }) {
  const { points, last } = useStats(id);
  return html`<span class="cpu" role="cell">
      <span>${last ? percent(last.cpu_percent) : "–"}</span><${Spark} values=${points.slice(-POINTS).map((one) => one.cpu)} least=${LEAST_CPU} />
    </span>
    <span class="memory" role="cell">
      <span>${last && last.memory_bytes !== null ? bytes(last.memory_bytes) : "–"}</span><${Spark} values=${points.slice(-POINTS).map((one) => one.memory)} least=${1} />
    </span>`;
}
