// One machine: what it is, what can be done with it, how it came here, and what goes on inside.

import { Why } from "./assignment.js";
import { Environment } from "./environment.js";
import { exactly, time } from "./format.js";
import { html, useEffect, useRef } from "./html.js";
import { useClock, useLive } from "./live.js";
import { Logs } from "./logs.js";
import { Head } from "./machinehead.js";
import { useRoute } from "./route.js";
import { Tabs } from "./tabs.js";
import { Terminal } from "./terminal.js";
import { coded } from "./told.js";
import { Timeline, useLife } from "./timeline.js";
import { Usage } from "./usage.js";

const LINE_PX = 18;
const OF_PROCESSES = new Set(["terminal", "usage"]); // while it sleeps there are none
const TABS = [
  { name: "life", title: "Life" },
  { name: "logs", title: "Logs" },
  { name: "terminal", title: "Terminal" },
  { name: "usage", title: "Usage" },
  { name: "environment", title: "Environment" },
];

export function MachinePage({ id, live }) {
  useLive(live);
  const life = useLife(id, live);
  const entered = useRef(new Set()); // what was read of a container stays when that is gone
  const machine = live.machines.get(id);
  const { parts } = useRoute();
  const chosen = TABS.find(({ name }) => name === parts[2])?.name ?? "life";

  const known = machine ?? ofContainer(live.machines, id);
  useEffect(() => {
    if (known && known !== machine) location.replace(`#/machines/${known.id}`);
  }, [known?.id]);

  if (!machine) return html`<${Absent} id=${id} life=${life} isUnknown=${live.isLive && life.isRead && !known} />`;
  const isInside = hasContainer(machine, life);
  const isAsleep = machine.state === "sleeping";
  const panels = {
    life: () => html`<${Story} machine=${machine} life=${life} />`,
    logs: (isActive) => html`<${Logs} id=${id} state=${machine.state} isActive=${isActive} />`,
    terminal: (isActive) => html`<${Terminal} id=${id} isActive=${isActive} />`,
    usage: (isActive) => html`<${Usage} id=${id} isActive=${isActive && isInside && !isAsleep} />`,
    environment: (isActive) => html`<${Environment} id=${id} state=${machine.state} isActive=${isActive} />`,
  };
  const choose = (name) => history.replaceState(null, "", `#/machines/${id}${name === "life" ? "" : `/${name}`}`);
  const onChoose = (name) => (choose(name), dispatchEvent(new HashChangeEvent("hashchange")));
  const panel = (name, isActive) => {
    if (name === "life" || (isInside && !(isAsleep && OF_PROCESSES.has(name)))) entered.current.add(name);
    return entered.current.has(name) ? panels[name](isActive) : html`<${NothingInside} machine=${machine} />`;
  };
  return html`<div class="page machine">
    <${Head} machine=${machine} live=${live} events=${life.events} />
    <${Tabs} label="Parts of this machine" tabs=${TABS} chosen=${chosen} onChoose=${onChoose} panel=${panel} />
  </div>`;
}

/** An address may name a machine by its container, as Docker's tools do. */
function ofContainer(machines, id) {
  if (!/^[0-9a-f]{12}([0-9a-f]{52})?$/.test(id)) return undefined;
  return [...machines.values()].find((one) => one.container_id === id.slice(0, 12));
}

const hasContainer = ({ container_id: container }, life) => container !== null && life.events.at(-1)?.cause !== "removed";

const BLANK = {
  starting: "Its container is being made.",
  sleeping: "It sleeps, so nothing runs in it.",
};
const TROUBLED = new Set(["failed", "restarting", "sleeping"]); // a panel of its own says so

function NothingInside({ machine }) {
  return html`<p class="blank muted">${BLANK[machine.state] ?? "It has no container any more."}</p>
    ${machine.state === "failed" && html`<${Failure} ...${machine} />`}`;
}

function Story({ machine, life }) {
  return html`<div class="story">
    <div class="aside">
      ${machine.state === "failed" && html`<${Failure} ...${machine} />`}
      ${machine.state === "restarting" && html`<${Restarting} ...${machine} />`}
      ${machine.state === "sleeping" && html`<${Sleeping} ...${machine} />`}
      ${machine.project && html`<${Why} project=${machine.project} generation=${machine.generation} configured=${machine.configured} isTroubleTold=${TROUBLED.has(machine.state)} />`}
      ${!machine.project && machine.state !== "failed" && html`<section class="panel"><h2>Why this machine</h2>
        <p class="muted">It belongs to no project. Once it is assigned, this says how that came about.</p></section>`}
    </div>
    <${Timeline} life=${life} />
  </div>`;
}

const Failure = ({ reason, evidence, project, url }) => html`<section class="panel failure" aria-labelledby="failure-title">
  <h2 id="failure-title">Why it failed</h2>
  <p>${coded(sentence(reason))}</p>
  ${project && url && html`<${Mend} project=${project} after="then restart it." />`}
  <${LastLines} evidence=${evidence} />
</section>`;

const Mend = ({ project, after }) => html`<p class="muted">
  Its files are kept. If an edit broke it, mend them with <code>orchestrator cp FILE ${project}:PATH</code>, ${after}
</p>`;

/** Of one that ended and is started again: why it ended, and when the next try is. */
function Restarting({ project, reason, evidence, next_try_at: nextTryAt }) {
  const now = useClock(1000);
  const left = nextTryAt ? Math.ceil((Date.parse(nextTryAt) - now) / 1000) : 0;
  return html`<section class="panel failure" aria-labelledby="restarting-title">
    <h2 id="restarting-title">Why it is restarting</h2>
    <p>${coded(sentence(reason))}</p>
    <p class="muted" role="timer">${left > 0
      ? html`It is started again in <time datetime=${nextTryAt} title=${exactly(nextTryAt)}>${left} s</time>. Restart tries at once.`
      : "It is being started again."}</p>
    <${Mend} project=${project} after="then restart it: it has all its tries again." />
    <${LastLines} evidence=${evidence} />
  </section>`;
}

/** Why it sleeps; its reason says what that means for its files and its URL. */
const Sleeping = ({ reason, changed_at: since }) => html`<section class="panel" aria-labelledby="sleeping-title">
  <h2 id="sleeping-title">Why it sleeps</h2>
  <p>${coded(sentence(reason))}</p>
  <p class="muted">Since <time datetime=${since} title=${exactly(since)}>${time(since)}</time>. The next assign of its project wakes it as it was, and so does Wake.</p>
</section>`;

const ERROR = /\b(error|exception|traceback|fatal|panic|cannot|can't|no such|not found|failed)\b|Error:/i;

/** Which line a reader looks for: the first that tells of an error, else the first of all. Pure. */
export function whereToBegin(text) {
  return Math.max(0, text.split("\n").findIndex((line) => ERROR.test(line)));
}

/** What is seen first is where the error begins: what follows it is often a long trace. */
function LastLines({ evidence }) {
  const box = useRef(null);
  useEffect(() => {
    const line = whereToBegin(evidence);
    const before = document.createRange();
    const text = box.current?.firstChild;
    if (!text || !line) return box.current?.scrollTo(0, 0);
    const at = evidence.split("\n").slice(0, line).join("\n").length + 1;
    before.setStart(text, at);
    before.setEnd(text, at + 1);
    box.current.scrollTop += before.getBoundingClientRect().top - box.current.getBoundingClientRect().top - LINE_PX;
  }, [evidence]);
  return evidence && html`<h3>Its last lines</h3>
    <pre ref=${box} tabindex="0" role="region" aria-label="Its last lines">${evidence}</pre>`;
}

const sentence = (text) => (/[.?!…]$/.test(text) ? text : `${text.charAt(0).toUpperCase()}${text.slice(1)}.`);

/** What is left of a machine that is no more, or not read yet. */
function Absent({ id, life, isUnknown }) {
  const was = life.events.length > 0;
  const told = !isUnknown
    ? "Reading…"
    : was ? "This machine is gone. What remains is its life, as far as it is kept." : "No machine of this id is known here.";
  return html`<div class="page machine">
    <header class="machine-head"><p class="crumb"><a href="#/machines">Machines</a></p><div class="title"><h1>${id}</h1></div></header>
    <p class="blank muted" role="status">${told}</p>
    ${was && html`<${Timeline} life=${life} />`}
  </div>`;
}
