// Machines that failed for nobody and have no container any more: what is left of them is why. They take no room, so they are
// counted apart. Of an image that does not come up they would fill every list, so they are one line, until a machine came up.

import { age, count, exactly, time } from "./format.js";
import { html } from "./html.js";
import { useClock } from "./live.js";
import { Mark } from "./statemark.js";
import { coded } from "./told.js";

const LISTED = 50;

export const isPast = ({ state, project, url }) => state === "failed" && !project && url === null;

/** The failures since which no machine of their pool has come up, newest first. Pure. */
export function unsettled(machines) {
  const past = machines.filter(isPast);
  if (!past.length) return past;
  const upAt = new Map(); // pool → when the newest machine of it that came up was made
  for (const { pool, state, created_at: at } of machines) {
    if (state === "idle" || state === "assigned") upAt.set(pool, Math.max(upAt.get(pool) ?? 0, Date.parse(at)));
  }
  const found = past.filter((one) => !(upAt.get(one.pool) > Date.parse(one.created_at)));
  return found.sort((a, b) => Date.parse(b.changed_at) - Date.parse(a.changed_at));
}

/** One line for each of these pools in which something fails. `isSeveral`: the service has more than one. */
export function Attempts({ pools, machines, isSeveral }) {
  const open = unsettled(machines);
  return pools.map((pool) => {
    const failed = open.filter((one) => one.pool === pool.name);
    return failed.length > 0 && html`<${OfPool} key=${pool.name} ...${{ pool, failed, isSeveral }} />`;
  });
}

function OfPool({ pool, failed, isSeveral }) {
  const now = useClock(1000);
  const [last] = failed;
  const what = pool.back_off && !pool.problem && !pool.back_off.trying_new_image ? `${count(failed.length, "attempt")} of this image failed` : `${count(failed.length, "machine")} failed`;
  return html`<details class="panel attempts">
    <summary>
      <${Mark} state="failed"><strong>${isSeveral && `Pool ${pool.name}: `}${what}</strong>, the last ${age(now - Date.parse(last.changed_at))} ago: ${coded(last.reason)}<//>
    </summary>
    <p class="muted">Image <code>${pool.image}</code></p>
    ${last.evidence && html`<pre tabindex="0" role="region" aria-label="Last log lines of the last attempt">${last.evidence}</pre>`}
    <ol>
      ${failed.slice(0, LISTED).map((one) => html`<li key=${one.id}>
        <time class="muted" datetime=${one.changed_at} title=${exactly(one.changed_at)}>${time(one.changed_at)}</time>${" "}
        <a href="#/machines/${one.id}"><code>${one.id}</code></a> <span class="muted">${coded(one.reason)}</span>
      </li>`)}
    </ol>
  </details>`;
}
