// Reasons that say no more than the event's own words. The service makes them in core/reasons.py; the short ones are of earlier
// versions, and are still in databases.

const SAY_NOTHING_NEW = new Set([
  "",
  "Its container is being created.",
  "The worker answered.",
  "It was assigned to the project.",
  "The project released it.",
  "Its project configures it.",
  "Its project has configured it.",
  "Its container was restarted, and nothing of its former configuration is left.",
  "new",
  "answered",
  "assigned",
  "released",
]);

export const saysMore = ({ reason }) => !SAY_NOTHING_NEW.has(reason);
