// Reads server-sent events from a response. The browser's own EventSource can send no header, and a session needs one.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

/** Calls `tell({id, event, data})` for each event (`data` is text, empty where there is none) until the stream ends. */
export async function readEvents(response, tell) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) tell(parsed(block));
  }
}

function parsed(block) {
  const told = { id: "", event: "message", data: "" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    if (at <= 0) continue; // a comment
    const field = line.slice(0, at);
    const value = line.slice(at + 1).replace(/^ /, "");
    if (field === "data") told.data += told.data ? `\n${value}` : value;
    else if (field in told) told[field] = value;
  }
  return told;
}
