// Gives a project its machine, and to a machine what its project wants to have in it.

import { call } from "./api.js";
import { obstacle } from "./connection.js";
import { ActDialog, show, useSeen } from "./dialog.js";
import { html, useEffect, useId, useRef, useState } from "./html.js";
import { lazy } from "./lazy.js";
import { say } from "./notice.js";
import { changeQuery, useRoute } from "./route.js";

const PROJECT = "[A-Za-z0-9_~:@+=,\\-][A-Za-z0-9._~:@+=,\\-]{0,127}";
const DEFAULT_POOL = "default";
const Values = lazy("values", "Values");

/** Whoever hangs up while it waits leaves the line. `given` is that of the fields, if they are shown. */
async function assign(live, project, pool, given, signal, { needsValues = false } = {}) {
  const values = (await given?.collect()) ?? {};
  if (needsValues && !Object.keys(values).length) throw new Error("Nothing was entered, so nothing was sent.");
  const body = pool ? { pool, ...values } : values;
  const asked = call(`/v1/projects/${encodeURIComponent(project)}/machine`, { method: "PUT", body, signal });
  const machine = await asked.finally(() => given?.forget());
  live.putMachine(machine);
  const isSetUp = Object.keys(values).length > 0 && machine.configured;
  say(html`${project} has <a href="#/machines/${machine.id}">${machine.id}</a>${at(machine)}${isSetUp ? ", and it is configured." : "."}`);
}

export const at = ({ url }) => url && html` at <a href=${url} target="_blank" rel="noopener noreferrer">${url}</a>`;

/** The pool of which this project gets a machine, or has one. Pure. */
export function poolOf(live, project, pool) {
  const has = [...live.machines.values()].find((one) => one.project === project);
  const name = pool || has?.pool || DEFAULT_POOL;
  return live.pools.find((one) => one.name === name);
}

function AssignDialog({ live, pool: first, project: wanted = "", onClose }) {
  const [project, setProject] = useState(wanted);
  const pools = live.pools.filter((one) => !one.retired);
  const [pool, setPool] = useState(pools.length > 1 ? first : "");
  const given = useRef(null);
  const id = useId();
  const takesValues = poolOf(live, project, pool)?.takes_values;
  const isSeen = useSeen(wanted !== "");
  return html`<${ActDialog}
    title="Assign a machine" action="Assign" isReady=${project !== "" && isSeen} busy="Waiting for a machine…"
    act=${(signal) => assign(live, project, pool, given.current, signal)} onClose=${onClose}
  >
    <label for=${id}>Project</label>
    <input
      id=${id} value=${project} onInput=${(event) => setProject(event.target.value.trim())} pattern=${PROJECT} autofocus
      maxlength="128" autocomplete="off" autocapitalize="off" spellcheck=${false} aria-describedby="${id}-hint"
      title="1 to 128 letters, digits or . _ ~ : @ + = , - and no dot in front"
    />
    <p id="${id}-hint" class="muted">An idle machine at once; where none is idle, it waits in line. A project that has one keeps it; if that sleeps, it is woken.</p>
    ${pools.length > 1 &&
    html`<label for="${id}-pool">Pool</label>
      <select id="${id}-pool" value=${pool} onChange=${(event) => setPool(event.target.value)} aria-describedby="${id}-pool-hint">
        <option value="">Whatever it has, else default</option>
        ${pools.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
      <p id="${id}-pool-hint" class="muted">A project that has a machine of another pool than you name is refused, and keeps it.</p>`}
    ${takesValues && html`<${Values} given=${given} />`}
  <//>`;
}

/**
 * A button that opens it. `pool` is the one that is proposed. The address may open it as well (`#/?assign=my-project`), as the
 * page of a preview without a machine does; nothing is assigned before somebody says so here.
 */
export function AssignButton({ live, pool = "" }) {
  const open = () => show(AssignDialog, { live, pool });
  const wanted = useRoute().query.get("assign");
  useEffect(() => {
    if (!wanted || !live.isLive) return;
    changeQuery("", { assign: "" });
    show(AssignDialog, { live, pool, project: wanted });
  }, [wanted, live.isLive]);
  return html`<button class="primary" disabled=${!live.isLive} title=${obstacle(live)} onClick=${open}>Assign…</button>`;
}

/** For a project that has a machine which takes values. */
export function ConfigureDialog({ live, machine: seen, onClose }) {
  const { id, project, pool, configured } = seen;
  const given = useRef(null);
  return html`<${ActDialog}
    title=${`Configure ${project}`} action="Configure" busy="Configuring it…" onClose=${onClose}
    act=${(signal) => assign(live, project, pool, given.current, signal, { needsValues: true })}
  >
    <p class="muted">What <strong>${project}</strong> gives <code>${id}</code> is in its memory only, and gone when its container stops.</p>
    <${Values} given=${given} isReplacing=${configured} />
  <//>`;
}
