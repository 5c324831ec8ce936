// The head of a machine's page: what it is in some lines, and what can be done with it.

import { MachineActions } from "./actions.js";
import { age, exactly } from "./format.js";
import { html } from "./html.js";
import { useClock } from "./live.js";
import { Mark } from "./statemark.js";

export function Head({ machine, live }) {
  const now = useClock(1000);
  const pool = live.pools.find(({ name }) => name === machine.pool);
  return html`<header class="machine-head">
    <p class="crumb"><a href="#/machines">Machines</a></p>
    <div class="title">
      <h1>${machine.id}</h1>
      <${Mark} state=${machine.state} />
      <span class="spring"></span>
      <${MachineActions} live=${live} machine=${machine} />
    </div>
    <dl class="about">
      <${Fact} name="Project">${machine.project ? html`<code>${machine.project}</code>` : html`<span class="muted">none</span>`}<//>
      <${Fact} name="Age"><time datetime=${machine.created_at} title=${exactly(machine.created_at)}>${age(now - Date.parse(machine.created_at))}</time><//>
      <${Fact} name="Generation">${machine.generation}<//>
      <${Fact} name="URL">${machine.url ? html`<a href=${machine.url} target="_blank" rel="noreferrer">${machine.url}</a>` : html`<span class="muted">none</span>`}<//>
      <${Fact} name="Image"><code>${pool?.image ?? "–"}</code>${isOlder(machine, pool) && html` <span class="tag">an older one</span>`}<//>
      <${Fact} name="Container"><code>${machine.container_id ?? "–"}</code>${machine.address && html` <span class="muted">${machine.address}</span>`}<//>
      ${Object.entries(machine.metadata ?? {}).map(([key, value]) => html`<${Fact} key=${key} name=${key} isGiven><span>${value}</span><//>`)}
    </dl>
  </header>`;
}

const isOlder = (machine, pool) => Boolean(pool?.template && machine.template && machine.template !== pool.template);

/** `isGiven`: what its project said of it. */
const Fact = ({ name, isGiven, children }) => html`<div class=${isGiven ? "given" : ""}><dt>${name}</dt><dd>${children}</dd></div>`;
