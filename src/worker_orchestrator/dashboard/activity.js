// What just happened, newest first: the events of all machines in words. What is looked for stands in the address.

import { ownerAfter } from "./fleet.js";
import { count, exactly, number, time } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { useLive } from "./live.js";
import { memo } from "./memo.js";
import { readEventsOf } from "./queries.js";
import { saysMore } from "./reasons.js";
import { setQuery, useRoute } from "./route.js";
import { Mark, wordOf } from "./statemark.js";
import { coded } from "./told.js";

const SHOWN = 500;

const WORDS = {
  created: "is being started",
  adopted: "was found running, and taken on",
  moved: "moved to another port",
  answered: "answers, and is ready",
  assigned: "was given to",
  released: "was given back by",
  expiring: "has a deadline ahead, for",
  expired: "was taken back, as a deadline has passed, from",
  withdrawn: "was taken back, as nobody waited for it, from",
  restarted: "is being restarted in place for",
  revived: "runs again",
  slept: "is being put to sleep for",
  asleep: "sleeps",
  woken: "is being woken for",
  parked: "is being parked",
  unparked: "is parked no more, and has to answer",
  failed: "failed",
  obstructed: "cannot be started now",
  retired: "is no longer needed",
  destroyed: "is being destroyed",
  removed: "has no container any more",
  forgotten: "is gone",
  annotated: "has new metadata",
  configuring: "is being configured by",
  configured: "was configured by",
  setup_failed: "could not be configured by",
  unconfigured: "has lost the configuration of",
  cleaned: "was cleaned, and has to answer again",
};

const KINDS = {
  assigns: { label: "Assigns and releases", causes: new Set(["assigned", "released", "expiring", "expired", "withdrawn", "annotated", "configuring", "configured", "unconfigured"]) },
  starts: { label: "Starts", causes: new Set(["created", "adopted", "moved", "answered", "restarted", "revived", "woken", "unparked", "cleaned"]) },
  failures: { label: "Failures", causes: new Set(["failed", "obstructed", "setup_failed"]) },
  ends: { label: "Ends", causes: new Set(["retired", "destroyed", "removed", "forgotten", "slept", "asleep", "parked"]) },
};

const NAMES_POOL = new Set(["created", "adopted"]);
const NAMES_PROJECT = new Set(["assigned", "released", "expired", "expiring", "withdrawn", "restarted", "slept", "woken", "configuring", "configured", "setup_failed", "unconfigured"]);

/** What an event says, in words that follow the machine's name. */
const inWords = ({ cause }) => WORDS[cause] ?? cause;

/** `isSeveral`: machines are of more than one pool. */
export function EventList({ events, isSeveral }) {
  return html`<ol class="events">
    ${events.map((event) => html`<${EventItem} key=${event.id} event=${event} isSeveral=${isSeveral} />`)}
  </ol>`;
}

/** Drawn once, since an event never changes. */
const EventItem = memo(({ event, isSeveral }) => {
  const { at, machine, pool, project, state, reason, cause } = event;
  return html`<li>
    <time datetime=${at} title=${exactly(at)}>${time(at)}</time>
    <${Mark} state=${wordOf(state, ownerAfter(event))} />
    <span class="what">
      ${state === null ? html`<code>${machine}</code>` : html`<a href="#/machines/${machine}"><code>${machine}</code></a>`}
      ${" "}${inWords(event)}${" "}
      ${project && NAMES_PROJECT.has(cause) && html`<strong>${project}</strong>`}${" "}
      ${isSeveral && NAMES_POOL.has(cause) && html`in pool <strong>${pool}</strong>`}${" "}
      ${saysMore(event) && html`<span class="muted reason">${coded(reason)}</span>`}
    </span>
  </li>`;
});

/** Those that were asked for. `text` is looked for in what an event says. Pure. */
function filtered(events, { text, kind, project }) {
  const wanted = text.toLowerCase();
  const says = (event) => `${event.machine} ${event.pool} ${inWords(event)} ${event.project ?? ""} ${event.reason} ${event.cause}`.toLowerCase();
  return events.filter((event) =>
    (!project || event.project === project) && (!kind || KINDS[kind]?.causes.has(event.cause)) && (!wanted || says(event).includes(wanted)));
}

/** What is asked for, kept in the address. */
function useAsked() {
  const { query } = useRoute();
  const read = () => ({ text: query.get("q") ?? "", kind: query.get("kind") ?? "", project: query.get("project") ?? "" });
  const [asked, setAsked] = useState(read);
  useEffect(() => setAsked(read()), [query]);
  const ask = (changes) => {
    const now = { ...asked, ...changes };
    setAsked(now);
    setQuery("events", { q: now.text, kind: now.kind, project: now.project });
  };
  return [asked, ask];
}

/** The events of one project as far back as the service keeps them, and what happened since; of all where there is none. */
function useEvents(live, project) {
  const [past, setPast] = useState({ project: "", events: [] });
  const { isLive, events } = live;
  useEffect(() => {
    if (!project || !isLive) return undefined;
    const stop = new AbortController();
    readEventsOf(project, stop.signal).then((found) => setPast({ project, events: found }), () => {}); // the last ones are shown
    return () => stop.abort();
  }, [project, isLive]);
  if (!project || past.project !== project) return events;
  const newest = past.events[0]?.id ?? 0;
  return [...events.filter((event) => event.id > newest), ...past.events];
}

export function Activity({ live }) {
  useLive(live);
  const [asked, ask] = useAsked();
  const all = useEvents(live, asked.project);
  const found = filtered(all, asked);
  const isFiltered = Boolean(asked.text || asked.kind || asked.project);
  return html`<div class="page activity">
    <div class="title">
      <h1>Activity</h1>
      <p class="muted" role="status">${isFiltered ? count(found.length, "event") : `The last ${number(all.length)} events, as they happen`}</p>
    </div>
    <${Tools} ...${{ live, asked, ask }} />
    ${found.length
      ? html`<div class="panel"><${EventList} events=${found.slice(0, SHOWN)} isSeveral=${live.pools.length > 1} /></div>`
      : isFiltered && live.isLive
        ? html`<p class="nothing muted">No event is like that. <button onClick=${() => ask({ text: "", kind: "", project: "" })}>Show all</button></p>`
        : html`<p class="nothing muted">${live.isLive ? "Nothing has happened yet." : "Loading…"}</p>`}
  </div>`;
}

function Tools({ live, asked, ask }) {
  const projects = new Set([asked.project, ...live.events.map((one) => one.project), ...[...live.machines.values()].map((one) => one.project)]);
  const names = [...projects].filter(Boolean).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  return html`<div class="tools">
    <input
      type="search" aria-label="Search activity" placeholder="Machine, project, reason" value=${asked.text}
      autocomplete="off" spellcheck=${false} onInput=${(event) => ask({ text: event.target.value })}
    />
    <label>Kind${" "}<select value=${asked.kind} onChange=${(event) => ask({ kind: event.target.value })}>
      <option value="">All</option>
      ${Object.entries(KINDS).map(([name, { label }]) => html`<option key=${name} value=${name}>${label}</option>`)}
    </select></label>
    <label>Project${" "}<select value=${asked.project} onChange=${(event) => ask({ project: event.target.value })}>
      <option value="">All</option>
      ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
    </select></label>
  </div>`;
}
