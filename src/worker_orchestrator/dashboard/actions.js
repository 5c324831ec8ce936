// What can be done to machines, projects and pools. What loses something says what, and asks first.
//
// A release or destroy names the generation that was seen, so that a dialog which stood open for long never hits the next tenant.

import { call } from "./api.js";
import { at, ConfigureDialog } from "./assign.js";
import { takesValues, wasConfigured } from "./configured.js";
import { obstacle } from "./connection.js";
import { canBePutOff, ends } from "./deadline.js";
import { ActDialog, show } from "./dialog.js";
import { html, useId, useState } from "./html.js";
import { isOlder } from "./image.js";
import { say } from "./notice.js";
import { reasonBesideMinIdle } from "./standing.js";
import { coded } from "./told.js";

/** The machine of its project, or what is done with it, while that has it as it was seen. */
const ofProject = ({ project, generation }, what = "") => `/v1/projects/${encodeURIComponent(project)}/machine${what}?generation=${generation}`;

async function release(live, seen) {
  const { project } = seen;
  const { machine, removed } = await call(ofProject(seen), { method: "DELETE" });
  const kept = wasConfigured(seen) ? "It is restarted, which ends its values, and goes back to the pool." : "It goes back to the pool as it is.";
  say(`${project} gave ${machine} back. ${removed ? "It is removed with its files." : kept}`);
}

/** Nothing is lost by it, so it asks nothing. */
async function keep(live, seen) {
  const { id, project } = seen;
  try {
    await call(ofProject(seen, "/keepalive"), { method: "POST" });
    const machine = await call(`/v1/machines/${id}`);
    live.putMachine(machine);
    const until = ends(machine.lease, Date.now());
    const unless = canBePutOff(machine.lease) ? ", unless it is used or kept" : "";
    say(`${project} keeps ${id}.${until && ` It ${until}${unless}.`}`);
  } catch (problem) {
    say(problem.message, { isProblem: true });
  }
}

async function sleep(live, seen) {
  const { id, project } = seen;
  live.putMachine(await call(ofProject(seen, "/sleep"), { method: "POST" }));
  say(`${id} sleeps. ${project} keeps it, with its files.`);
}

/** Nothing is lost by it, so it asks nothing. It is done when the machine answers; before that it may wait for room. */
async function wake(live, seen) {
  const { id, project } = seen;
  try {
    const machine = await call(ofProject(seen, "/wake"), { method: "POST" });
    live.putMachine(machine);
    say(html`${project} has ${id} again${at(machine)}.`);
  } catch (problem) {
    say(problem.message, { isProblem: true });
  }
}

async function restart(live, { id, generation }) {
  live.putMachine(await call(`/v1/machines/${id}/restart?generation=${generation}`, { method: "POST" }));
  say(`${id} is started again.`);
}

async function destroy(live, { id, generation }) {
  await call(`/v1/machines/${id}?generation=${generation}`, { method: "DELETE" });
  say(`${id} is destroyed.`);
}

export async function changePool(live, name, changes) {
  live.putPool(await call(`/v1/pools/${encodeURIComponent(name)}`, { method: "PATCH", body: changes }));
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${text}`);
  } catch {
    say(`The browser did not let the page copy. It is ${text}`, { isProblem: true });
  }
}

/** What can be done with one machine, where it makes sense; plain in a list, where room is scarce: keep is on the machine's page. */
export function MachineActions({ live, machine, isPlain = false }) {
  const { project, url, state } = machine;
  const isAsleep = state === "sleeping";
  const kind = isPlain ? "plain" : "";
  const button = (what, onClick, more = "") => html`<button
    class="${kind} ${more}" aria-label=${`${what} ${project ?? machine.id}`} disabled=${!live.isLive} title=${obstacle(live)} onClick=${onClick}
  >
    ${what}
  </button>`;
  const asking = (what, Asked, more) => button(what, () => show(Asked, { live, machine }), more);
  return html`<span class="actions">
    ${url && state !== "failed" && !isAsleep && html`<button class=${kind} aria-label=${`Copy URL of ${project ?? machine.id}`} onClick=${() => copy(url)}>Copy URL</button>`}
    ${isAsleep && html`<${WakeButton} ...${{ live, machine, kind }} />`}
    ${machine.lease && !isPlain && !isAsleep && button("Keep", () => keep(live, machine))}
    ${state === "assigned" && takesValues(machine) && !isPlain && asking("Configure", ConfigureDialog)}
    ${project && state === "assigned" && asking("Sleep", SleepDialog)}
    ${project && asking("Release", ReleaseDialog)}
    ${project && hasFiles(machine) && !isAsleep && asking("Restart", RestartDialog)}
    ${state !== "stopping" && asking("Destroy", DestroyDialog, "danger")}
  </span>`;
}

function WakeButton({ live, machine, kind }) {
  const [isBusy, setBusy] = useState(false);
  const onClick = () => {
    setBusy(true);
    wake(live, machine).finally(() => setBusy(false));
  };
  const isOff = isBusy || !live.isLive;
  return html`<button class=${kind} aria-label=${`Wake ${machine.project}`} disabled=${isOff} title=${obstacle(live)} onClick=${onClick}>
    ${isBusy ? "Waking…" : "Wake"}
  </button>`;
}

function ReleaseDialog({ live, machine: seen, onClose }) {
  return html`<${ActDialog} title=${`Release ${seen.project}?`} action="Release" act=${() => release(live, seen)} onClose=${onClose}>
    <p><strong>${seen.project}</strong> gives <code>${seen.id}</code> back, and its URL is no longer its own.</p>
    <p>What the project wrote is lost to it.</p>
    <${AfterRelease} live=${live} machine=${seen} />
  <//>`;
}

/** What becomes of this machine: as `commands.release` of the service decides. */
function AfterRelease({ live, machine }) {
  const pool = live.pools.find(({ name }) => name === machine.pool);
  if (!hasFiles(machine)) return html`<p class="muted">Its container is gone already. Only the record of it is removed.</p>`;
  const removed = (why) => html`<p class="lost"><strong>This machine is removed</strong> with all its files and processes, ${why}
    ${!pool?.retired && "The pool starts a new one in its place if it needs one."}</p>`;
  if (pool?.retired) return removed("as the settings no longer name its pool.");
  if (pool?.on_release === "recycle") return removed("as this service does with every machine that is released (recycle).");
  if (machine.state !== "assigned") return removed("as it does not serve now.");
  if (isOlder(machine, pool?.template) && hasComeUp(live, pool)) return removed("as it was made of an older image or with other settings.");
  if (wasConfigured(machine)) {
    return html`<p class="lost"><strong>This machine is restarted</strong> (reuse), as it was configured: its processes end, and what it
      was configured with is gone. The next project that gets it finds all other files of ${machine.project} in it.</p>`;
  }
  return html`<p class="lost"><strong>This machine stays as it is</strong> (reuse): the next project that gets it finds all files of
    ${" "}${machine.project} in it, and its processes still run. To have them removed, destroy the machine instead.</p>`;
}

/** Whether a machine that is made as new ones are has come up, so that older ones are no longer needed. */
const hasComeUp = (live, { name, template }) =>
  [...live.machines.values()].some((one) => one.pool === name && one.template === template && (one.state === "idle" || one.state === "assigned"));

/** What failed and has no URL any more has no container either. */
const hasFiles = ({ state, url }) => state !== "failed" || url !== null;

function SleepDialog({ live, machine: seen, onClose }) {
  const { id, project } = seen;
  return html`<${ActDialog} title=${`Put ${project} to sleep?`} action="Sleep" busy="Stopping it…" act=${() => sleep(live, seen)} onClose=${onClose}>
    <p>The container of <code>${id}</code> is stopped: whatever runs in it ends. <strong>${project}</strong> keeps it, with its files.</p>
    <p>Its next assign wakes it, and so does <strong>Wake</strong>. Until then its URL may be somebody else's.</p>
    <${LostValues} machine=${seen} />
  <//>`;
}

const LostValues = ({ machine }) =>
  machine.configured && html`<p class="lost">What it is configured with is in memory, and lost by this. <strong>Configure</strong> gives it values again.</p>`;

function RestartDialog({ live, machine: seen, onClose }) {
  return html`<${ActDialog}
    title=${`Restart ${seen.project}?`} action="Restart" busy="Starting it again…" act=${() => restart(live, seen)} onClose=${onClose}
  >
    <p>The container of <code>${seen.id}</code> is stopped if it runs, and started again with its files: whatever runs in it ends.</p>
    <${LostValues} machine=${seen} />
    <p class="muted">
      If it ended because of a bad edit, mend the file first: <code>orchestrator cp FILE ${seen.project}:PATH</code>
    </p>
  <//>`;
}

function DestroyDialog({ live, machine: seen, onClose }) {
  const { id, project } = seen;
  const isRetired = live.pools.some(({ name, retired }) => retired && name === seen.pool);
  return html`<${ActDialog} title="Destroy this machine?" action="Destroy" isDanger act=${() => destroy(live, seen)} onClose=${onClose}>
    <p>The container of <code>${id}</code> is removed, with everything that was written in it. This cannot be undone.</p>
    ${project
      ? html`<p class="lost"><strong>${project}</strong> ${seen.state === "sleeping" ? "keeps it, asleep" : "works with it"}: its files are lost. Its next assign gets a new, empty machine.</p>`
      : html`<p class="muted">No project has it. ${!isRetired && "The pool starts another one if it needs one."}</p>`}
  <//>`;
}

export function SizesDialog({ live, pool, onClose }) {
  const isOneOfSeveral = live.pools.length > 1;
  const own = isOneOfSeveral ? { max_machines: pool.max_machines ?? null } : {};
  const [before] = useState({ min_idle: pool.min_idle, max_idle: pool.max_idle, parked: pool.parked ?? 0, limit: pool.limit, ...own });
  const [sizes, setSizes] = useState(before);
  const save = async () => {
    // What was not changed may be that of an open window, and is to go with it.
    const changed = Object.entries(sizes).filter(([name, size]) => size !== before[name]);
    if (changed.length) await changePool(live, pool.name, Object.fromEntries(changed));
    say(changed.length ? `Pool ${pool.name} has new sizes.` : `Nothing was changed: pool ${pool.name} has the sizes that it had.`);
  };
  const field = (name, label, hint, least) =>
    html`<${SizeField} ...${{ name, label, hint, least, sizes, setSizes }} configured=${pool.configured[name]} />`;
  const reason = reasonBesideMinIdle(pool); // min idle may be that of a window
  return html`<${ActDialog} title=${`Sizes of pool ${pool.name}`} action="Save" act=${save} onClose=${onClose}>
    ${reason && html`<p class="muted">It wants ${pool.wanted_idle} idle now: ${coded(reason)}</p>`}
    ${field("min_idle", "Min idle", "Machines that stand ready.", 0)}
    ${field("max_idle", "Max idle", "Idle ones above this are removed; empty: as the settings say.", 0)}
    ${field("parked", "Parked", "Started and paused besides, for when none is idle; 0: none ever; empty: as the settings say.", 0)}
    ${isOneOfSeveral && field("max_machines", "Own limit", "Machines of this pool, at most; empty: as the settings say.", 1)}
    ${field("limit", isOneOfSeveral ? "Limit of all pools" : "Limit", "All machines together, at most.", 1)}
    <p class="muted">This holds at once, and also after a restart.${isOneOfSeveral && " The limit of all pools is the same for each of them."}</p>
  <//>`;
}

const OPTIONAL = { parked: "nothing", max_idle: "that none are", max_machines: "no limit" };

function SizeField({ name, label, hint, least, sizes, setSizes, configured }) {
  const id = useId();
  const onInput = ({ target }) => setSizes({ ...sizes, [name]: target.value === "" ? null : Number(target.value) });
  const value = sizes[name] ?? "";
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input
      id=${id} type="number" inputmode="numeric" min=${least} max="10000" step="1" value=${value} onInput=${onInput}
      required=${!(name in OPTIONAL)} aria-describedby="${id}-hint"
    />
    <p id="${id}-hint" class="muted">${hint} Settings say ${configured ?? OPTIONAL[name]}.</p>
  </div>`;
}

/** Pauses a pool or lets it go on, without a question: nothing is lost by it. */
export async function setPaused(live, pool, paused) {
  try {
    await changePool(live, pool.name, { paused });
    say(paused ? `Pool ${pool.name} is paused: it starts and replaces nothing.` : `Pool ${pool.name} goes on.`);
  } catch (problem) {
    say(problem.message, { isProblem: true });
  }
}
