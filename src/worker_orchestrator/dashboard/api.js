// Calls of the service. Where it needs a token the browser has a cookie, which scripts cannot read, and this page a key, which
// no other page can read: only both together stand for the token.

// The service is where this file comes from, under whatever path a proxy shows it. Each path of an origin has a key of its own,
// since there may be a service behind each.
const SERVICE = new URL("..", import.meta.url);
const KEY = `orchestrator.session-key${SERVICE.pathname === "/" ? "" : ` ${SERVICE.pathname}`}`;
const AGAIN_MS = 150;

/** The URL of a path of the service, which begins with a slash. */
export const at = (path) => SERVICE.href + path.slice(1);

/** What the service refused, in its own words. `status` is 0 where nobody answered, `setup` tells of a set-up that failed. */
export class Problem extends Error {
  constructor(status, { code = "", title = "", detail = "", setup = null }, retryAfter = null) {
    super(detail || title || `The service answered ${status}.`);
    Object.assign(this, { status, code, title, setup, retryAfter });
  }
}

let onSignedOut = () => {};

/** `listener` is called when a call was refused because nobody is signed in. */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

function headersWith(headers) {
  const key = localStorage.getItem(KEY);
  return key ? { ...headers, "X-Session-Key": key } : headers;
}

/** A read is tried twice: a browser drops it where the computer's network changes, as with each container that starts. */
async function fetched(path, request, tries = request.method === "GET" ? 2 : 1) {
  try {
    return await fetch(at(path), request);
  } catch (error) {
    if (request.signal?.aborted) throw error;
    if (tries > 1) return new Promise((resolve) => setTimeout(resolve, AGAIN_MS)).then(() => fetched(path, request, tries - 1));
    throw new Problem(0, { code: "unreachable", detail: "The orchestrator cannot be reached." });
  }
}

/** The response, once its head is there; for streams. Throws a Problem where it is no success. */
export async function open(path, { method = "GET", body, headers = {}, signal } = {}) {
  const type = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await fetched(path, {
    method,
    signal,
    cache: "no-store",
    headers: headersWith({ Accept: "application/json", ...type, ...headers }),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  if (response.status === 401) onSignedOut();
  throw new Problem(response.status, told.title ? told : { title: told.error, detail: told.message }, response.headers.get("Retry-After"));
}

/** The JSON that this answers; null where it answers nothing. */
export async function call(path, options) {
  const response = await open(path, options);
  return response.status === 204 ? null : response.json();
}

/** A WebSocket. It can be given no headers, so the key goes as one of its protocols. */
export function socket(path) {
  const key = localStorage.getItem(KEY);
  const url = new URL(at(path));
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url, key ? ["orchestrator", `key.${key}`] : ["orchestrator"]);
}

/** `{required, signed_in}`. */
export const session = () => call("/login");

export async function signIn(token) {
  const { key } = await call("/login", { method: "POST", body: { token } });
  localStorage.setItem(KEY, key);
}

export async function signOut() {
  await call("/logout", { method: "POST" }).finally(() => localStorage.removeItem(KEY));
}
