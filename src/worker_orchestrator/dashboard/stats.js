// What workers use, read every five seconds for those that somebody looks at, once for all who look; not in a hidden tab.
//
// A series is bounded: a quarter of an hour per machine, and so many machines. One that is out of sight keeps its last points
// for a while, so that scrolling back shows no empty picture. It begins with what the service knows of before.

import { call } from "./api.js";
import { useEffect, useState } from "./html.js";

const EVERY_MS = 5000;
const PAST_S = 900;
const POINTS = (PAST_S * 1000) / EVERY_MS;
const MACHINES = 200;
const AT_ONCE = 3; // of the six connections that a browser has for one service
const NOTHING = { points: [], last: null, problem: null };

const series = new Map(); // id → {points, last, problem}, the one looked at last stands last
const watched = new Map(); // id → listeners
const reading = new Map(); // id → what ends the reading that is under way
let timer = null;
let isReading = false;
let isSupported = true;

/**
 * Calls `listener({points, last, problem})` now and after each reading of this machine; returns what ends that.
 * A point is `{at, cpu, memory, received, sent}`; `last` is the whole reply, `problem` why there is none.
 */
export function watchStats(id, listener) {
  const listeners = watched.get(id) ?? new Set();
  watched.set(id, listeners.add(listener));
  listener(series.get(id) ?? NOTHING);
  schedule(series.has(id) ? EVERY_MS : 50);
  return () => {
    listeners.delete(listener);
    if (listeners.size) return;
    watched.delete(id);
    reading.get(id)?.abort(); // it may be about to fail, since the worker is no more
  };
}

/** The same as a hook; nothing is read where `id` is null. */
export function useStats(id) {
  const [stats, setStats] = useState(NOTHING);
  useEffect(() => (id ? watchStats(id, setStats) : setStats(NOTHING)), [id]);
  return stats;
}

/** The engine may measure nothing at all. */
export const areStatsSupported = () => isSupported;

function schedule(delay) {
  if (!isSupported || isReading || document.hidden) return;
  if (timer !== null && delay >= EVERY_MS) return;
  clearTimeout(timer);
  timer = setTimeout(readAll, delay);
}

async function readAll() {
  timer = null;
  isReading = true;
  const begunAt = Date.now();
  const ids = [...watched.keys()];
  const readers = Array.from({ length: AT_ONCE }, async () => {
    for (let id = ids.pop(); id !== undefined && isSupported && !document.hidden; id = ids.pop()) if (watched.has(id)) await read(id);
  });
  await Promise.all(readers);
  isReading = false;
  const isNewcomer = [...watched.keys()].some((id) => !series.has(id));
  if (watched.size) schedule(isNewcomer ? 50 : Math.max(500, EVERY_MS - 1 - (Date.now() - begunAt)));
}

async function read(id) {
  const before = series.get(id) ?? NOTHING;
  const stop = new AbortController();
  reading.set(id, stop);
  let told;
  try {
    const isFirst = !before.points.length;
    const used = await call(`/v1/machines/${id}/stats${isFirst ? `?past_seconds=${PAST_S}` : ""}`, { signal: AbortSignal.any([stop.signal, AbortSignal.timeout(EVERY_MS)]) });
    const now = Date.now();
    const past = (used.past ?? []).map((one) => pointOf(one, Date.parse(one.at))).filter(({ at }) => at < now);
    const points = [...before.points, ...past, pointOf(used, now)].slice(-POINTS);
    told = { points, last: used, problem: null };
  } catch (problem) {
    if (stop.signal.aborted) return;
    if (problem.status === 501) isSupported = false;
    told = { points: before.points, last: null, problem };
  } finally {
    reading.delete(id);
  }
  keep(id, told);
  for (const listener of watched.get(id) ?? []) listener(told);
}

const pointOf = ({ cpu_percent: cpu, memory_bytes: memory, received_bytes: received, sent_bytes: sent }, at) => ({ at, cpu, memory, received, sent });

function keep(id, told) {
  series.delete(id);
  series.set(id, told);
  for (const other of series.keys()) {
    if (series.size <= MACHINES) return;
    if (!watched.has(other)) series.delete(other);
  }
}

document.addEventListener("visibilitychange", () => {
  if (watched.size) schedule(50);
});
