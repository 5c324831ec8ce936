// Tabs as the ARIA practices describe them: one of them in the order of Tab, the arrows go to the others, and the one that is chosen
// stands in the address. https://www.w3.org/WAI/ARIA/apg/patterns/tabs/

import { html, useRef } from "./html.js";

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/** `tabs` is `[{name, title}]`, `panel(name)` what one of them shows. One that was chosen once stays, out of sight. */
export function Tabs({ label, tabs, chosen, onChoose, panel }) {
  const opened = useRef(new Set());
  const list = useRef();
  opened.current.add(chosen);
  const onKeyDown = (event) => {
    const at = tabs.findIndex((tab) => tab.name === chosen);
    const ends = { Home: 0, End: tabs.length - 1 };
    const next = ends[event.key] ?? (STEPS[event.key] ? (at + STEPS[event.key] + tabs.length) % tabs.length : undefined);
    if (next === undefined) return;
    event.preventDefault();
    onChoose(tabs[next].name);
    list.current.children[next].focus();
  };
  return html`<div class="tabs">
    <div class="tablist" role="tablist" aria-label=${label} ref=${list} onKeyDown=${onKeyDown}>
      ${tabs.map(({ name, title }) => html`<button key=${name} role="tab" id=${`tab-${name}`} aria-controls=${`panel-${name}`}
        aria-selected=${String(name === chosen)} tabindex=${name === chosen ? 0 : -1} onClick=${() => onChoose(name)}>${title}</button>`)}
    </div>
    ${tabs.map(({ name }) => html`<div key=${name} class="tabpanel" role="tabpanel" id=${`panel-${name}`} aria-labelledby=${`tab-${name}`}
      hidden=${name !== chosen}>${opened.current.has(name) && panel(name, name === chosen)}</div>`)}
  </div>`;
}
