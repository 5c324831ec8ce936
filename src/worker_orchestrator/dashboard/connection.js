// Whether what is shown is how things are, said plainly: nobody should act on old numbers.

import { age, time } from "./format.js";
import { html } from "./html.js";
import { useClock, useLive } from "./live.js";
import { Mark } from "./statemark.js";

/** Why nothing can be done just now, or nothing; for the title of a button. */
export const obstacle = (live) => (live.isLive ? undefined : "Not while the orchestrator cannot be reached");

export function ConnectionMark({ live }) {
  useLive(live);
  const { state } = live.connection;
  return html`<span class="connection" role="status" aria-label="Connection">
    ${state === "live" && html`<${Mark} state="live" shape="ok">Live<//>`}
    ${state === "connecting" && html`<${Mark} state="connecting" shape="starting">Connecting<//>`}
    ${state === "lost" && html`<${Mark} state="lost" shape="failed">Not connected<//>`}
  </span>`;
}

export function ConnectionBanner({ live }) {
  useLive(live);
  const now = useClock(1000);
  const { state, since } = live.connection;
  if (state !== "lost") return null;
  return html`<div class="banner" role="alert">
    <p>
      <strong>The orchestrator cannot be reached.</strong>${" "}
      What is below is from ${time(since)}<span aria-hidden="true">, ${age(now - since)} ago</span>. Trying again by itself.
    </p>
    <button onClick=${() => live.retry()}>Try now</button>
  </div>`;
}
