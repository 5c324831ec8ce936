/** Against the service that ORCHESTRATOR_URL names; tests/integration/test_typescript_client.py starts it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client, type ExecPart, OrchestratorError } from "../src/index.js";

const client = new Client();

const fails = (code: string) => (error: unknown) => error instanceof OrchestratorError && error.code === code;

test("a block has a machine, and gives it back", async () => {
  let id: string;
  {
    await using machine = await client.machine("typescript-block", { metadata: { branch: "main" } });
    id = machine.id;
    assert.deepEqual(machine.details.metadata, { branch: "main" });
    assert.equal((await fetch(machine.url ?? "")).status, 200);
    assert.ok((await client.machines()).some((found) => found.id === id && found.state === "assigned"));
  }
  const { error } = await client.api.GET("/v1/projects/{project}/machine", {
    params: { path: { project: "typescript-block" } },
  });
  assert.ok(error !== undefined && "code" in error && error.code === "project_has_no_machine");
});

test("commands run, whole and as a stream, and end when nobody reads", async () => {
  await using machine = await client.machine("typescript-exec");
  const done = await machine.exec(["sh", "-c", "cat; echo $WHO >&2; exit 3"], { stdin: "in", env: { WHO: "me" } });
  assert.deepEqual([done.exit_code, done.stdout, done.stderr], [3, "in", "me\n"]);
  assert.equal((await machine.exec(["sleep", "9"], { timeoutSeconds: 0.5 })).exit_code, null);

  let length = 0;
  let last: ExecPart | undefined;
  for await (const part of machine.execStream(["sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' x"])) {
    if ("text" in part) length += part.text.length;
    last = part;
  }
  assert.equal(length, 10_000_000);
  assert.deepEqual(last, { exit_code: 0, truncated: false });

  for await (const part of machine.execStream(["sh", "-c", "echo begun; exec sleep 4343"])) {
    assert.deepEqual(part, { stream: "stdout", text: "begun\n" });
    break;
  }
  const gone = async () => !(await machine.exec(["ps"])).stdout.includes("sleep 4343");
  for (let tries = 0; tries < 50 && !(await gone()); tries++) await sleep(100);
  assert.ok(await gone());
});

test("files are written and read", async () => {
  await using machine = await client.machine("typescript-files");
  const bytes = new Uint8Array(1_000_000).map((_, index) => index % 256);
  await machine.writeFile("/tmp/a b&c", bytes);
  assert.deepEqual(await machine.readFile("/tmp/a b&c"), bytes);
  await machine.writeFile("/tmp/text", "ä\n");
  assert.equal(new TextDecoder().decode(await machine.readFile("/tmp/text")), "ä\n");
  await assert.rejects(machine.readFile("/tmp/none"), fails("path_not_found"));
});

test("a machine is kept for as long as the block runs", async () => {
  await using machine = await client.machine("typescript-kept", { ttl: 2 });
  await sleep(5000);
  assert.equal((await machine.exec(["true"])).exit_code, 0);
});

test("another assignment of the project is left alone", async () => {
  const first = await client.machine("typescript-late");
  await client.release("typescript-late");
  await using second = await client.machine("typescript-late");
  await first.release();
  assert.notEqual(first.details.generation, second.details.generation);
  assert.equal((await second.exec(["true"])).exit_code, 0);
});

test("failures have codes, and show no token", async () => {
  for (const name of ["..", "../no", "a/b", ""]) await assert.rejects(client.assign(name), fails("invalid_project"));
  const nobody = new Client({ url: "http://127.0.0.1:1", token: "0123456789abcdef" });
  await assert.rejects(nobody.assign("x"), (error) => fails("service_unreachable")(error) && !String(error).includes("0123456789"));
  await assert.rejects(client.machine("typescript-abort").then((machine) => machine.exec(["sleep", "9"], {
    signal: AbortSignal.timeout(300),
  })), { name: "TimeoutError" });
  await client.release("typescript-abort");
});
