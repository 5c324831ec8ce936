// Loads parts of the page when they are needed first: a view with its styles, a library.
//
// When the network changes, a browser drops what it is loading, and may never ask for the same module again in this page. So we
// ask for it under another name, and in the end load the page anew. We wait until the service answers before we do: otherwise
// nothing of the page would be left.

import { at } from "./api.js";
import { html, useEffect, useState } from "./html.js";

const TRIES = 3;
const PAUSE_MS = 500;
const RELOADED = "orchestrator.reloaded";
const SELDOM_MS = 30_000;

/** The module at this path below assets. */
export async function load(path) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await import(tries ? `./${path}?${tries}` : `./${path}`);
    } catch (error) {
      if (tries === TRIES) return startOver(error);
      await answering();
    }
  }
}

/** Return after a pause, and not before the service answers. */
async function answering() {
  do await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  while (!(await fetch(at("/livez"), { cache: "no-store" }).then(() => true, () => false)));
}

function startOver(error) {
  const last = Number(sessionStorage.getItem(RELOADED));
  if (Date.now() - last < SELDOM_MS) throw error;
  sessionStorage.setItem(RELOADED, Date.now());
  location.reload();
  return new Promise(() => {});
}

async function style(path) {
  while (!(await linked(path))) await answering();
}

/** Whether the style sheet came. */
function linked(path) {
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL(path, import.meta.url).href });
  const isLoaded = new Promise((resolve) => {
    link.onload = () => resolve(true);
    link.onerror = () => (link.remove(), resolve(false));
  });
  document.head.append(link);
  return isLoaded;
}

/** A component that is loaded when it is first shown: `name` of the module `{file}.js`, which has its styles in `{file}.css`. */
export function lazy(file, name) {
  let Loaded = null;
  let loading;
  const begin = () =>
    (loading ??= Promise.all([load(`${file}.js`), style(`${file}.css`)]).then(([module]) => {
      Loaded = module[name];
    }));
  const Lazy = (props) => {
    const [, again] = useState(0);
    useEffect(() => {
      if (!Loaded) begin().then(() => again(1));
    }, []);
    return Loaded ? html`<${Loaded} ...${props} />` : html`<div class="page muted" role="status">Loading…</div>`;
  };
  return Object.assign(Lazy, { begin });
}
