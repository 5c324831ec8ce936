// A dialog of the browser's own: it keeps the focus inside, closes with Escape, and gives the focus back.

import { ms } from "./format.js";
import { html, useEffect, useId, useRef, useState } from "./html.js";
import { coded } from "./told.js";

let shown = null; // {Asked, props}
let onChange = () => {};

/** Shows a component that is a dialog, with `onClose` besides these props, whatever becomes of the part of the page that asked. */
export function show(Asked, props) {
  shown = { Asked, props };
  onChange();
}

/** Where it is shown. */
export function Dialogs() {
  const [, again] = useState(0);
  useEffect(() => {
    onChange = () => again((n) => n + 1);
    return () => (shown = null);
  }, []);
  const own = shown;
  const close = () => {
    if (shown !== own) return; // another one is open by now
    shown = null;
    onChange();
  };
  return shown && html`<${shown.Asked} ...${shown.props} onClose=${close} />`;
}

/** Shown while it is rendered. `onClose()` is called when it is closed by whatever means. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  const onPointer = (event) => event.target === dialog.current && onClose();
  return html`<dialog ref=${dialog} aria-labelledby=${id} onClose=${onClose} onMouseDown=${onPointer}>
    <div class="dialog">
      <h2 id=${id}>${title}</h2>
      ${children}
    </div>
  </dialog>`;
}

/** What was refused, and why. The lines after the first are those of a log, and stay lines. */
function Refused({ message, setup }) {
  const [said, ...lines] = message.split("\n");
  const box = useRef(null);
  useEffect(() => box.current.scrollIntoView({ block: "nearest" }), [message]); // a long dialog scrolls
  return html`<div role="alert" ref=${box}>
    <p class="refused">${coded(said)}</p>
    ${lines.length > 0 && html`<pre tabindex="0" role="region" aria-label="Last log lines">${lines.join("\n")}</pre>`}
    ${setup && html`<${FailedSetup} ...${setup} />`}
  </div>`;
}

/** How the command that sets a worker up ended, if it was run, and what it wrote last. The service left out what is secret. */
const FailedSetup = ({ exit_code: code, ms: took, output }) => html`<p class="muted">${code === null ? "It took" : `Exit code ${code}, after`} ${ms(took)}.</p>
  ${output && html`<pre tabindex="0" role="region" aria-label="Last lines of the set-up">${output}</pre>`}`;

/** A key that was pressed on another page, and is still held down, confirms nothing here. */
const stopHeldKey = (event) => event.repeat && event.key === "Enter" && event.preventDefault();

const TO_READ_MS = 700;

/** Whether a person has had the time to see what another page led to: a second click of a double one is no answer. */
export function useSeen(isLed) {
  const [isSeen, setSeen] = useState(!isLed);
  useEffect(() => {
    if (!isLed) return undefined;
    let timer;
    const begin = () => {
      clearTimeout(timer);
      setSeen(false);
      timer = setTimeout(() => setSeen(true), TO_READ_MS);
    };
    begin();
    addEventListener("focus", begin); // it may have been opened behind another window
    return () => (clearTimeout(timer), removeEventListener("focus", begin));
  }, []);
  return isSeen;
}

/**
 * Asks, does it, and closes; stays open and says why where it fails. `act(signal)` returns a promise, and `signal` is aborted
 * where the dialog is closed meanwhile; `action` names it, `busy` says what is waited for.
 * `children` say what it means, or are the fields of what is asked for.
 */
export function ActDialog({ title, action, isDanger = false, isReady = true, busy = "Working…", act, onClose, children }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [stop] = useState(() => new AbortController());
  useEffect(() => () => stop.abort(), []);
  const submit = async (event) => {
    event.preventDefault();
    if (isBusy || !isReady) return;
    setBusy(true);
    setProblem(null);
    try {
      await act(stop.signal);
      onClose();
    } catch (failure) {
      if (failure.name === "AbortError") return;
      setProblem(failure);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${submit} onKeyDown=${stopHeldKey} aria-busy=${isBusy}>
      ${children}
      ${problem && html`<${Refused} message=${problem.message} setup=${problem.setup} />`}
      <div class="choices">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class=${isDanger ? "primary danger" : "primary"} disabled=${isBusy || !isReady}>
          ${isBusy ? busy : action}
        </button>
      </div>
    </form>
  <//>`;
}
