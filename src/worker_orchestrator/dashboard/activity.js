// What just happened, newest first: the events of all machines in words.

import { exactly, time } from "./format.js";
import { html } from "./html.js";
import { useLive } from "./live.js";
import { Mark, wordOf } from "./mark.js";

const WORDS = {
  created: "is being started",
  adopted: "was found running, and taken on",
  moved: "moved to another port",
  answered: "answers, and is ready",
  assigned: "was given to",
  released: "was given back",
  withdrawn: "was taken back: nobody waited for it any more",
  restarted: "is being restarted in place",
  revived: "runs again",
  failed: "failed",
  retired: "is no longer needed",
  destroyed: "is being destroyed",
  removed: "has no container any more",
  forgotten: "is gone",
  annotated: "has new metadata",
};

const SAYS_NOTHING_NEW = new Set(["", "new", "answered", "assigned"]);
const says = ({ reason }) => !SAYS_NOTHING_NEW.has(reason);

/** What an event says, in words that follow the machine's name. */
export const inWords = ({ cause }) => WORDS[cause] ?? cause;

export function EventList({ events }) {
  return html`<ol class="events">
    ${events.map((event) => {
      const { id, at, machine, project, state, reason, cause } = event;
      return html`<li key=${id}>
        <time datetime=${at} title=${exactly(at)}>${time(at)}</time>
        <${Mark} state=${wordOf(state, project)} />
        <span class="what">
          ${state === null ? html`<code>${machine}</code>` : html`<a href="#/machines/${machine}"><code>${machine}</code></a>`}
          ${" "}${inWords(event)}${" "}
          ${cause === "assigned" && html`<strong>${project}</strong>`}${" "}
          ${says(event) && html`<span class="muted reason">${reason}</span>`}
        </span>
      </li>`;
    })}
  </ol>`;
}

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
