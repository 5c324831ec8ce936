// What just happened, newest first: the events of all machines in words.

import { ownerAfter } from "./fleet.js";
import { exactly, time } from "./format.js";
import { html } from "./html.js";
import { useLive } from "./live.js";
import { memo } from "./memo.js";
import { saysMore } from "./reasons.js";
import { Mark, wordOf } from "./statemark.js";

const WORDS = {
  created: "is being started",
  adopted: "was found running, and taken on",
  moved: "moved to another port",
  answered: "answers, and is ready",
  assigned: "was given to",
  released: "was given back by",
  withdrawn: "was taken back, as nobody waited for it, from",
  restarted: "is being restarted in place for",
  revived: "runs again",
  failed: "failed",
  obstructed: "cannot be started now",
  retired: "is no longer needed",
  destroyed: "is being destroyed",
  removed: "has no container any more",
  forgotten: "is gone",
  annotated: "has new metadata",
};

const NAMES_PROJECT = new Set(["assigned", "released", "withdrawn", "restarted"]);

/** What an event says, in words that follow the machine's name. */
const inWords = ({ cause }) => WORDS[cause] ?? cause;

export function EventList({ events }) {
  return html`<ol class="events">
    ${events.map((event) => html`<${EventItem} key=${event.id} event=${event} />`)}
  </ol>`;
}

/** Drawn once, since an event never changes. */
const EventItem = memo(({ event }) => {
  const { at, machine, project, state, reason, cause } = event;
  return html`<li>
    <time datetime=${at} title=${exactly(at)}>${time(at)}</time>
    <${Mark} state=${wordOf(state, ownerAfter(event))} />
    <span class="what">
      ${state === null ? html`<code>${machine}</code>` : html`<a href="#/machines/${machine}"><code>${machine}</code></a>`}
      ${" "}${inWords(event)}${" "}
      ${project && NAMES_PROJECT.has(cause) && html`<strong>${project}</strong>`}${" "}
      ${saysMore(event) && html`<span class="muted reason">${reason}</span>`}
    </span>
  </li>`;
});

export function Activity({ live }) {
  useLive(live);
  return html`<div class="page activity">
    <div class="title">
      <h1>Activity</h1>
      <p class="muted">The last ${live.events.length} events, as they happen</p>
    </div>
    ${live.events.length
      ? html`<div class="panel"><${EventList} events=${live.events} /></div>`
      : html`<p class="nothing muted">${live.isLive ? "Nothing has happened yet." : "Loading…"}</p>`}
  </div>`;
}
