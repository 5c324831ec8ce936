// Which machines a list shows, and in which order. Pure.

const BY_NAME = new Intl.Collator("en", { numeric: true });
const BY_URGENCY = ["failed", "restarting", "starting", "assigned", "idle", "parked", "sleeping", "stopping"];

export const COLUMNS = {
  state: { label: "State", key: (one) => BY_URGENCY.indexOf(one.state) },
  project: { label: "Project", key: (one) => one.project ?? "", isText: true },
  machine: { label: "Machine", key: (one) => one.id, isText: true },
  port: { label: "Port", key: (one) => one.port ?? Infinity },
  image: { label: "Image", key: (one) => one.template, isText: true },
  pool: { label: "Pool", key: (one) => one.pool, isText: true },
  age: { label: "Age", key: (one) => -Date.parse(one.created_at) },
};

/** `search` is looked for in all names of a machine; `state` is one word or empty. `sort` is a column; `-` in front reverses it. */
export function filteredAndSorted(machines, { search, state, sort }) {
  const wanted = search.toLowerCase();
  const found = [...machines].filter((one) => (!state || one.state === state) && (!wanted || names(one).includes(wanted)));
  const isTurned = sort.startsWith("-");
  const { key, isText } = COLUMNS[sort.replace("-", "")] ?? COLUMNS.state;
  const keyed = found.map((one) => [key(one), one]);
  keyed.sort(([a, one], [b, other]) => {
    const order = isText ? compared(a, b, isTurned) : a === b ? 0 : a - b;
    return (isTurned ? -order : order) || (one.id < other.id ? -1 : 1);
  });
  return keyed.map(([, one]) => one);
}

/** Machines without a name come last, in either direction. */
function compared(a, b, isTurned) {
  if (!a || !b) return a === b ? 0 : (a ? -1 : 1) * (isTurned ? -1 : 1);
  return BY_NAME.compare(a, b);
}

function names({ id, pool, project, port, container_id, address, metadata }) {
  return `${id}\n${pool}\n${project ?? ""}\n${port ?? ""}\n${container_id ?? ""}\n${address ?? ""}\n${Object.values(metadata ?? {}).join("\n")}`.toLowerCase();
}
