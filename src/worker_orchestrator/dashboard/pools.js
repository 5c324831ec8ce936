// The pools: a single one as it is; of several an overview of all with a switch, and the one that is chosen. The address says
// which one that is: `#/?pool=NAME`.

import { AssignButton } from "./assign.js";
import { count, number } from "./format.js";
import { html, useEffect, useId, useRef } from "./html.js";
import { Bar, counted, Pool, Trouble } from "./pool.js";
import { hrefWith, useRoute } from "./route.js";
import { withOwnTrouble, wordOfPool } from "./standing.js";
import { Mark } from "./statemark.js";

const SHAPES = { ok: "ok", short: "warning", "short reserve": "warning", paused: "paused", failing: "failed", retired: "gone" };

export function Pools({ live }) {
  const { query } = useRoute();
  const { pools } = live;
  const asked = query.get("pool") ?? "";
  const found = pools.find(({ name }) => name === asked);
  const chosen = found ?? (pools.length === 1 ? pools[0] : null);
  if (!pools.length) return null;
  return html`${pools.length > 1 && html`<${Switch} pools=${pools} chosen=${chosen?.name ?? ""} query=${query} />`}
    ${asked && !found && html`<p class="muted" role="status">There is no pool <strong>${asked}</strong> any more.</p>`}
    ${chosen ? html`<${Pool} key=${chosen.name} live=${live} pool=${chosen} />` : html`<${AllPools} live=${live} query=${query} />`}`;
}

function Switch({ pools, chosen, query }) {
  const strip = useRef(null);
  const before = useRef(chosen);
  useEffect(() => {
    const current = strip.current.querySelector("[aria-current]");
    current.scrollIntoView({ block: "nearest", inline: "nearest" });
    // A link in the table leads to a page without it.
    if (before.current !== chosen && document.activeElement === document.body) current.focus({ preventScroll: true });
    before.current = chosen;
  }, [chosen]);
  const choice = (name, label) =>
    html`<a key=${name} href=${hrefWith("", query, { pool: name })} aria-current=${name === chosen ? "true" : undefined}>${label}</a>`;
  return html`<nav class="segments" aria-label="Pools" ref=${strip}>${choice("", "All pools")}${pools.map(({ name }) => choice(name, name))}</nav>`;
}

/** How much there is in all, a line for each pool, and what keeps machines of some from coming up. */
function AllPools({ live, query }) {
  const id = useId();
  const { pools } = live;
  const all = counted(live).counts;
  const hasReserve = all.parked > 0 || pools.some((pool) => pool.parked > 0);
  const labels = ["Pool", "State", "Assigned", all.sleeping && "Sleeping", "Idle", hasReserve && "Parked", "Starting", "Failed", "Waiting", "Limit", "Image"].filter(Boolean);
  return html`<section class="panel pool" aria-labelledby=${id}>
    <header>
      <h2 id=${id}>${count(pools.length, "pool")}</h2>
      <div class="buttons"><${AssignButton} live=${live} /></div>
    </header>
    <${Bar} counts=${all} limit=${pools[0].limit} />
    <div class="scrolls" tabindex="0" role="region" aria-label="Pools">
      <table class="pools" role="table" aria-label="Pools">
        <thead role="rowgroup"><tr role="row">
          ${labels.map(
            (label) => html`<th key=${label} scope="col" role="columnheader" class=${label.toLowerCase()}>${label}</th>`,
          )}
        </tr></thead>
        <tbody role="rowgroup">
          ${pools.map((pool) => html`<${Line} key=${pool.name} pool=${pool} counts=${counted(live, pool.name).counts} hasSleepers=${all.sleeping > 0} hasReserve=${hasReserve} href=${hrefWith("", query, { pool: pool.name })} />`)}
        </tbody>
      </table>
    </div>
    ${withOwnTrouble(pools).map((pool) => html`<${Trouble} key=${pool.name} live=${live} pool=${pool} isNamed />`)}
  </section>`;
}

/** On a narrow screen it is a card: there each number says what it counts, and those that count nothing are left out. */
function Line({ pool, counts, hasSleepers, hasReserve, href }) {
  const { name, image, max_machines: own, wanted_idle: wanted, min_idle: least, waiting, retired, held_back: heldBack } = pool;
  const word = wordOfPool(pool, counts);
  const cell = (kind, n, more = "", mark = "") =>
    html`<td role="cell" class="number ${kind} ${n ? mark : "none"}" data-label=${kind}><span>${number(n)}${more && html` <small>${more}</small>`}</span></td>`;
  return html`<tr role="row">
    <th scope="row" role="rowheader" class="pool-name"><a href=${href}>${name}</a></th>
    <td role="cell" class="state" title=${(word.startsWith("short") && heldBack) || undefined}><${Mark} state=${SHAPES[word]}>${word}<//></td>
    ${cell("assigned", counts.assigned)}
    ${hasSleepers && cell("sleeping", counts.sleeping)}
    ${cell("idle", counts.idle, retired ? "" : `of ${number(wanted ?? least)}`)}
    ${hasReserve && cell("parked", counts.parked, pool.parked ? `of ${number(pool.parked)}` : "")}
    ${cell("starting", counts.starting + counts.restarting)}
    ${cell("failed", counts.failed, "", "bad")}
    ${cell("waiting", waiting, "", "busy")}
    <td role="cell" class="number limit ${own ? "" : "none"}" data-label="limit"><span>${own ? number(own) : "–"}</span></td>
    <td role="cell" class="image"><code title=${image}>${image || "–"}</code></td>
  </tr>`;
}
