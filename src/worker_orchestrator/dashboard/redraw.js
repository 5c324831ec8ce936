// When a component is drawn again.

import { useEffect, useReducer } from "./html.js";

/** Whenever something changed. */
export function useLive(live) {
  const [, again] = useReducer((n) => n + 1, 0);
  useEffect(() => live.subscribe(again), [live]);
}

/** Every so many milliseconds, for what only time changes. Returns the time, in milliseconds since 1970. */
export function useClock(everyMs) {
  const [, again] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || again(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return Date.now();
}
