// Where the page begins: who is not signed in signs in; then the frame, the view that the address names, and what happens live.

import { Activity } from "./activity.js";
import { at, session, signOut, whenSignedOut } from "./api.js";
import { Brand } from "./brand.js";
import { ConnectionBanner, ConnectionMark } from "./connection.js";
import { Dialogs } from "./dialog.js";
import { html, render, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { lazy } from "./lazy.js";
import { Live, useLive } from "./live.js";
import { Login } from "./login.js";
import { Notices } from "./notice.js";
import { Overview } from "./overview.js";
import { useRoute } from "./route.js";

const Machines = lazy("machines", "Machines");
const MachinePage = lazy("machine", "MachinePage"); // it comes with a terminal and more
const SOON_MS = 1500;

const VIEWS = [
  ["", "Overview", Overview],
  ["machines", "Machines", Machines],
  ["events", "Activity", Activity],
];

function App() {
  const [state, setState] = useState(null); // {required, signed_in}
  const [isAway, setAway] = useState(false);
  const ask = async () => {
    try {
      setState(await session());
      setAway(false);
    } catch {
      setAway(true);
      setTimeout(ask, 2000);
    }
  };
  useLayoutEffect(() => {
    whenSignedOut(() => setState({ required: true, signed_in: false }));
    ask();
  }, []);
  if (!state) return html`<${Beginning} isAway=${isAway} />`;
  if (!state.signed_in) return html`<${Login} onSignedIn=${() => setState({ required: true, signed_in: true })} />`;
  return html`<${Frame} canSignOut=${state.required} onSignedOut=${() => setState({ required: true, signed_in: false })} />`;
}

/** What is there before it is known who asks. */
function Beginning({ isAway }) {
  return html`<header class="top"><span class="brand"><${Brand} size=${20} /><span>Worker Orchestrator</span></span></header>
    <main class="alone muted"><p role="status">${isAway ? "The orchestrator cannot be reached. Trying again…" : ""}</p></main>`;
}

function Frame({ canSignOut, onSignedOut }) {
  const [live] = useState(() => new Live());
  useLayoutEffect(() => {
    live.start();
    const soon = setTimeout(Machines.begin, SOON_MS);
    return () => {
      clearTimeout(soon);
      live.stop();
    };
  }, []);
  const { parts } = useRoute();
  const [name, id] = parts;
  const leave = () => signOut().catch(() => {}).then(onSignedOut);
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/" aria-label="Worker Orchestrator">
        <${Brand} size=${20} /><span>Worker Orchestrator</span>
      </a>
      <nav aria-label="Views">
        ${VIEWS.map(
          ([path, title]) => html`<a key=${path} href=${`#/${path}`} aria-current=${path === name ? "page" : undefined}>${title}</a>`,
        )}
      </nav>
      <div class="end">
        <${ConnectionMark} live=${live} />
        <a class="api" href=${at("/docs")}>API</a>
        ${canSignOut && html`<button class="plain" onClick=${leave}>Sign out</button>`}
      </div>
    </header>
    <${ConnectionBanner} live=${live} />
    <${View} name=${name} id=${id} live=${live} />
    <${Dialogs} />
    <${Notices} />`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

/** The view, dimmed while what it shows may be old. */
function View({ name, id, live }) {
  useLive(live);
  const main = useRef(null);
  const isFirst = useRef(true);
  const [, title, Shown] = VIEWS.find(([path]) => path === name) ?? [];
  const project = live.machines.get(id)?.project;
  useEffect(() => {
    document.title = `${project ?? id ?? title ?? "Not found"} · Worker Orchestrator`;
  }, [name, id, project]);
  useEffect(() => {
    if (!isFirst.current) main.current.focus({ preventScroll: true });
    if (!isFirst.current) scrollTo(0, 0);
    isFirst.current = false;
  }, [name, id]);
  const content =
    name === "machines" && id
      ? html`<${MachinePage} key=${id} id=${id} live=${live} />`
      : Shown
        ? html`<${Shown} live=${live} />`
        : html`<div class="page"><h1>Nothing is here</h1><p class="muted"><a href="#/">Go to the overview</a></p></div>`;
  return html`<main id="main" tabindex="-1" ref=${main} class=${live.health && !live.isLive ? "stale" : ""}>${content}</main>`;
}

render(html`<${App} />`, document.getElementById("app"));
