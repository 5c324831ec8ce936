// How pools stand: in a word, why they want what they want, and which of them somebody must look at. Pure.

/** As `orchestrator pools` says it: retired, paused, failing, short, short reserve or ok. `counts` are its machines by state. */
export function wordOfPool(pool, counts = pool.machines) {
  if (pool.retired) return "retired";
  if (pool.paused) return "paused";
  if (pool.back_off || pool.problem) return "failing";
  if (!pool.held_back) return "ok";
  const lacksIdle = pool.waiting > 0 || counts.idle < (pool.wanted_idle ?? pool.min_idle);
  return counts.parked < pool.parked && !lacksIdle ? "short reserve" : "short";
}

/** Its machines do not come up, or cannot be made. A pool that the settings no longer name makes none, and that is no trouble. */
export const isInTrouble = ({ retired, back_off: backOff, problem }) => !retired && Boolean(backOff || problem);

/** Those in trouble that is not the same for others: what several have in common is said of the service. */
export const withOwnTrouble = (pools) => pools.filter((pool) => isInTrouble(pool) && !isShared(pool, pools));

const isShared = ({ name, problem }, pools) => Boolean(problem) && pools.some((other) => other.name !== name && !other.retired && other.problem === problem);

/** Whether the page says this problem of the service where it shows the pool that has it. */
export const isToldBy = ({ name, problem, back_off: backOff }, said) =>
  said === problem || said === `In pool ${name}: ${problem}` || Boolean(backOff && said.includes(backOff.reason));

/** Why it wants as many idle machines as it does, as it stands behind a colon; empty where min idle alone asks for them. */
export const reasonBesideMinIdle = ({ why, min_idle: least }) => (!why || why === `min_idle is ${least}.` ? "" : why.replace(/^The /, "the "));
