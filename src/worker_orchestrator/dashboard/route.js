// The address says which view is shown, and how: `#/machines/{id}`, `#/machines?state=failed`. So it can be kept and sent.

import { useEffect, useState } from "./html.js";

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").map(decoded), query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `{parts, query}` of the address, now and whenever it changes. */
export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const listener = () => setRoute(read());
    addEventListener("hashchange", listener);
    return () => removeEventListener("hashchange", listener);
  }, []);
  return route;
}

/** Changes the query without a new entry in the history. Empty values are left out. */
export function setQuery(path, values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  history.replaceState(null, "", `#/${path}${query.size ? `?${query}` : ""}`);
}
