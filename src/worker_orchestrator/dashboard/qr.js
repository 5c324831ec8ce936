// The address of a preview as a QR code, for a phone.

import { call } from "./api.js";
import { Dialog, show } from "./dialog.js";
import { html, useEffect, useState } from "./html.js";
import { load } from "./lazy.js";

const FOR_S = 3600;
const QUIET = 4; // modules around it, as ISO/IEC 18004 wants

/** A button that shows it. There is none where the address leads each device to itself. */
export function QrButton({ machine }) {
  if (new URL(machine.preview_url).hostname.endsWith(".localhost")) return null;
  return html`<button class="plain" onClick=${() => show(QrDialog, { machine })}>QR code</button>`;
}

/** A link that is good for an hour where one is needed; else the address. */
async function linkTo({ project, generation }) {
  const path = `/v1/projects/${encodeURIComponent(project)}/links?generation=${generation}`;
  return call(path, { method: "POST", body: { seconds: FOR_S } });
}

function QrDialog({ machine, onClose }) {
  const [shown, setShown] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    Promise.all([linkTo(machine), load("vendor/uqr.js")])
      .then(([link, { encode }]) => setShown({ link, code: encode(link.url, { ecc: "L", border: QUIET }) }))
      .catch((failure) => setProblem(failure.message));
  }, []);
  return html`<${Dialog} title=${`Preview of ${machine.project}`} onClose=${onClose}>
    ${problem && html`<p role="alert" class="refused">${problem}</p>`}
    ${!shown && !problem && html`<p role="status" class="muted">Loading…</p>`}
    ${shown && html`<${Code} ...${shown} />
      <p class="muted">${shown.link.expires_at ? "Whoever has it sees the preview for an hour, or until the project loses its machine." : "Everybody may see it."}</p>`}
    <div class="choices"><button onClick=${onClose}>Close</button></div>
  <//>`;
}

/** Dark on light in both colour schemes, since many phones read nothing else. */
function Code({ link, code: { size, data } }) {
  const dark = data.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x},${y}h1v1h-1z` : "")));
  return html`<a href=${link.url} target="_blank" rel="noopener noreferrer">
    <svg class="qr" viewBox="0 0 ${size} ${size}" shape-rendering="crispEdges" role="img" aria-label="QR code that opens the preview">
      <rect width=${size} height=${size} fill="#fff" /><path d=${dark.join("")} fill="#000" />
    </svg>
  </a>`;
}
