// A terminal in the worker. It says how it ended, and opens a new one by nobody's word but the reader's: what ran in it is gone.

import { call, open, socket } from "./api.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { openScreen } from "./screen.js";

const FRAME_BYTES = 64 * 1024;
const WITHOUT_STATUS = 1005;
const LOADING = { name: "opening", message: "Opening…" };

export function Terminal({ id, isActive }) {
  const box = useRef();
  const screen = useRef(null);
  const [command, setCommand] = useState("sh");
  const [asked, setAsked] = useState({ command: "sh", number: 0 });
  const [phase, setPhase] = useState(LOADING);
  const [readsAloud, setReadsAloud] = useState(false);

  useEffect(() => {
    setPhase(LOADING);
    const session = connect(box.current, id, asked.command, { readsAloud, onPhase: setPhase, onScreen: (made) => (screen.current = made) });
    return () => session.close();
  }, [id, asked]);
  useEffect(() => {
    if (isActive && phase.name === "open" && !isOnTabs()) screen.current?.focus();
  }, [isActive]);

  const isOver = phase.name === "ended" || phase.name === "refused";
  const again = (event) => {
    event.preventDefault();
    setAsked({ command: command.trim() || "sh", number: asked.number + 1 });
  };
  const onReadAloud = () => {
    screen.current?.readAloud(!readsAloud);
    setReadsAloud(!readsAloud);
  };
  return html`<section class="terminal" aria-label="Terminal">
    <form class="toolbar" onSubmit=${again}>
      <label class="command"><span>Command</span>
        <input value=${command} spellcheck=${false} autocapitalize="off" autocomplete="off" onInput=${(event) => setCommand(event.target.value)} />
      </label>
      <button class=${isOver ? "primary" : ""}>${isOver ? "Open a new one" : "Start anew"}</button>
    </form>
    <div class=${`screen ${isOver ? "is-over" : ""}`} ref=${box}></div>
    <div class="below">
      <p class=${`footnote ${phase.name === "refused" ? "is-problem" : ""}`} role="status">${phase.message}</p>
      <button class="toggle" aria-pressed=${String(readsAloud)} onClick=${onReadAloud}>Screen reader mode</button>
    </div>
  </section>`;
}

/** A screen in `box`, joined to a command in the worker. */
function connect(box, id, command, { readsAloud, onPhase, onScreen }) {
  const words = command.split(/\s+/);
  let screen = null, line = null, isClosed = false;
  const send = (data) => line?.readyState === WebSocket.OPEN && line.send(data);
  const onBytes = (bytes) => {
    for (let at = 0; at < bytes.length; at += FRAME_BYTES) send(bytes.subarray(at, at + FRAME_BYTES));
  };
  const onSize = (columns, rows) => send(JSON.stringify({ columns, rows }));

  const begin = async () => {
    screen = await openScreen(box, { onBytes, onSize, readsAloud });
    if (isClosed) return screen.close();
    onScreen(screen);
    const { columns, rows } = screen;
    const query = new URLSearchParams({ columns, rows });
    words.forEach((word) => query.append("command", word));
    line = socket(`/v1/machines/${encodeURIComponent(id)}/terminal?${query}`);
    line.binaryType = "arraybuffer";
    let wasOpen = false, exitCode;
    line.onopen = () => {
      wasOpen = true;
      onPhase({ name: "open", message: "Esc, then Tab leaves the terminal. What runs here is killed when you leave the page." });
      if (screen.columns !== columns || screen.rows !== rows) onSize(screen.columns, screen.rows);
      if (!isOnTabs()) screen.focus();
    };
    line.onmessage = ({ data }) => {
      if (typeof data === "string") exitCode = JSON.parse(data).exit_code;
      else screen.write(new Uint8Array(data));
    };
    line.onclose = async ({ code }) => {
      if (isClosed) return;
      screen.freeze();
      if (wasOpen) return onPhase({ name: "ended", message: ending(exitCode, code) });
      const message = await reason(id, words);
      if (!isClosed) onPhase({ name: "refused", message });
    };
  };
  begin().catch((error) => isClosed || onPhase({ name: "refused", message: `The terminal could not be loaded: ${error.message ?? "no answer"}.` }));
  return {
    close() {
      isClosed = true;
      line?.close();
      screen?.close();
      onScreen(null);
    },
  };
}

/** Whoever goes through the tabs by the arrow keys stays there: in the terminal these keys are the program's. */
const isOnTabs = () => document.activeElement?.matches('[role="tab"]:focus-visible') ?? false;

function ending(exitCode, code) {
  if (exitCode === 0) return "It ended.";
  if (exitCode !== undefined) return exitCode === null ? "It ended; its exit code is not known." : `It ended with exit code ${exitCode}.`;
  if (code === WITHOUT_STATUS) return "It ended.";
  return "The connection is lost, and what ran in it was killed.";
}

/** Why it was refused. A WebSocket does not tell, so the same is asked for without one. */
async function reason(id, words) {
  const path = `/v1/machines/${encodeURIComponent(id)}`;
  try {
    await open(`${path}/terminal`);
  } catch (problem) {
    if (problem.code !== "upgrade_required") return problem.message;
  }
  try {
    const done = await call(`${path}/exec`, { method: "POST", body: { command: ["sh", "-c", 'command -v -- "$1"', "sh", words[0]], timeout_seconds: 5 } });
    if (done.exit_code) return `There is no ${words[0]} in this worker.`;
  } catch (problem) {
    return problem.message;
  }
  return "No WebSocket could be opened, though the service would take it: a proxy in between must pass on Upgrade and Connection.";
}
