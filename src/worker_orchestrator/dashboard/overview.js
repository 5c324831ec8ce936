// The first look: is it well, how much is there, and if something is wrong, what and why.

import { MachineActions } from "./actions.js";
import { EventList } from "./activity.js";
import { Attempts, isPast } from "./attempts.js";
import { age, count, exactly, time } from "./format.js";
import { History } from "./history.js";
import { html } from "./html.js";
import { useLive } from "./live.js";
import { Pools } from "./pools.js";
import { Mark } from "./statemark.js";
import { Advice, coded, isOfPausedPool } from "./told.js";

const RECENT = 8;
const FAILURES = 5;
const STATUS = { ok: ["ok", "Healthy"], degraded: ["warning", "Degraded"], down: ["failed", "Down"] };

export function Overview({ live }) {
  useLive(live);
  return html`<div class="page overview">
    <h1 class="visually-hidden">Overview</h1>
    ${live.health ? html`<${Health} live=${live} />` : html`<p class="muted" role="status">Loading…</p>`}
    <${Pools} live=${live} />
    <${Attempts} live=${{ pools: live.pools.filter((pool) => !pool.back_off) }} machines=${[...live.machines.values()]} />
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
  const isToldBy = (pool, one) => pool.problem === one || (pool.back_off && one.includes(pool.back_off.reason)) || (pool.paused && isOfPausedPool(one));
  const told = health.problems.filter((one) => !pools.some((pool) => isToldBy(pool, one)));
  return html`<section class="health" aria-label="Health">
    <p class="facts">
      <strong><${Mark} state=${health.status} shape=${shape}>${word}<//></strong>
      ${isServing && html`<span>no machine for a new project</span>`}
      ${health.status !== "ok" && assigned > 0 && html`<span>${count(assigned, "project")} ${connected ? "served" : "with a machine"}</span>`}
      <span>${kind === "docker" ? "Docker" : `Engine ${kind}`} ${connected ? "connected" : html`<b class="bad">does not answer</b>`}</span>
      ${pools.map((pool) => html`<span key=${pool.name}>Image <code>${pool.image}</code> ${imageState(pool)}</span>`)}
      <span class="muted">Up ${age(health.uptime_seconds * 1000)}</span>
      <span class="muted">Version ${health.version}</span>
    </p>
    ${told.length > 0 && html`<ul class="trouble">${told.map((one) => html`<li key=${one}><${Mark} state="warning"><${Advice} text=${one} /><//></li>`)}</ul>`}
  </section>`;
}

function imageState({ back_off, problem, machines }) {
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
    ${live.events.length ? html`<${EventList} events=${live.events.slice(0, RECENT)} />` : html`<p class="muted">Nothing has happened yet.</p>`}
  </section>`;
}
