// One pool in one look: how many machines it has of what kind against its limits, and why it has not more.

import { setPaused, SizesDialog } from "./actions.js";
import { AssignButton } from "./assign.js";
import { isPast, unsettled } from "./attempts.js";
import { obstacle } from "./connection.js";
import { show } from "./dialog.js";
import { age, count, exactly, number, time } from "./format.js";
import { html, useId, useState } from "./html.js";
import { lazy } from "./lazy.js";
import { useClock } from "./live.js";
import { isInTrouble, reasonBesideMinIdle } from "./standing.js";
import { Mark } from "./statemark.js";
import { Advice, coded } from "./told.js";

const Plan = lazy("plan", "Plan"); // few look at it
const SHOWN = ["assigned", "idle", "parked", "starting", "restarting", "sleeping", "stopping", "failed"];
const ALWAYS = new Set(["assigned", "idle", "starting", "failed"]);

/** Machines that take room, by state, of one pool or of all. The failed ones without a container do not: `lost` are those of projects, `past` the others. */
export function counted(live, name = null) {
  const counts = Object.fromEntries(SHOWN.map((state) => [state, 0]));
  let lost = 0, past = 0;
  for (const machine of live.machines.values()) {
    if (name !== null && machine.pool !== name) continue;
    if (isPast(machine)) past += 1;
    else if (machine.state === "failed" && machine.url === null) lost += 1;
    else counts[machine.state] += 1;
  }
  return { counts, lost, past };
}

export function Pool({ live, pool }) {
  const id = useId();
  const { counts, lost, past } = counted(live, pool.name);
  const query = queryOf(live, pool);
  const reserve = pool.parked > 0 && html`<small>of ${number(pool.parked)}</small>`;
  const notes = { idle: wanted(pool), parked: reserve, failed: html`<${Beside} lost=${lost} past=${past} query=${query} />` };
  const shown = SHOWN.filter((state) => ALWAYS.has(state) || counts[state] || (state === "parked" && pool.parked > 0));
  const isShared = live.pools.length > 1 && !pool.max_machines; // it has no limit of its own
  return html`<section class="panel pool" aria-labelledby=${id}>
    <header>
      <h2 id=${id}>Pool ${pool.name}</h2>
      ${pool.paused && html`<${Mark} state="paused">paused<//>`}
      ${pool.retired ? html`<${Mark} state="gone">retired<//>` : html`<${PoolButtons} live=${live} pool=${pool} />`}
    </header>
    <dl class="counts">
      ${shown.map((state) => html`<${Count} key=${state} ...${{ state, query }} n=${counts[state]} note=${notes[state]} />`)}
      ${pool.waiting > 0 && html`<div class="waiting"><dt>waiting</dt><dd>${number(pool.waiting)} <small>in line</small></dd></div>`}
    </dl>
    ${!pool.retired && html`<${Bar} counts=${counts} limit=${pool.max_machines ?? pool.limit} isShared=${isShared} />`}
    <${Reasons} live=${live} pool=${pool} />
    ${pool.dropped && html`<p><${Mark} state="warning">${coded(pool.dropped)}<//></p>`}
    ${pool.port_names.length > 0 && html`<p class="muted">Ports: ${pool.port_names.join(", ")}</p>`}
    ${pool.retired && html`<p class="muted">The settings no longer name it, so it makes no machines. Those that projects have are removed when they are released.</p>`}
    ${pool.paused && html`<p class="muted">It starts and replaces nothing until it is resumed. Projects keep their machines.</p>`}
    ${isInTrouble(pool) && html`<${Trouble} live=${live} pool=${pool} />`}
    ${pool.expiries?.length > 0 && html`<${Expiries} expiries=${pool.expiries} />`}
    ${!pool.retired && html`<${Planned} live=${live} pool=${pool.name} />`}
  </section>`;
}

/** Which sizes would have been right: replayed once somebody opens it. */
function Planned({ live, pool }) {
  const [isOpen, setOpen] = useState(false);
  return html`<details class="expiries" open=${isOpen} onToggle=${({ target }) => setOpen(target.open)}>
    <summary>Which size would have been right?</summary>
    ${isOpen && html`<${Plan} live=${live} pool=${pool} />`}
  </details>`;
}

/** The last projects that lost a machine by a deadline, and why. */
function Expiries({ expiries }) {
  return html`<details class="expiries">
    <summary>Last expiries: ${number(expiries.length)}</summary>
    <ul>
      ${expiries.map(({ at, project, machine, reason }) => html`<li key=${`${at} ${machine}`}>
        <time datetime=${at} title=${exactly(at)}>${time(at)}</time> <strong>${project}</strong> <span class="muted">${coded(reason)}</span>
      </li>`)}
    </ul>
  </details>`;
}

/** What of a list of machines is of this pool, for a link to it: nothing to be said where there is only one pool. */
const queryOf = (live, { name }) => (live.pools.length > 1 ? `&pool=${encodeURIComponent(name)}` : "");

/** What keeps its machines from coming up. `isNamed`: it stands among other pools. */
export function Trouble({ live, pool, isNamed }) {
  const { name, problem, back_off: backOff } = pool;
  return html`${problem && html`<p class="trouble"><${Mark} state="warning">${isNamed && html`<strong>Pool ${name}:</strong>${" "}`}<${Advice} text=${problem} /><//></p>`}
    ${backOff && html`<${BackOff} live=${live} pool=${pool} isNamed=${isNamed} />`}`;
}

/**
 * Why it wants so many idle machines where that is not min idle alone, what keeps it from having them, and how many the demand
 * asks for. A single pool that keeps min idle is known by its numbers.
 */
function Reasons({ live, pool }) {
  const { wanted_idle: now, held_back: heldBack, demand, problem, back_off: backOff, paused, retired } = pool;
  const reason = reasonBesideMinIdle(pool);
  const isHeld = heldBack && !(problem || backOff || paused); // of these a box of its own tells
  if (retired || (!reason && (live.pools.length < 2 || (!isHeld && !demand)))) return null;
  return html`<div class="reasons">
    ${reason && html`<p>It wants <b>${number(now)}</b> idle: ${coded(reason)}</p>`}
    ${isHeld && html`<p><${Mark} state="warning">${coded(heldBack)}<//></p>`}
    ${demand && html`<p class="muted">${coded(demand.sentence)}</p>`}
  </div>`;
}

function wanted({ min_idle, max_idle, retired }) {
  if (retired) return "";
  return max_idle === null ? `min ${number(min_idle)}` : `${number(min_idle)} to ${number(max_idle)}`;
}

function PoolButtons({ live, pool }) {
  const [isBusy, setBusy] = useState(false);
  const pause = () => {
    setBusy(true);
    setPaused(live, pool, !pool.paused).finally(() => setBusy(false));
  };
  const off = { disabled: !live.isLive || isBusy, title: obstacle(live) };
  return html`<div class="buttons">
    <button ...${off} onClick=${pause}>${pool.paused ? "Resume" : "Pause"}</button>
    <button ...${off} onClick=${() => show(SizesDialog, { live, pool })}>Sizes…</button>
    <${AssignButton} live=${live} pool=${pool.name} />
  </div>`;
}

function Count({ state, n, note, query }) {
  return html`<div class=${n ? "" : "none"}>
    <dt><${Mark} state=${state} /></dt>
    <dd><a href="#/machines?state=${state}${query}" aria-label=${`${n} ${state}`}>${number(n)}</a> ${note && html`<small>${note}</small>`}</dd>
  </div>`;
}

/** What failed and takes no room. */
function Beside({ lost, past, query }) {
  return html`${lost > 0 && html`<span>+ ${number(lost)} without container</span>`}${" "}
    ${past > 0 && html`<a href="#/machines?state=past${query}">+ ${count(past, "past failure")}</a>`}`;
}

/**
 * As wide as the limit, so that one sees how far it is. What there is at all is seen. Its sum is that of the numbers above.
 * `isShared`: other pools have machines under this limit as well.
 */
export function Bar({ counts, limit, isShared }) {
  const total = SHOWN.reduce((sum, state) => sum + counts[state], 0);
  const parts = SHOWN.filter((state) => counts[state]);
  const said = parts.map((state) => `${number(counts[state])} ${state}`);
  const words = said.join(", ");
  const whole = Math.max(limit, total);
  return html`<div class="against">
    <div class="bar" role="img" aria-label=${`${total} of at most ${limit}${words && `: ${words}`}`}>
      ${parts.map((state) => html`<i key=${state} class=${state} style=${{ width: `${(counts[state] / whole) * 100}%` }}></i>`)}
    </div>
    <span class="muted">${said.length > 1 && `${said.join(" + ")} = `}${number(total)} of ${isShared ? `the ${count(limit, "machine")} of all pools` : count(limit, "machine")}${total >= limit && html`: <b class="full">full</b>`}</span>
  </div>`;
}

/** Machines that do not come up: why, its last words, and when it is tried again. */
function BackOff({ live, pool, isNamed }) {
  const { back_off: told, image, problem } = pool; // a problem beside it is no fault of the image
  const attempts = unsettled([...live.machines.values()]).filter((one) => one.pool === pool.name).length;
  const left = told.retry_at - useClock(500);
  const isNew = told.trying_new_image;
  return html`<div class="trouble">
    <p class="head">
      <${Mark} state="failed"><strong>${isNamed && `Pool ${pool.name}: `}${problem ? "New machines do not come up" : isNew ? "The new image has not come up yet" : "The image does not come up"}</strong><//>
      <span role="timer">${left > 0 ? html`Next attempt in <b>${age(left + 999)}</b>` : "Trying now…"}</span>
    </p>
    ${isNew && html`<p>It was replaced, and the new one is being tried now. This is how the one before it ended:</p>`}
    <p><code>${image}</code>: ${coded(told.reason)}</p>
    ${told.evidence
      ? html`<pre tabindex="0" role="region" aria-label="Its last log lines">${told.evidence}</pre>`
      : html`<p class="muted">It wrote nothing before it ended.</p>`}
    ${attempts > 1 && html`<p><a href="#/machines?state=past${queryOf(live, pool)}">${count(attempts, "failed attempt")}</a></p>`}
    ${!problem && !isNew && html`<p>Rebuild it under the same tag: the pool notices at once, and no restart is needed.</p>`}
  </div>`;
}
