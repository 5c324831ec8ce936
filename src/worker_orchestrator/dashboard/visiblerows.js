// Draws only the rows of a long list that are on screen: a change costs the same whether there are twenty machines or ten thousand.

import { useEffect, useLayoutEffect, useState } from "./html.js";

const SPARE = 4; // rows beyond each edge, so that scrolling shows no hole

/** `[first, last)` of the rows to draw, of `count` that are `rowPx` high each, in the element of `ref`, as the page is scrolled. */
export function useVisibleRows(ref, count, rowPx) {
  const [shown, setShown] = useState({ from: 0, to: 0 });
  const measure = () => {
    if (!ref.current) return;
    const top = ref.current.getBoundingClientRect().top;
    const from = Math.max(0, Math.floor(-top / rowPx));
    const to = Math.min(count, Math.ceil((innerHeight - top) / rowPx));
    setShown((old) => (old.from === from && old.to === to ? old : { from, to }));
  };
  useLayoutEffect(measure, [count, rowPx]);
  useEffect(() => {
    addEventListener("scroll", measure, { passive: true });
    addEventListener("resize", measure);
    return () => {
      removeEventListener("scroll", measure);
      removeEventListener("resize", measure);
    };
  }, [count, rowPx]);
  return { ...shown, first: Math.max(0, shown.from - SPARE), last: Math.min(count, shown.to + SPARE) };
}

/** Whether the screen is that narrow, now and when it is turned. */
export function useNarrow(px) {
  const [query] = useState(() => matchMedia(`(max-width: ${px}px)`));
  const [isNarrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const listener = () => setNarrow(query.matches);
    query.addEventListener("change", listener);
    return () => query.removeEventListener("change", listener);
  }, []);
  return isNarrow;
}
