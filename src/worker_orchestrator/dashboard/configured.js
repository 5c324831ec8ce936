// Whether a machine has what its project gave it, in words. Pure.

const OF_IT = new Set(["configuring", "configured", "setup_failed", "unconfigured"]);

/** Whether its pool takes values, so that there is something to say of it. */
export const takesValues = ({ configured }) => configured === true || configured === false;

/** Whether its project has given it something, so that it is cleaned before another project gets it. */
export const wasConfigured = ({ configured, setup }) => Boolean(configured || setup);

/** In as few words as a list has room for. */
export const configuredWord = (machine) => (takesValues(machine) ? (machine.configured ? "configured" : "not configured") : "");

/** Why it is not configured, by the events that are known of it, in either order of time; empty if it is. */
export function whyNot(machine, events) {
  if (machine.configured !== false) return "";
  const own = events.filter((event) => event.machine === machine.id && event.generation === machine.generation && OF_IT.has(event.cause));
  const last = own.reduce((newest, event) => (!newest || event.id > newest.id ? event : newest), null);
  if (last && last.cause !== "configured") return last.reason.replace(/^It is not configured\. /, "");
  return machine.setup ? "What it had was in memory, and is gone." : "No assign has brought values for it so far.";
}
