// The head of a machine's page: whose it is, what it is in some lines, and what can be done with it.

import { MachineActions } from "./actions.js";
import { call } from "./api.js";
import { takesValues, whyNot } from "./configured.js";
import { endsInWords, left } from "./deadline.js";
import { age, exactly, ms } from "./format.js";
import { html } from "./html.js";
import { isOlder, OLDER, OLDER_LONG } from "./image.js";
import { useClock } from "./live.js";
import { say } from "./notice.js";
import { QrButton } from "./qr.js";
import { hrefWith } from "./route.js";
import { Mark } from "./statemark.js";
import { coded } from "./told.js";
import { useNarrow } from "./visiblerows.js";

const NARROW_PX = 600;
const NONE = html`<span class="muted">none</span>`;

export function Head({ machine, live, events }) {
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
    <${Older} ...${{ machine, live }} />
    <dl class="about">
      <${Fact} name="URL"><${Address} url=${url} isAsleep=${state === "sleeping"} /><//>
      ${!isNarrow && html`<${Preview} machine=${machine} />`}
      <${Age} since=${machine.created_at} />
      ${machine.lease && html`<${Deadline} lease=${machine.lease} />`}
      ${takesValues(machine) && html`<${Configured} machine=${machine} events=${events} />`}
      ${!isNarrow && html`<${More} ...${{ machine, live }} />`}
    </dl>
    ${isNarrow && html`<details class="more"><summary>More</summary><dl class="about"><${Preview} machine=${machine} /><${More} ...${{ machine, live }} /></dl></details>`}
  </header>`;
}

/** While it sleeps nothing of it listens there, and another program may. */
function Address({ url, isAsleep }) {
  if (!url) return NONE;
  if (isAsleep) return html`${url} <span class="muted">may be somebody else's until it wakes</span>`;
  return html`<a href=${url} target="_blank" rel="noreferrer">${url}</a>`;
}

/** Where it is seen in a browser, whichever machine its project has. */
const Preview = ({ machine }) => machine.preview_url && html`<${Fact} name="Preview"><${PreviewLink} machine=${machine} /> <${QrButton} machine=${machine} /><//>`;

/** Where previews are not for everybody, it is opened by a link that is made for that. */
function PreviewLink({ machine }) {
  const { project, generation, preview_url: address } = machine;
  const opened = async (event) => {
    event.preventDefault();
    const view = window.open("about:blank", "_blank"); // at once: after an answer it would be a pop-up
    try {
      const path = `/v1/projects/${encodeURIComponent(project)}/links?generation=${generation}`;
      const { url } = await call(path, { method: "POST", body: {} });
      view.opener = null;
      view.location.replace(url);
    } catch (problem) {
      view.close();
      say(problem.message, { isProblem: true });
    }
  };
  return html`<a href=${address} target="_blank" rel="noreferrer" onClick=${opened}>${address}</a>`;
}

/** A project that gets an older machine is to know it, and why. */
function Older({ machine, live }) {
  const pool = live.pools.find(({ name }) => name === machine.pool);
  if (!isOlder(machine, pool?.template)) return null;
  return html`<p class="older">${OLDER_LONG}${pool.back_off && !pool.back_off.trying_new_image && html` New machines do not come up: ${coded(pool.back_off.reason)}`}</p>`;
}

function Age({ since }) {
  const now = useClock(1000);
  return html`<${Fact} name="Age"><time datetime=${since} title=${exactly(since)}>${age(now - Date.parse(since))}</time><//>`;
}

/** When the project loses it, and when it was used last. */
function Deadline({ lease }) {
  const now = useClock(1000);
  const { expires_at: at, expires_by: by, last_active_at: activeAt } = lease;
  return html`<${Fact} name="Ends">${at
      ? html`<time datetime=${at} title=${endsInWords(lease)}>${left(at, now)}</time>${" "}<span class="muted">${by}</span>`
      : html`<span class="muted">no deadline is to come</span>`}<//>
    <${Fact} name="Last active">${activeAt
      ? html`<time datetime=${activeAt} title=${exactly(activeAt)}>${age(now - Date.parse(activeAt))} ago</time>`
      : html`<span class="muted">not known</span>`}<//>`;
}

/** Whether it has what its project gave it, and why not. */
function Configured({ machine, events }) {
  const { configured, setup } = machine;
  const took = configured && setup ? `in ${ms(setup.ms)}` : "";
  return html`<${Fact} name="Configured">${configured ? "yes" : "no"}${" "}<span class="muted">${took}${coded(whyNot(machine, events))}</span><//>`;
}

/** What is looked at seldom. */
function More({ machine, live }) {
  const pool = live.pools.find(({ name }) => name === machine.pool);
  return html`<${Fact} name="Project">${machine.project ? html`<code>${machine.project}</code>` : NONE}<//>
    ${live.pools.length > 1 && html`<${Fact} name="Pool"><a href=${hrefWith("", [], { pool: machine.pool })}>${machine.pool}${pool?.retired && " (retired)"}</a><//>`}
    <${Fact} name="Generation">${machine.generation}<//>
    <${Fact} name="Image">${isOlder(machine, pool?.template) ? html`<span class="tag">${OLDER}</span>` : html`<code>${pool?.image || "–"}</code>`}<//>
    <${Fact} name="Container"><code>${machine.container_id ?? "–"}</code>${machine.address && html` <span class="muted">${machine.address}</span>`}<//>
    ${Object.entries(machine.metadata ?? {}).map(([key, value]) => html`<${Fact} key=${key} name=${key} isGiven><span>${value}</span><//>`)}`;
}

/** `isGiven`: what its project said of it. */
const Fact = ({ name, isGiven, children }) => html`<div class=${isGiven ? "given" : ""}><dt>${name}</dt><dd>${children}</dd></div>`;
