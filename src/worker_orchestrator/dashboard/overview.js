// The first look: is it well, how much is there, and if something is wrong, what and why.

import { MachineActions } from "./actions.js";
import { EventList } from "./activity.js";
import { Attempts, isPast } from "./attempts.js";
import { age, count, exactly, number, time } from "./format.js";
import { History } from "./history.js";
import { html } from "./html.js";
import { useLive } from "./live.js";
import { Pools } from "./pools.js";
import { hrefWith, useRoute } from "./route.js";
import { isInTrouble, isToldBy, withOwnTrouble, wordOfPool } from "./standing.js";
import { Mark } from "./statemark.js";
import { Advice, coded, isOfPausedPool } from "./told.js";

const RECENT = 8;
const FAILURES = 5;
const POOLS_NAMED = 3;
const STATUS = { ok: ["ok", "Healthy"], degraded: ["warning", "Degraded"], down: ["failed", "Down"] };

export function Overview({ live }) {
  useLive(live);
  return html`<div class="page overview">
    <h1 class="visually-hidden">Overview</h1>
    ${live.health ? html`<${Health} live=${live} />` : html`<p class="muted" role="status">Loading…</p>`}
    <${Pools} live=${live} />
    <${Attempts} pools=${live.pools.filter((pool) => !pool.back_off)} machines=${[...live.machines.values()]} isSeveral=${live.pools.length > 1} />
    <${Failures} live=${live} />
    <${History} live=${live} />
    <${Recent} live=${live} />
  </div>`;
}

function Health({ live }) {
  const { health, pools } = live;
  const { assigned } = health.machines;
  // Nobody new gets a machine: for those who have one, it is not down.
  const isServing = health.status === "down" && assigned > 0;
  const [shape, word] = isServing ? STATUS.degraded : STATUS[health.status] ?? ["warning", health.status];
  const { kind, connected } = health.engine;
  // What a pool says of itself stands there.
  const own = withOwnTrouble(pools);
  const isToldBelow = (said) => own.some((pool) => isToldBy(pool, said)) || (isOfPausedPool(said) && pools.some((pool) => pool.paused));
  const restarting = [...live.machines.values()].filter((one) => one.state === "restarting").length;
  const told = health.problems.filter((one) => !isToldBelow(one));
  return html`<section class="health" aria-label="Health">
    <p class="facts">
      <strong><${Mark} state=${health.status} shape=${shape}>${word}<//></strong>
      ${isServing && html`<span>no machine for a new project</span>`}
      ${health.status !== "ok" && assigned > 0 && html`<span>${count(assigned, "project")} ${connected ? "served" : "with a machine"}</span>`}
      <span>${kind === "docker" ? "Docker" : `Engine ${kind}`} ${connected ? "connected" : html`<b class="bad">does not answer</b>`}</span>
      ${pools.length > 1 ? html`<${PoolFacts} pools=${pools} />` : pools.map((pool) => html`<span key=${pool.name}>Image <code>${pool.image}</code> ${imageState(pool)}</span>`)}
      ${restarting > 0 && html`<a href="#/machines?state=restarting"><${Mark} state="warning">${
        restarting === 1 ? "The machine of 1 project is restarting" : `The machines of ${number(restarting)} projects are restarting`
      }<//></a>`}
      <span class="muted">Up ${age(health.uptime_seconds * 1000)}</span>
      <span class="muted">Version ${health.version}</span>
    </p>
    ${told.length > 0 && html`<ul class="trouble">${told.map((one) => html`<li key=${one}><${Mark} state="warning"><${Advice} text=${one} /><//></li>`)}</ul>`}
  </section>`;
}

/** How many there are, and those that make no machines now. */
function PoolFacts({ pools }) {
  const { query } = useRoute();
  const stopped = pools.filter((pool) => isInTrouble(pool) || (pool.paused && !pool.retired));
  return html`<span>${count(pools.length, "pool")}</span>
    ${stopped.length > POOLS_NAMED
      ? html`<b class="bad">${number(stopped.length)} of them make no machines</b>`
      : stopped.map((pool) => html`<a key=${pool.name} href=${hrefWith("", query, { pool: pool.name })}>${stateOf(pool)}</a>`)}`;
}

function stateOf(pool) {
  const { name, back_off: backOff, problem } = pool;
  if (wordOfPool(pool) === "paused") return html`<${Mark} state="paused">Pool ${name} is paused<//>`;
  const what = problem ? "has a problem" : backOff.trying_new_image ? "did not come up, trying the new image" : "does not come up";
  return html`<${Mark} state="failed">Pool ${name} ${what}<//>`;
}

function imageState({ back_off, problem, machines }) {
  if (back_off && problem) return ""; // it is not the image
  if (back_off?.trying_new_image) return html`<b class="bad">did not come up, trying the new one</b>`;
  if (back_off) return html`<b class="bad">does not come up</b>`;
  if (problem) return html`<b class="bad">has a problem</b>`;
  return machines.idle + machines.assigned > 0 ? "works" : "";
}

/** Those that somebody must look at: a project's first. */
function Failures({ live }) {
  const all = [...live.machines.values()];
  const failed = all.filter((one) => one.state === "failed" && !isPast(one));
  if (!failed.length) return null;
  failed.sort((a, b) => Boolean(b.project) - Boolean(a.project) || (a.changed_at < b.changed_at ? 1 : -1));
  const more = failed.length - Math.min(failed.length, FAILURES);
  return html`<section class="panel failures" aria-labelledby="failures">
    <h2 id="failures">Failed machines</h2>
    <ul>
      ${failed.slice(0, FAILURES).map((machine) => html`<${Failure} key=${machine.id} live=${live} machine=${machine} />`)}
    </ul>
    ${more > 0 && html`<a href="#/machines?state=failed">${count(more, "more failed machine")}</a>`}
  </section>`;
}

function Failure({ live, machine }) {
  const { id, project, reason, evidence, changed_at: at } = machine;
  return html`<li>
    <div class="head">
      <${Mark} state="failed" />
      <a href="#/machines/${id}"><code>${id}</code></a>
      ${project ? html`<span>of <strong>${project}</strong></span>` : html`<span class="muted">nobody's</span>`}
      <time class="muted" datetime=${at} title=${exactly(at)}>${time(at)}</time>
      ${project && html`<${MachineActions} live=${live} machine=${machine} />`}
    </div>
    ${reason && html`<p>${coded(reason)}</p>`}
    ${evidence && html`<details><summary>Last log lines</summary><pre tabindex="0" role="region" aria-label=${`Last log lines of ${id}`}>${evidence}</pre></details>`}
  </li>`;
}

function Recent({ live }) {
  return html`<section class="panel recent" aria-labelledby="recent">
    <header><h2 id="recent">Recent activity</h2><a href="#/events" aria-label="All activity">All</a></header>
    ${live.events.length ? html`<${EventList} events=${live.events.slice(0, RECENT)} isSeveral=${live.pools.length > 1} />` : html`<p class="muted">Nothing has happened yet.</p>`}
  </section>`;
}
