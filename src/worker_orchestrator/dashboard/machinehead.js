// The head of a machine's page: whose it is, what it is in some lines, and what can be done with it.

import { MachineActions } from "./actions.js";
import { age, exactly } from "./format.js";
import { html } from "./html.js";
import { isOlder, OLDER, OLDER_LONG } from "./image.js";
import { useClock } from "./live.js";
import { Mark } from "./statemark.js";
import { useNarrow } from "./visiblerows.js";

const NARROW_PX = 600;
const NONE = html`<span class="muted">none</span>`;

export function Head({ machine, live }) {
  const isNarrow = useNarrow(NARROW_PX);
  const { id, project, state, url } = machine;
  return html`<header class="machine-head">
    <p class="crumb"><a href="#/machines">Machines</a>${project && html` <span class="muted">/ <code>${id}</code></span>`}</p>
    <div class="title">
      <h1>${project ?? id}</h1>
      <${Mark} state=${state} />
      <span class="spring"></span>
      <${MachineActions} live=${live} machine=${machine} />
    </div>
    <dl class="about">
      <${Fact} name="URL">${url ? html`<a href=${url} target="_blank" rel="noreferrer">${url}</a>` : NONE}<//>
      <${Age} since=${machine.created_at} />
      ${!isNarrow && html`<${More} ...${{ machine, live }} />`}
    </dl>
    ${isNarrow && html`<details class="more"><summary>More</summary><dl class="about"><${More} ...${{ machine, live }} /></dl></details>`}
  </header>`;
}

function Age({ since }) {
  const now = useClock(1000);
  return html`<${Fact} name="Age"><time datetime=${since} title=${exactly(since)}>${age(now - Date.parse(since))}</time><//>`;
}

/** What is looked at seldom. */
function More({ machine, live }) {
  const pool = live.pools.find(({ name }) => name === machine.pool);
  return html`<${Fact} name="Project">${machine.project ? html`<code>${machine.project}</code>` : NONE}<//>
    <${Fact} name="Generation">${machine.generation}<//>
    <${Fact} name="Image"><code>${pool?.image ?? "–"}</code>${isOlder(machine, pool?.template) && html` <span class="tag" title=${OLDER_LONG}>${OLDER}</span>`}<//>
    <${Fact} name="Container"><code>${machine.container_id ?? "–"}</code>${machine.address && html` <span class="muted">${machine.address}</span>`}<//>
    ${Object.entries(machine.metadata ?? {}).map(([key, value]) => html`<${Fact} key=${key} name=${key} isGiven><span>${value}</span><//>`)}`;
}

/** `isGiven`: what its project said of it. */
const Fact = ({ name, isGiven, children }) => html`<div class=${isGiven ? "given" : ""}><dt>${name}</dt><dd>${children}</dd></div>`;
