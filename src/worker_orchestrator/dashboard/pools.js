// Each pool in one look: how many machines it has of what kind against its limits, and why it has not more.

import { AssignButton, setPaused, SizesDialog } from "./actions.js";
import { obstacle } from "./connection.js";
import { show } from "./dialog.js";
import { age, count, number } from "./format.js";
import { html, useId, useState } from "./html.js";
import { useClock } from "./live.js";
import { Mark } from "./statemark.js";

const SHOWN = ["assigned", "idle", "starting", "restarting", "stopping", "failed"];
const ALWAYS = new Set(["assigned", "idle", "starting", "failed"]);

/** Machines by state; `gone` are the failed ones without a container, which take no room. */
function counted(live, name) {
  const counts = Object.fromEntries(SHOWN.map((state) => [state, 0]));
  let gone = 0;
  for (const { pool, state, url } of live.machines.values()) {
    if (pool !== name) continue;
    counts[state] += 1;
    if (state === "failed" && url === null) gone += 1;
  }
  return { counts, gone };
}

export function Pools({ live }) {
  return live.pools.map((pool) => html`<${Pool} key=${pool.name} live=${live} pool=${pool} />`);
}

function Pool({ live, pool }) {
  const id = useId();
  const { counts, gone } = counted(live, pool.name);
  const shown = SHOWN.filter((state) => ALWAYS.has(state) || counts[state]);
  return html`<section class="panel pool" aria-labelledby=${id}>
    <header>
      <h2 id=${id}>Pool ${pool.name}</h2>
      ${pool.paused && html`<${Mark} state="paused">paused<//>`}
      <${PoolButtons} live=${live} pool=${pool} />
    </header>
    <dl class="counts">
      ${shown.map((state) => html`<${Count} key=${state} state=${state} n=${counts[state]} note=${state === "idle" ? wanted(pool) : ""} />`)}
      ${pool.waiting > 0 && html`<div class="waiting"><dt>waiting</dt><dd>${number(pool.waiting)} <small>in line</small></dd></div>`}
    </dl>
    <${Bar} counts=${counts} gone=${gone} limit=${pool.limit} />
    ${pool.paused && html`<p class="muted">It starts and replaces nothing until it is resumed. Projects keep their machines.</p>`}
    ${pool.problem && html`<p class="trouble"><${Mark} state="warning">${pool.problem}<//></p>`}
    ${pool.back_off && html`<${BackOff} told=${pool.back_off} image=${pool.image} />`}
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

/** As wide as the limit, so that one sees how far it is. What there is at all is seen. */
function Bar({ counts, gone, limit }) {
  counts = { ...counts, failed: counts.failed - gone };
  const total = SHOWN.reduce((sum, state) => sum + counts[state], 0);
  const parts = SHOWN.filter((state) => counts[state]);
  const words = parts.map((state) => `${counts[state]} ${state}`).join(", ");
  const whole = Math.max(limit, total);
  return html`<div class="against">
    <div class="bar" role="img" aria-label=${`${total} of at most ${limit}${words && `: ${words}`}`}>
      ${parts.map((state) => html`<i key=${state} class=${state} style=${{ width: `${(counts[state] / whole) * 100}%` }}></i>`)}
    </div>
    <span class="muted">${number(total)} of ${count(limit, "machine")}${total >= limit && html`: <b class="full">full</b>`}</span>
  </div>`;
}

/** An image that does not come up: why, its last words, and when it is tried again. */
function BackOff({ told, image }) {
  const left = told.retry_at - useClock(500);
  return html`<div class="trouble">
    <p class="head">
      <${Mark} state="failed"><strong>The image does not come up</strong><//>
      <span role="timer">${left > 0 ? html`Next attempt in <b>${age(left + 999)}</b>` : "Trying now…"}</span>
    </p>
    <p><code>${image}</code>: ${told.reason}</p>
    ${told.evidence
      ? html`<pre tabindex="0" role="region" aria-label="Its last log lines">${told.evidence}</pre>`
      : html`<p class="muted">It wrote nothing before it ended.</p>`}
  </div>`;
}
