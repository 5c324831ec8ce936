// Which sizes of a pool would have been right for the assigns that were recorded: a picture, and the table that it is drawn from.
// It is replayed for whoever opens it, and not again until it is asked for.

import { changePool } from "./actions.js";
import { call } from "./api.js";
import { obstacle } from "./connection.js";
import { ActDialog, show } from "./dialog.js";
import { ms, number } from "./format.js";
import { html, useEffect, useId, useState } from "./html.js";
import { say } from "./notice.js";

const WIDTH = 440;
const HEIGHT = 160;
const LEFT = 56; // of labels that are larger on a phone
const BOTTOM = 24;
const TOP = 12;
const ratio = (value) => `${(value * 100).toFixed(value > 0.99 ? 2 : 1)} %`;
const sizes = ({ idle, parked }) => `${number(idle)} idle${parked ? ` + ${number(parked)} parked` : ""}`;
const isSame = (one, other) => other !== null && !one.adaptive && one.idle === other.idle && one.parked === other.parked;

export function Plan({ live, pool }) {
  const [told, setTold] = useState({});
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    call(`/v1/pools/${encodeURIComponent(pool)}/plan`, { signal: stop.signal }).then(
      (plan) => setTold({ plan }),
      (problem) => stop.signal.aborted || setTold({ problem }),
    );
    return () => stop.abort();
  }, [pool, asked]);
  const { plan, problem } = told;
  if (problem) return html`<p role="status">${problem.message} <button onClick=${() => setAsked(asked + 1)}>Try again</button></p>`;
  if (!plan) return html`<p class="muted" role="status">Replaying…</p>`;
  if (!plan.arrivals) return html`<p class="muted" role="status">${plan.sentence}</p>`;
  return html`<div class="plan">
    <p class="muted">${plan.sentence} Wanted: ${ratio(plan.target)} of the assigns find a machine.</p>
    <${Picture} plan=${plan} />
    <${Table} plan=${plan} />
    <p><${Advice} live=${live} plan=${plan} onSet=${() => setAsked(asked + 1)} /> <button onClick=${() => setAsked(asked + 1)}>Replay again</button></p>
  </div>`;
}

function Advice({ live, plan, onSet }) {
  const { enough, now, proposed, pool, sizing, target } = plan;
  const follows = sizing === "adaptive" && ` This pool follows demand, and keeps ${sizes(now)} now.`;
  if (!enough) return html`Too little is on record to propose a size.${follows}`;
  if (!proposed) return html`No size that the pool may have reaches ${ratio(target)}.${follows}`;
  const said = html`The fixed size of least cost that reaches ${ratio(target)} is <b>${sizes(proposed)}</b>.`;
  if (follows) return html`${said}${follows}`;
  const changes = changesOf(plan, live.pools.find(({ name }) => name === pool));
  if (!changes.length) return html`${said} The pool has it.`;
  const set = () => show(ApplyDialog, { live, pool, changes, onSet });
  return html`${said} <button disabled=${!live.isLive} title=${obstacle(live)} onClick=${set}>Use this size…</button>`;
}

/** From which sizes, without clock windows, to which. A reserve that is not needed goes back to the settings: a 0 would say that none is ever parked. */
function changesOf({ now, proposed }, pool) {
  const most = pool?.changed.max_idle ?? pool?.configured.max_idle ?? null;
  const parked = proposed.parked || pool?.configured.parked ? proposed.parked : null;
  return [
    { name: "min_idle", label: "Min idle", from: now.idle, to: proposed.idle },
    { name: "max_idle", label: "Max idle", from: most, to: most === null ? null : Math.max(most, proposed.idle) },
    { name: "parked", label: "Parked", from: now.parked, to: proposed.parked, value: parked },
  ].filter(({ from, to }) => from !== to);
}

function ApplyDialog({ live, pool, changes, onSet, onClose }) {
  const act = async () => {
    await changePool(live, pool, Object.fromEntries(changes.map(({ name, to, value = to }) => [name, value])));
    say(`Pool ${pool} has new sizes.`);
    onSet();
  };
  return html`<${ActDialog} title=${`Size of pool ${pool}`} action="Set" act=${act} onClose=${onClose}>
    ${changes.map(({ name, label, from, to }) => html`<p key=${name}>${label}: ${number(from)} → <b>${number(to)}</b></p>`)}
    <p class="muted">This holds at once, and also after a restart.</p>
  <//>`;
}

/** Hit ratio against idle machine-hours: one mark for each size, and a line at the ratio that is wanted. */
function Picture({ plan }) {
  const id = useId();
  const most = Math.max(0.1, ...plan.sizes.map((one) => one.idle_hours));
  const lowest = Math.min(plan.target, ...plan.sizes.map((one) => one.hit_ratio));
  const least = Math.max(0, Math.floor((lowest - 0.02) * 100) / 100); // its label has no decimals
  const x = (hours) => LEFT + (hours / most) * (WIDTH - LEFT - 12);
  const y = (value) => TOP + ((1 - value) / (1 - least)) * (HEIGHT - TOP - BOTTOM);
  const fixed = plan.sizes.filter((one) => !one.adaptive && !one.parked);
  const words = plan.sizes.map((one) => `${one.adaptive ? "following demand" : sizes(one)}: ${ratio(one.hit_ratio)} for ${number(one.idle_hours)} hours`);
  return html`<figure class="chart" aria-labelledby=${id}>
    <figcaption>
      <h3 id=${id}>Hit ratio against idle machine-hours</h3><span></span>
      <dl>
        <div><dt><i class="key accent" aria-hidden="true"></i>fixed size</dt></div>
        <div><dt><i class="key idle" aria-hidden="true"></i>follows demand</dt></div>
        <div><dt><i class="key line busy" aria-hidden="true"></i>wanted</dt></div>
      </dl>
    </figcaption>
    <svg class="scatter" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${`Hit ratio and idle machine-hours: ${words.join("; ")}`}>
      <line class="axis" x1=${LEFT} x2=${WIDTH - 12} y1=${HEIGHT - BOTTOM} y2=${HEIGHT - BOTTOM} />
      <line class="wanted" x1=${LEFT} x2=${WIDTH - 12} y1=${y(plan.target)} y2=${y(plan.target)} />
      <polyline points=${fixed.map((one) => `${x(one.idle_hours).toFixed(1)},${y(one.hit_ratio).toFixed(1)}`).join(" ")} />
      ${plan.sizes.map((one) => html`<${Mark} key=${`${one.idle} ${one.parked} ${one.adaptive}`} one=${one} plan=${plan} x=${x(one.idle_hours)} y=${y(one.hit_ratio)} />`)}
      <text x=${LEFT - 6} y=${TOP} text-anchor="end" dominant-baseline="central">100 %</text>
      <text x=${LEFT - 6} y=${HEIGHT - BOTTOM} text-anchor="end" dominant-baseline="central">${(least * 100).toFixed(0)} %</text>
      <text x=${LEFT} y=${HEIGHT - 6}>0</text>
      <text x=${WIDTH - 12} y=${HEIGHT - 6} text-anchor="end">${number(most)} h</text>
    </svg>
  </figure>`;
}

/** What follows demand is square, so that colour is not all that tells it. */
function Mark({ one, plan, x, y }) {
  const title = html`<title>${one.adaptive ? "follows demand" : sizes(one)}: ${ratio(one.hit_ratio)}, ${number(one.idle_hours)} hours</title>`;
  if (one.adaptive) return html`<rect class="adaptive" x=${x - 5} y=${y - 5} width="10" height="10">${title}</rect>`;
  return html`<circle class=${isSame(one, plan.proposed) ? "proposed" : "fixed"} cx=${x} cy=${y} r=${isSame(one, plan.proposed) ? 5 : 3.5}>${title}</circle>`;
}

const LABELS = ["Size", "Hit ratio", "p50 wait", "p99 wait", "Idle hours", "Parked hours", ""];

function Table({ plan }) {
  return html`<div class="scrolls" tabindex="0" role="region" aria-label="Sizes and what they would have been worth">
    <table class="sizes">
      <thead><tr>${LABELS.map((label) => html`<th key=${label} scope="col">${label || html`<span class="visually-hidden">Note</span>`}</th>`)}</tr></thead>
      <tbody>
        ${plan.sizes.map((one) => html`<tr key=${`${one.idle} ${one.parked} ${one.adaptive}`}>
          <th scope="row">${one.adaptive && "up to "}${sizes(one)}</th>
          <td class=${one.hit_ratio < plan.target ? "below" : ""}>${ratio(one.hit_ratio)}</td>
          <td>${ms(one.p50_wait_seconds * 1000)}</td>
          <td>${ms(one.p99_wait_seconds * 1000)}</td>
          <td>${number(one.idle_hours)}</td>
          <td>${number(one.parked_hours)}</td>
          <td>${noteOf(plan, one)}</td>
        </tr>`)}
      </tbody>
    </table>
  </div>`;
}

function noteOf(plan, one) {
  if (one.adaptive) return "follows demand";
  const isNow = plan.sizing === "fixed" && isSame(one, plan.now);
  return [isSame(one, plan.proposed) && "proposed", isNow && "now", one.hit_ratio < plan.target && "too few"].filter(Boolean).join(", ");
}
