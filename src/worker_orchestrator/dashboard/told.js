// Texts of the service: what stands in back-ticks in them is code.

import { html } from "./html.js";

/** The text, with its commands as code. */
export const coded = (text) => text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));

/** The same where no element may stand, as in a title. */
export const uncoded = (text) => text.replace(/`([^`]+)`/g, "$1");
