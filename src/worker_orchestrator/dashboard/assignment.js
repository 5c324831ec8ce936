// How a project came to its machine: warm or cold and why, and where the milliseconds went.

import { call } from "./api.js";
import { ms, time } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { coded } from "./told.js";

const BEFORE = [["create_ms", "Create and start the container"], ["ready_ms", "Wait for its first answer"]];
const WITHIN = [["line_ms", "Wait in line"], ["probe_ms", "Probe before it is handed out"], ["commit_ms", "Store the assignment"]];
const WORDS = { warm: "Warm", cold: "Cold", unknown: "Not known" };

/** At a new generation it is read again, and where what it is configured with has changed. `isTroubleTold`: another box says what is wrong now. */
export function Why({ project, generation, configured, isTroubleTold }) {
  const [story, setStory] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    setProblem("");
    call(`/v1/projects/${encodeURIComponent(project)}/why`, { signal: abort.signal }).then(setStory, (error) => {
      if (error.name !== "AbortError") setProblem(error.message);
    });
    return () => abort.abort();
  }, [project, generation, configured]);
  const fits = story?.generation === generation;
  return html`<section class="panel why" aria-labelledby="why-title">
    <h2 id="why-title">Why this machine</h2>
    ${problem ? html`<p class="muted">${problem}</p>` : fits ? html`<${Story} ...${isTroubleTold ? beforeTrouble(story) : story} />` : html`<p class="muted">Reading…</p>`}
  </section>`;
}

/** Without the end of `why` that is of now and not of the assignment. Pure. */
export function beforeTrouble(story) {
  const { why, trouble } = story;
  return trouble && why.endsWith(trouble) ? { ...story, why: why.slice(0, -trouble.length).trimEnd() } : story;
}

function Story({ how, why, at, stages, failed_probes: probes }) {
  return html`<p><strong class=${`how ${how}`}>${WORDS[how]}</strong>${at && html`<span class="muted"> at ${time(at)}</span>`}</p>
    <p>${coded(why)}</p>
    ${stages && html`<${Stages} stages=${stages} isCold=${how === "cold"} />`}
    ${probes.length > 0 && html`<h3>Probes that failed before</h3>
      <ul class="probes">${probes.map((one) => html`<li><code>${one.machine}</code> <span class="muted">${one.detail}</span></li>`)}</ul>`}`;
}

/** A warm machine was made before anybody asked; one that was waited for, meanwhile or a little before. All bars have one scale. */
function Stages({ stages, isCold }) {
  const groups = [["In this request", WITHIN], [isCold ? "Meanwhile, this machine" : "Beforehand", BEFORE]];
  const longest = Math.max(...Object.values(stages).filter((value) => value !== null), 0.001);
  const row = ([name, label]) => stages[name] === null ? null : html`<${Stage} key=${name} label=${label} value=${stages[name]} of=${longest} />`;
  return html`<table class="stages">
    <caption class="visually-hidden">Milliseconds per stage</caption>
    ${groups.filter(([, rows]) => rows.some(([name]) => stages[name] !== null)).map(([title, rows]) => html`<tbody key=${title}>
      <tr><th class="group" colspan="3" scope="rowgroup">${title}</th></tr>
      ${rows.map(row)}
      ${title === "In this request" && stages.total_ms !== null && html`<${Stage} label="All together" value=${stages.total_ms} of=${longest} isTotal />`}
    </tbody>`)}
  </table>`;
}

const Stage = ({ label, value, of, isTotal }) => html`<tr class=${isTotal ? "total" : ""}>
  <th scope="row">${label}</th>
  <td aria-hidden="true"><div class="bar"><div style=${{ width: `${Math.max(0.5, (value / of) * 100)}%` }}></div></div></td>
  <td class="number">${ms(value)}</td>
</tr>`;
