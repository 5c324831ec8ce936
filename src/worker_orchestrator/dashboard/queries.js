// Reads the present state from the service. What changes from then on comes as events.

import { call, open } from "./api.js";
import { readEvents } from "./eventstream.js";

const PAGE = 1000;

/** All machines, however many. */
export async function readMachines(signal) {
  const all = [];
  for (let after = ""; after !== null; ) {
    const page = await call(`/v1/machines?limit=${PAGE}&after=${encodeURIComponent(after)}`, { signal });
    all.push(...page.machines);
    after = page.next;
  }
  return all;
}

/** One machine; null where there is none. */
export async function readMachine(id, signal) {
  try {
    return await call(`/v1/machines/${encodeURIComponent(id)}`, { signal });
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

export async function readPools(signal) {
  const [{ pools }, health] = await Promise.all([call("/v1/pools", { signal }), call("/v1/health", { signal })]);
  return { pools: pools.map(dated), health };
}

/** A pool with `retry_at`: when the brake lets go, by this computer's clock. */
export function dated(pool) {
  if (!pool.back_off) return pool;
  return { ...pool, back_off: { ...pool.back_off, retry_at: Date.now() + pool.back_off.retry_in_seconds * 1000 } };
}

/** The events after this one that are kept, newest first. */
export const readPastEvents = (after, signal) => readKept(`after=${after}`, signal);

/** The events of one project that are kept, newest first. */
export const readEventsOf = (project, signal) => readKept(`project=${encodeURIComponent(project)}`, signal);

async function readKept(query, signal) {
  const response = await open(`/v1/events?follow=false&${query}`, { signal, headers: { Accept: "text/event-stream" } });
  const past = [];
  await readEvents(response, ({ event, data }) => data && event !== "reset" && past.unshift(JSON.parse(data)));
  return past;
}
