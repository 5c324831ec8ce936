// Each pool in one look: how many machines it has of what kind against its limits, and why it has not more.

import { AssignButton, setPaused, SizesDialog } from "./actions.js";
import { isPast, unsettled } from "./attempts.js";
import { obstacle } from "./connection.js";
import { show } from "./dialog.js";
import { age, count, number } from "./format.js";
import { html, useId, useState } from "./html.js";
import { useClock } from "./live.js";
import { Mark } from "./statemark.js";
import { Advice, coded } from "./told.js";

const SHOWN = ["assigned", "idle", "starting", "restarting", "stopping", "failed"];
const ALWAYS = new Set(["assigned", "idle", "starting", "failed"]);

/** Machines that take room, by state. The failed ones without a container do not: `lost` are those of projects, `past` the others. */
function counted(live, name) {
  const counts = Object.fromEntries(SHOWN.map((state) => [state, 0]));
  let lost = 0, past = 0;
  for (const machine of live.machines.values()) {
    if (machine.pool !== name) continue;
    if (isPast(machine)) past += 1;
    else if (machine.state === "failed" && machine.url === null) lost += 1;
    else counts[machine.state] += 1;
  }
  return { counts, lost, past };
}

export function Pools({ live }) {
  return live.pools.map((pool) => html`<${Pool} key=${pool.name} live=${live} pool=${pool} />`);
}

function Pool({ live, pool }) {
  const id = useId();
  const { counts, lost, past } = counted(live, pool.name);
  const notes = { idle: wanted(pool), failed: html`<${Beside} lost=${lost} past=${past} />` };
  const shown = SHOWN.filter((state) => ALWAYS.has(state) || counts[state]);
  return html`<section class="panel pool" aria-labelledby=${id}>
    <header>
      <h2 id=${id}>Pool ${pool.name}</h2>
      ${pool.paused && html`<${Mark} state="paused">paused<//>`}
      <${PoolButtons} live=${live} pool=${pool} />
    </header>
    <dl class="counts">
      ${shown.map((state) => html`<${Count} key=${state} state=${state} n=${counts[state]} note=${notes[state]} />`)}
      ${pool.waiting > 0 && html`<div class="waiting"><dt>waiting</dt><dd>${number(pool.waiting)} <small>in line</small></dd></div>`}
    </dl>
    <${Bar} counts=${counts} limit=${pool.limit} />
    ${pool.paused && html`<p class="muted">It starts and replaces nothing until it is resumed. Projects keep their machines.</p>`}
    ${pool.problem && html`<p class="trouble"><${Mark} state="warning"><${Advice} text=${pool.problem} /><//></p>`}
    ${pool.back_off && html`<${BackOff} live=${live} pool=${pool} />`}
  </section>`;
}

function wanted({ min_idle, max_idle }) {
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
    <${AssignButton} live=${live} />
  </div>`;
}

function Count({ state, n, note }) {
  return html`<div class=${n ? "" : "none"}>
    <dt><${Mark} state=${state} /></dt>
    <dd><a href="#/machines?state=${state}" aria-label=${`${n} ${state}`}>${number(n)}</a> ${note && html`<small>${note}</small>`}</dd>
  </div>`;
}

/** What failed and takes no room. */
function Beside({ lost, past }) {
  return html`${lost > 0 && html`<span>+ ${number(lost)} without container</span>`}${" "}
    ${past > 0 && html`<a href="#/machines?state=past">+ ${count(past, "past failure")}</a>`}`;
}

/** As wide as the limit, so that one sees how far it is. What there is at all is seen. Its sum is that of the numbers above. */
function Bar({ counts, limit }) {
  const total = SHOWN.reduce((sum, state) => sum + counts[state], 0);
  const parts = SHOWN.filter((state) => counts[state]);
  const said = parts.map((state) => `${number(counts[state])} ${state}`);
  const words = said.join(", ");
  const whole = Math.max(limit, total);
  return html`<div class="against">
    <div class="bar" role="img" aria-label=${`${total} of at most ${limit}${words && `: ${words}`}`}>
      ${parts.map((state) => html`<i key=${state} class=${state} style=${{ width: `${(counts[state] / whole) * 100}%` }}></i>`)}
    </div>
    <span class="muted">${said.length > 1 && `${said.join(" + ")} = `}${number(total)} of ${count(limit, "machine")}${total >= limit && html`: <b class="full">full</b>`}</span>
  </div>`;
}

/** An image that does not come up: why, its last words, and when it is tried again. */
function BackOff({ live, pool }) {
  const { back_off: told, image } = pool;
  const attempts = unsettled([...live.machines.values()]).filter((one) => one.pool === pool.name).length;
  const left = told.retry_at - useClock(500);
  return html`<div class="trouble">
    <p class="head">
      <${Mark} state="failed"><strong>The image does not come up</strong><//>
      <span role="timer">${left > 0 ? html`Next attempt in <b>${age(left + 999)}</b>` : "Trying now…"}</span>
    </p>
    <p><code>${image}</code>: ${coded(told.reason)}</p>
    ${told.evidence
      ? html`<pre tabindex="0" role="region" aria-label="Its last log lines">${told.evidence}</pre>`
      : html`<p class="muted">It wrote nothing before it ended.</p>`}
    ${attempts > 1 && html`<p><a href="#/machines?state=past">${count(attempts, "failed attempt")}</a></p>`}
  </div>`;
}
