// The life of one machine, from its events: what is on record, and what happens meanwhile.

import { open } from "./api.js";
import { readEvents } from "./eventstream.js";
import { ownerAfter } from "./fleet.js";
import { age, exactly, ms, time } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { saysMore } from "./reasons.js";
import { Mark, wordOf } from "./statemark.js";
import { coded } from "./told.js";

const KEPT = 500;
const TITLES = {
  created: "Created", adopted: "Found again", moved: "Moved to another port", answered: "Answered", assigned: "Assigned",
  released: "Released", expired: "Expired", withdrawn: "Withdrawn", restarted: "Restarted", revived: "Came back", failed: "Failed", retired: "Retired",
  obstructed: "Held up", destroyed: "Destroyed", removed: "Container removed", forgotten: "Forgotten", annotated: "Metadata set",
  expiring: "Ends soon", slept: "Put to sleep", asleep: "Asleep", woken: "Woken", parked: "Parked", unparked: "Parked no more",
  configuring: "Being configured", configured: "Configured", setup_failed: "Set-up failed", unconfigured: "Configuration lost", cleaned: "Cleaned",
};

const SAY_AGAIN = new Set(["restarted", "failed", "setup_failed"]); // each of them is a death of its own, also for the same reason

const PREPOSITIONS = {
  assigned: "to", released: "by", expired: "of", restarted: "for", withdrawn: "from", destroyed: "of", woken: "for", configuring: "by",
  configured: "by", setup_failed: "for", unconfigured: "of",
};

/** `{events, isRead, problem}`: those of the machine that are kept, oldest first. The page's own events go on where these end;
 *  after an outage they are read again from there. */
export function useLife(id, live) {
  const [past, setPast] = useState({ id, events: [], isRead: false, problem: "" });
  const { state, since } = live.connection;
  useEffect(() => {
    const abort = new AbortController();
    readLife(id, abort.signal).then(
      (events) => setPast({ id, events, isRead: true, problem: "" }),
      (error) => error.name === "AbortError" || setPast((old) => ({ ...old, problem: error.message })),
    );
    return () => abort.abort();
  }, [id, state === "live" ? since : 0]);
  const own = past.id === id ? past : { events: [], isRead: false, problem: "" };
  const newest = own.events.at(-1)?.id ?? 0;
  const later = live.events.filter((event) => event.machine === id && event.id > newest).reverse();
  useEffect(() => {
    if (own.isRead && later.length) setPast((old) => ({ ...old, events: [...old.events, ...later].slice(-KEPT) }));
  });
  return { ...own, events: [...own.events, ...later] };
}

async function readLife(id, signal) {
  const path = `/v1/events?follow=false&machine=${encodeURIComponent(id)}`;
  const events = [];
  await readEvents(await open(path, { signal, headers: { Accept: "text/event-stream" } }), ({ event, data }) => {
    if (data && event !== "reset") events.push(JSON.parse(data));
  });
  return events.slice(-KEPT);
}

export function Timeline({ life }) {
  const { events, isRead, problem } = life;
  const newestFirst = events.map((event, index) => ({ event, before: events[index - 1] })).reverse();
  return html`<section class="panel life" aria-labelledby="life-title">
    <h2 id="life-title">Its life</h2>
    ${problem && html`<p class="muted" role="status">${problem}</p>`}
    ${!isRead && !problem && html`<p class="muted">Reading…</p>`}
    ${isRead && !events.length && html`<p class="muted">No event of it is kept any more.</p>`}
    <ol class="timeline">${newestFirst.map(({ event, before }) => html`<${Moment} key=${event.id} event=${event} before=${before} />`)}</ol>
  </section>`;
}

function Moment({ event, before }) {
  const state = event.cause === "removed" ? "gone" : wordOf(event.state, ownerAfter(event));
  const title = TITLES[event.cause] ?? event.cause;
  const isNews = event.reason !== before?.reason || SAY_AGAIN.has(event.cause);
  const isSaid = saysMore(event) && event.reason !== event.cause && isNews;
  const whose = PREPOSITIONS[event.cause] && event.project;
  return html`<li>
    <${Mark} state=${state}>${title}<//>
    <div class="what">${whose && html`<span>${PREPOSITIONS[event.cause]} <code>${whose}</code></span>`}
      ${isSaid && html`<span class="muted">${coded(event.reason)}</span>`}</div>
    <div class="when"><time datetime=${event.at} title=${exactly(event.at)}>${time(event.at)}</time>
      <span class="muted">${before && `+${since(before.at, event.at)}`}</span></div>
  </li>`;
}

function since(from, to) {
  const passed = Date.parse(to) - Date.parse(from);
  return passed < 10_000 ? ms(passed).replace(/^0\.00 ms$/, "0 ms") : age(passed);
}
