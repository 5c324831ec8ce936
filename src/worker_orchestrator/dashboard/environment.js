// The variables that a worker was created with. The service leaves out what looks like a secret; here that is said.

import { call } from "./api.js";
import { html, useEffect, useState } from "./html.js";

/** `state` is the machine's: at a new one it is read again. */
export function Environment({ id, state, isActive }) {
  const [read, setRead] = useState({ variables: null, problem: "" });
  const [text, setText] = useState("");
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (!isActive) return undefined;
    const abort = new AbortController();
    call(`/v1/machines/${encodeURIComponent(id)}/environment`, { signal: abort.signal }).then(
      ({ variables }) => setRead({ variables, problem: "" }),
      (problem) => problem.name === "AbortError" || setRead((old) => ({ ...old, problem: problem.message })),
    );
    return () => abort.abort();
  }, [id, state, isActive, tries]);

  const { variables, problem } = read;
  if (problem && !variables) {
    return html`<div class="blank" role="alert"><p>${problem}</p><button onClick=${() => setTries(tries + 1)}>Try again</button></div>`;
  }
  if (!variables) return html`<p class="blank muted">Reading…</p>`;
  if (!variables.length) return html`<p class="blank muted">This worker was created without any variables.</p>`;
  const shown = variables.filter(({ name, value }) => `${name}=${value}`.toLowerCase().includes(text.toLowerCase()));
  const hidden = variables.filter((one) => one.hidden).length;
  return html`<section class="environment" aria-label="Environment">
    <div class="toolbar">
      <input type="search" aria-label="Search the environment" placeholder="Search" value=${text} onInput=${(event) => setText(event.target.value)} />
      <span class="muted">${variables.length} variables${hidden ? `, ${hidden} with a secret left out` : ""}</span>
    </div>
    <table class="variables">
      <caption class="visually-hidden">Environment of the worker</caption>
      <thead><tr><th scope="col">Name</th><th scope="col">Value</th></tr></thead>
      <tbody>${shown.map((one) => html`<${Variable} key=${one.name} ...${one} />`)}</tbody>
    </table>
    ${!shown.length && html`<p class="blank muted">No variable reads so.</p>`}
  </section>`;
}

const Variable = ({ name, value, hidden }) => html`<tr>
  <th scope="row"><code>${name}</code></th>
  <td><code>${value}</code>${hidden && html` <span class="tag">secret hidden</span>`}</td>
</tr>`;
