// Says what was done, for some seconds, to eyes and to a screen reader.

import { html, useEffect, useState } from "./html.js";
import { coded } from "./told.js";

const SHOWN_MS = 5000;
const MOST = 3;

let notices = [];
let onChange = () => {};
let count = 0;

/** `text` may hold elements; `isProblem` keeps it until it is dismissed. */
export function say(text, { isProblem = false } = {}) {
  const notice = { id: (count += 1), text, isProblem };
  notices = [...notices, notice].slice(-MOST);
  onChange();
  if (!isProblem) setTimeout(() => dismiss(notice.id), SHOWN_MS);
}

function dismiss(id) {
  notices = notices.filter((one) => one.id !== id);
  onChange();
}

export function Notices() {
  const [, again] = useState(0);
  useEffect(() => {
    onChange = () => again((n) => n + 1);
  }, []);
  return html`<div class="notices" role="status" aria-label="Notices">
    ${notices.map(
      ({ id, text, isProblem }) => html`<p key=${id} class=${isProblem ? "notice refused" : "notice"}>
        <span>${typeof text === "string" ? coded(text) : text}</span>
        <button class="plain" aria-label="Dismiss" onClick=${() => dismiss(id)}>×</button>
      </p>`,
    )}
  </div>`;
}
