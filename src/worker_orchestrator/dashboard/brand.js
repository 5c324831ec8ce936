// The mark of the service: the same as icon.svg, in the page itself.

import { html } from "./html.js";

export function Brand({ size }) {
  return html`<svg class="logo" viewBox="0 0 16 16" width=${size} height=${size} aria-hidden="true">
    <rect width="16" height="16" rx="3.5" fill="#4f46e5" />
    <g fill="none" stroke="#fff" stroke-width="1.5"><circle cx="5" cy="8" r="2.25" fill="#fff" /><circle cx="11" cy="8" r="2.25" /></g>
  </svg>`;
}
