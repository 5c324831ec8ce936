// What a worker writes, live: it follows until the reader scrolls up, holds still then, and finds what is asked for.

import { count } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { LogList } from "./loglist.js";
import { LINES, LogStream } from "./logstream.js";

const FLUSH_MS = 100;
const PAUSE_PER_WORK = 5;
const NEAR_END_PX = 24;
const NOTHING = { lines: 0, held: 0, hits: 0, at: 0 };

/** `isActive`: whether it is on screen. It reads only then. `state` is the machine's: at a new one it looks again at once. */
export function Logs({ id, state, isActive }) {
  const box = useRef();
  const parts = useRef(null); // the list, what came since it was last painted, whether it follows
  const [phase, setPhase] = useState({ name: "connecting", message: "" });
  const [seen, setSeen] = useState(NOTHING);
  const [following, setFollowing] = useState(true);
  const [looks, setLooks] = useState({ times: false, wrap: true });
  const isVisible = useVisible();

  useEffect(() => {
    const made = { list: new LogList(box.current, LINES), held: [], follows: true, timer: 0, pauseMs: FLUSH_MS };
    made.flush = () => {
      const begun = performance.now();
      made.timer = 0;
      if (made.follows && made.held.length) {
        made.list.add(made.held);
        made.held = [];
        box.current.scrollTop = box.current.scrollHeight;
        made.pauseMs = Math.max(FLUSH_MS, (performance.now() - begun) * PAUSE_PER_WORK); // a flood leaves the page usable
      }
      setSeen({ lines: made.list.length, held: made.held.length, hits: made.list.hits, at: made.list.at });
    };
    made.stream = new LogStream(
      id,
      (lines) => {
        made.held.push(...lines);
        if (made.held.length > LINES) made.held.splice(0, made.held.length - LINES);
        made.timer ||= setTimeout(made.flush, made.pauseMs);
      },
      (name, message) => setPhase({ name, message }),
    );
    parts.current = made;
    return () => (made.stream.stop(), clearTimeout(made.timer));
  }, [id]);

  useEffect(() => {
    if (!isActive || !isVisible) return undefined;
    const { stream } = parts.current;
    stream.start();
    if (parts.current.follows) box.current.scrollTop = box.current.scrollHeight;
    return () => stream.stop();
  }, [id, isActive, isVisible, state]);

  const follow = (follows) => {
    parts.current.follows = follows;
    setFollowing(follows);
    if (follows) {
      parts.current.flush();
      box.current.scrollTop = box.current.scrollHeight;
    }
  };
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (clientHeight && isAtEnd !== parts.current.follows) follow(isAtEnd);
  };
  const search = (text) => {
    parts.current.list.search(text);
    parts.current.flush();
  };
  const step = (by) => {
    parts.current.list.step(by);
    parts.current.flush();
  };
  const toggle = (name) => setLooks((old) => ({ ...old, [name]: !old[name] }));

  return html`<section class="logs" aria-label="Logs">
    <div class="toolbar">
      <${Search} seen=${seen} onSearch=${search} onStep=${step} />
      <span class="spring"></span>
      <${Toggle} isOn=${following} onClick=${() => follow(!following)}>Follow<//>
      <${Toggle} isOn=${looks.times} onClick=${() => toggle("times")}>Timestamps<//>
      <${Toggle} isOn=${looks.wrap} onClick=${() => toggle("wrap")}>Wrap<//>
      <button disabled=${!seen.lines} onClick=${() => download(id, parts.current.list.text())}>Download</button>
    </div>
    <div class="log-frame">
      <div ref=${box} class=${`log${looks.times ? " with-times" : ""}${looks.wrap ? " wraps" : ""}`} role="log" aria-live="off"
        aria-label=${`Output of ${id}`} tabindex="0" onScroll=${onScroll}></div>
      ${seen.lines === 0 && html`<p class="empty">${blank(phase)}</p>`}
      ${!following && seen.held > 0 && html`<button class="primary log-new" onClick=${() => follow(true)}>${count(seen.held, "new line")} ↓</button>`}
    </div>
    <p class="footnote" role="status">${told(phase, seen, following)}</p>
  </section>`;
}

function Search({ seen, onSearch, onStep }) {
  const [text, setText] = useState("");
  const onInput = (event) => {
    setText(event.target.value);
    onSearch(event.target.value);
  };
  const onKeyDown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    onStep(event.shiftKey ? -1 : 1);
  };
  const place = seen.hits ? `${seen.at ? `${seen.at} of ` : ""}${count(seen.hits, "hit")}` : "No hits";
  return html`<search class="search">
    <input type="search" aria-label="Search the logs" placeholder="Search" value=${text} onInput=${onInput} onKeyDown=${onKeyDown} />
    ${text && html`<output aria-live="polite">${place}</output>
      <button class="icon" aria-label="Previous hit" disabled=${!seen.hits} onClick=${() => onStep(-1)}>↑</button>
      <button class="icon" aria-label="Next hit" disabled=${!seen.hits} onClick=${() => onStep(1)}>↓</button>`}
  </search>`;
}

const Toggle = ({ isOn, onClick, children }) => html`<button class="toggle" aria-pressed=${String(isOn)} onClick=${onClick}>${children}</button>`;

/** What stands where no line is yet. */
function blank({ name, message }) {
  if (name === "connecting") return "Reading…";
  return { lost: message, gone: "The machine is gone, and its output with it." }[name] ?? "The worker has written nothing so far.";
}

function told({ name, message }, { lines }, following) {
  const amount = lines >= LINES ? `The last ${LINES.toLocaleString("en")} lines` : count(lines, "line");
  if (name === "lost") return `${amount}. ${message} Trying again.`;
  if (name === "ended") return `${amount}. ${message || "The output has ended; more is shown as soon as there is any."}`;
  if (name === "gone") return `${amount}. The machine is gone.`;
  return name === "connecting" ? "Reading…" : `${amount}, ${following ? "live" : "held still"}.`;
}

function download(id, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  Object.assign(document.createElement("a"), { href: url, download: `${id}.log` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Whether this tab of the browser is looked at. */
function useVisible() {
  const [isVisible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const listener = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", listener);
    return () => document.removeEventListener("visibilitychange", listener);
  }, []);
  return isVisible;
}
