// A lean Express 5 service that keeps its machines in an array and stores nothing: node server.js PORT MACHINES
// No logging, no body parser, no etag, no extra header: nothing in it that a request would wait for.
import express from "express";

const [port, count] = process.argv.slice(2).map(Number);
const machines = Array.from({ length: count }, (_, number) => ({
  id: `worker-${Date.now()}-${String(number).padStart(9, "0")}`,
  containerId: number.toString(16).padStart(12, "0"),
  ip: "localhost",
  port: 9093 + number,
  isUsed: false,
  assignedProject: null,
  url: `http://localhost:${9093 + number}`,
}));

const app = express();
app.disable("x-powered-by");
app.disable("etag");

app.get("/machines/list", (request, response) => {
  response.json({ machines });
});

app.get("/:projectId", (request, response) => {
  const { projectId } = request.params;
  const machine =
    machines.find((one) => one.assignedProject === projectId) ?? machines.find((one) => !one.isUsed);
  if (!machine) {
    response.status(503).json({ error: "Failed to create worker or no machines available" });
    return;
  }
  machine.isUsed = true;
  machine.assignedProject = projectId;
  response.json({ ip: machine.ip, port: machine.port, url: machine.url, containerId: machine.id });
});

app.delete("/:id", (request, response) => {
  const { id } = request.params;
  const machine = machines.find(
    (one) => one.id === id || one.assignedProject === id || one.containerId === id,
  );
  if (!machine) {
    response.status(404).json({ error: "Machine not found" });
    return;
  }
  machine.isUsed = false;
  machine.assignedProject = null;
  response.json({ message: `Machine ${id} released` });
});

app.listen(port, "127.0.0.1");
