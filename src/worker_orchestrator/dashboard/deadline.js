// The deadlines of assignments in words. Pure.

import { age, exactly } from "./format.js";

const MINUTE_MS = 60_000;

/** What each deadline counts. */
const COUNTED = {
  ttl: "since it was last asked for or kept",
  idle_timeout: "since it was last used",
  max_age: "since it was assigned",
  confirm_within: "since it was assigned, unless it is used",
};

/** `in 12 min`: to the minute, and to the second only in the last one. */
export function left(until, now) {
  const ms = Date.parse(until) - now;
  return ms > MINUTE_MS ? `in ${age(Math.floor(ms / MINUTE_MS) * MINUTE_MS)}` : ms > 0 ? `in ${age(ms + 999)}` : "now";
}

/** Whether the next deadline comes later if the project uses its machine or keeps it. */
export const canBePutOff = (lease) => lease?.expires_by !== "max_age";

/** When the project loses its machine, as short as a list needs it; empty where no deadline is to come. */
export const ends = (lease, now) => (lease?.expires_at ? `ends ${left(lease.expires_at, now)}` : "");

/** For a title: which deadline it is, when exactly, and the last activity. */
export function endsInWords(lease) {
  if (!lease?.expires_at) return undefined;
  const { expires_at: at, expires_by: by, last_active_at: activeAt } = lease;
  const limit = lease[by] ? `${age(lease[by] * 1000)} ${COUNTED[by] ?? ""}` : "";
  return `Ends ${exactly(at)} (${by}: ${limit.trim()}). ${activeAt ? `Last active ${exactly(activeAt)}.` : "No activity is known."}`;
}
