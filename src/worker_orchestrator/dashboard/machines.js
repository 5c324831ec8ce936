// All machines, as they are this moment: find one, sort them, act on one. Only the rows on screen are drawn and measured.

import { AssignButton } from "./assign.js";
import { Attempts, isPast } from "./attempts.js";
import { age, number } from "./format.js";
import { html, useEffect, useMemo, useRef, useState } from "./html.js";
import { useClock, useLive } from "./live.js";
import { Row } from "./machinerow.js";
import { setQuery, useRoute } from "./route.js";
import { filteredAndSorted, COLUMNS } from "./sorting.js";
import { Mark, STATES } from "./statemark.js";
import { useNarrow, useVisibleRows } from "./visiblerows.js";

const ROW_PX = 36;
const CARD_PX = 116;
const CARD_OF_SEVERAL_PX = 140; // with a line for its pool
const NARROW_PX = 1080;
const PAST = "past"; // no state: what is left of those that failed for nobody
const headers = (isSeveral) => [...columns(isSeveral), ["cpu", { label: "CPU" }], ["memory", { label: "Memory" }], ["actions", { label: "Actions" }]];

/** With one pool all machines are of its image, so a column for its name would say nothing; of several it says more than the image. */
const columns = (isSeveral) => Object.entries(COLUMNS).filter(([name]) => name !== (isSeveral ? "image" : "pool"));

export function Machines({ live }) {
  useLive(live);
  const [asked, ask] = useAsked();
  const isSeveral = live.pools.length > 1;
  const known = [...live.machines.values()].filter((one) => !asked.pool || one.pool === asked.pool);
  const all = known.filter((one) => !isPast(one));
  const past = known.filter(isPast);
  const isPastAsked = asked.state === PAST;
  const searched = isPastAsked ? past : asked.search && !asked.state ? known : all;
  const shown = filteredAndSorted(searched, isPastAsked ? { ...asked, state: "" } : asked);
  const isLoading = !shown.length && !live.health;
  return html`<div class="page machines">
    <div class="title">
      <h1>Machines</h1>
      <p class="muted" role="status">${shown.length === all.length ? number(all.length) : `${number(shown.length)} of ${number(searched.length)}`}</p>
      <${AssignButton} live=${live} />
    </div>
    <${Tools} ...${{ asked, ask, all }} past=${past.length} pools=${live.pools} />
    ${!isPastAsked && html`<${Attempts} pools=${live.pools} machines=${known} isSeveral=${isSeveral} />`}
    ${shown.length
      ? html`<${Table} live=${live} machines=${shown} sort=${asked.sort} onSort=${(sort) => ask({ sort })} />`
      : isLoading
        ? html`<p class="nothing muted" role="status">Loading…</p>`
        : html`<${Nothing} pools=${live.pools} pool=${asked.pool} isFiltered=${all.length > 0} onAll=${() => ask({ search: "", state: "", pool: "" })} />`}
  </div>`;
}

/** What is asked for, kept in the address. */
function useAsked() {
  const { query } = useRoute();
  const read = () => ({ search: query.get("q") ?? "", state: query.get("state") ?? "", pool: query.get("pool") ?? "", sort: query.get("sort") ?? "state" });
  const [asked, setAsked] = useState(read);
  useEffect(() => setAsked(read()), [query]);
  const ask = (changes) => {
    const now = { ...asked, ...changes };
    setAsked(now);
    setQuery("machines", { q: now.search, state: now.state, pool: now.pool, sort: now.sort === "state" ? "" : now.sort });
  };
  return [asked, ask];
}

function Tools({ asked, ask, all, past, pools }) {
  const isSeveral = pools.length > 1;
  const names = pools.map(({ name }) => name);
  const isGone = asked.pool && !names.includes(asked.pool); // since the list was opened, or its address was sent
  const counts = {};
  for (const { state } of all) counts[state] = (counts[state] ?? 0) + 1;
  const of = (state) => counts[state] ?? 0;
  const chip = (state, label, n) =>
    html`<button key=${state} aria-pressed=${asked.state === state ? "true" : "false"} onClick=${() => ask({ state })}>${label} <span class="n">${number(n)}</span></button>`;
  return html`<div class="tools">
    <input
      type="search" aria-label="Search machines" placeholder="Project, machine, port, container" value=${asked.search}
      autocomplete="off" spellcheck=${false} onInput=${(event) => ask({ search: event.target.value })}
    />
    <div class="segments" role="group" aria-label="State">
      ${chip("", "All", all.length)}
      ${STATES.filter((state) => of(state) || state === asked.state || state === "idle" || state === "assigned").map((state) =>
        chip(state, html`<${Mark} state=${state} />`, of(state)),
      )}
      ${(past > 0 || asked.state === PAST) && chip(PAST, html`<${Mark} state=${PAST} shape="gone">past failures<//>`, past)}
    </div>
    ${(isSeveral || isGone) &&
    html`<label>
      Pool${" "}
      <select value=${asked.pool} onChange=${(event) => ask({ pool: event.target.value })}>
        <option value="">All</option>
        ${(isGone ? [...names, asked.pool] : names).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
    </label>`}
    <label class="sort">
      Sort by${" "}
      <select value=${asked.sort.replace("-", "")} onChange=${(event) => ask({ sort: event.target.value })}>
        ${columns(isSeveral).map(([name, { label }]) => html`<option key=${name} value=${name}>${label}</option>`)}
      </select>
    </label>
  </div>`;
}

function Table({ live, machines, sort, onSort }) {
  const body = useRef(null);
  const isNarrow = useNarrow(NARROW_PX);
  const isSeveral = live.pools.length > 1;
  const rowPx = isNarrow ? (isSeveral ? CARD_OF_SEVERAL_PX : CARD_PX) : ROW_PX;
  const { from, to, first, last } = useVisibleRows(body, machines.length, rowPx);
  const clock = useClock(1000);
  const { state, since } = live.connection;
  const now = state === "lost" ? since : clock; // what may be gone gets no older
  const images = useMemo(() => new Map(live.pools.map((pool) => [pool.name, pool])), [live.pools]);
  const rows = machines.slice(first, last).map((machine, i) => {
    const at = first + i;
    const pool = images.get(machine.pool);
    return html`<${Row} key=${machine.id} ...${{ live, machine, pool, now, isSeveral }} top=${at * rowPx} index=${at + 2} isOnScreen=${at >= from && at < to} />`;
  });
  return html`<div class=${`table panel ${isSeveral ? "of-several" : ""}`} role="table" aria-label="Machines" aria-rowcount=${machines.length + 1}>
    <div class="head" role="rowgroup">
      <div class="row" role="row" aria-rowindex="1">
        ${headers(isSeveral).map(([name, { label, key }]) => html`<${Header} key=${name} ...${{ name, label, sort, onSort }} isSortable=${Boolean(key)} />`)}
      </div>
    </div>
    <div class="body" role="rowgroup" ref=${body} style=${{ height: `${machines.length * rowPx}px` }}>${rows}</div>
  </div>`;
}

function Header({ name, label, sort, onSort, isSortable }) {
  const isSorted = sort.replace("-", "") === name;
  const isTurned = isSorted && sort.startsWith("-");
  const place = name === "pool" ? "of-pool" : name; // a pool is a part of the overview
  if (!isSortable) return html`<span class=${place} role="columnheader">${label}</span>`;
  return html`<span class=${place} role="columnheader" aria-sort=${isSorted ? (isTurned ? "descending" : "ascending") : undefined}>
    <button class="plain" onClick=${() => onSort(isSorted && !isTurned ? `-${name}` : name)}>
      ${label}<span class="arrow" aria-hidden="true">${isSorted ? (isTurned ? "↓" : "↑") : ""}</span>
    </button>
  </span>`;
}

/** What the pools do about it that there is no machine. Pure. */
export function whatComes(pools, now) {
  const left = Math.max(0, ...pools.map(({ back_off: told }) => (told && told.retry_at - now) || 0));
  if (left > 0) return `New ones do not come up: the next attempt is in ${age(left + 999)}.`;
  if (pools.length && pools.every((one) => one.retired)) return "The settings no longer name the pool, so none is started.";
  if (pools.length && pools.every((one) => one.paused)) return `${pools.length > 1 ? "All pools are" : "The pool is"} paused, so none is started.`;
  if (pools.some((one) => !one.template && one.problem)) return "None can be started: the overview says why.";
  if (pools.length && pools.every((one) => !one.min_idle)) return "None is kept idle (min_idle is 0): one is started when a project asks for it.";
  return "Those that the pool wants are being started.";
}

function Nothing({ pools, pool, isFiltered, onAll }) {
  const now = useClock(1000);
  const own = pools.filter(({ name }) => name === pool);
  const all = html`<button onClick=${onAll}>Show all</button>`;
  if (pool && !isFiltered) return html`<p class="nothing muted">${own.length ? `Pool ${pool} has no machines. ${whatComes(own, now)}` : `There is no pool ${pool} any more.`} ${all}</p>`;
  if (!isFiltered) return html`<p class="nothing muted">There are no machines. ${whatComes(pools, now)}</p>`;
  return html`<p class="nothing muted">No machine is like that. ${all}</p>`;
}
