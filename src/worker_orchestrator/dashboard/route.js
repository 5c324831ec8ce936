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

/** The address of a view with the query as it is, but for these values. Empty ones are left out. Pure. */
export function hrefWith(path, query, changes) {
  const now = withoutEmpty({ ...Object.fromEntries(query), ...changes });
  return `#/${path}${now.size ? `?${now}` : ""}`;
}

/** Changes some values of the query of the view that is shown, without a new entry in the history. */
export function changeQuery(path, changes) {
  history.replaceState(null, "", hrefWith(path, read().query, changes));
  dispatchEvent(new Event("hashchange")); // other parts of the view have links with this query
}

const withoutEmpty = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value));

/** Changes the query without a new entry in the history. Empty values are left out. */
export function setQuery(path, values) {
  const query = withoutEmpty(values);
  history.replaceState(null, "", `#/${path}${query.size ? `?${query}` : ""}`);
}
