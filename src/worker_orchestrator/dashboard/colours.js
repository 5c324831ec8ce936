// The colours of style.css, as a canvas needs them: computed, for the scheme that is on.

import { useEffect, useState } from "./html.js";

let probe;

/** `name` is a token (`idle`), or `idle/30` for 30 % of it on a panel. */
export function colour(name) {
  probe ??= document.body.appendChild(Object.assign(document.createElement("i"), { hidden: true }));
  const [token, share] = name.split("/");
  probe.style.color = share ? `color-mix(in srgb, var(--${token}) ${share}%, var(--panel))` : `var(--${token})`;
  return getComputedStyle(probe).color;
}

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Which scheme is on; draws again when that changes. */
export function useScheme() {
  const [isDark, setDark] = useState(dark.matches);
  useEffect(() => {
    const listener = () => setDark(dark.matches);
    dark.addEventListener("change", listener);
    return () => dark.removeEventListener("change", listener);
  }, []);
  return isDark ? "dark" : "light";
}
