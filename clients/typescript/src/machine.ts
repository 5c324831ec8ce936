import type { Client } from "./client.js";
import { OrchestratorError } from "./errors.js";
import type { components } from "./v1.js";

export type Machine = components["schemas"]["Machine"];
export type ExecResult = components["schemas"]["ExecResult"];
type Line = components["schemas"]["ExecLine"];
/** A piece of output, or as the last one how the command ended. */
export type ExecPart = Exclude<Line, { error: unknown }>;

export interface ExecOptions {
  stdin?: string;
  env?: Record<string, string>;
  user?: string;
  workdir?: string;
  /** The command is killed after so long. Default: 60. */
  timeoutSeconds?: number;
  /** When it is aborted, the service kills the command. */
  signal?: AbortSignal;
}

const LOST = new Set(["project_has_no_machine", "machine_not_found", "generation_mismatch"]);
const KEEPS = 3;

/** A machine that is this block's, by `await using`. Whatever it does fails once another assignment has the machine. */
export class HeldMachine implements AsyncDisposable {
  /** As the service described it when it was assigned. */
  readonly details: Machine;
  readonly project: string;
  readonly #client: Client;
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  #released = false;

  /** @internal */
  constructor(client: Client, details: Machine) {
    this.#client = client;
    this.details = details;
    this.project = details.project ?? "";
    const { ttl = null, idle_timeout = null, confirm_within = null } = details.lease ?? {};
    const limits = [ttl, idle_timeout, confirm_within].filter((limit) => limit !== null);
    if (limits.length > 0) {
      const keep = () => void client.keep(this.project, details.generation).catch(() => undefined); // the next may succeed
      this.#timer = setInterval(keep, Math.min((Math.min(...limits) * 1000) / KEEPS, 2 ** 31 - 1));
      (this.#timer as { unref?: () => void }).unref?.(); // Node: a program that is done does not wait for it
    }
  }

  get id(): string {
    return this.details.id;
  }

  /** Of its first port, on the host of the service. */
  get url(): string | null {
    return this.details.url;
  }

  /** Run a command to its end. Its program is not a shell: `["sh", "-c", "…"]`. A code that is not 0 is no error. */
  async exec(command: string[], options: ExecOptions = {}): Promise<ExecResult> {
    return (await (await this.#exec(command, options, "application/json")).json()) as ExecResult;
  }

  /** As `exec`, with all output as it comes. A command whose output is not read has to wait; `break` kills it. */
  async *execStream(command: string[], options: ExecOptions = {}): AsyncGenerator<ExecPart, void, void> {
    const response = await this.#exec(command, options, "application/jsonl");
    let isWhole = false;
    for await (const text of linesOf(response)) {
      const line = JSON.parse(text) as Line;
      if ("error" in line) throw new OrchestratorError(line.error);
      isWhole = "exit_code" in line;
      yield line;
    }
    if (!isWhole) {
      const detail = "The connection broke off while the command ran. It was killed, or its end is not known.";
      throw new OrchestratorError({ code: "service_unreachable", detail });
    }
  }

  /** The content of a file, by its absolute path. */
  async readFile(path: string): Promise<Uint8Array> {
    const headers = { accept: "application/octet-stream" };
    const response = await this.#client.raw(this.#path("files", { path }), { headers });
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Write a file, whose folder is there. */
  async writeFile(path: string, content: string | Uint8Array<ArrayBuffer>): Promise<void> {
    const headers = { "content-type": "application/octet-stream" };
    const body = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await this.#client.raw(this.#path("files", { path, ...this.#fence }), { method: "PUT", headers, body });
  }

  /** Give it back now. It is no error if the project has lost it already, or has another one. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    clearInterval(this.#timer);
    try {
      await this.#client.release(this.project, this.details.generation);
    } catch (error) {
      if (!(error instanceof OrchestratorError && LOST.has(error.code))) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  get #fence(): { generation: string } {
    return { generation: String(this.details.generation) };
  }

  #path(what: string, query: Record<string, string>): string {
    return `/v1/machines/${encodeURIComponent(this.id)}/${what}?${new URLSearchParams(query).toString()}`;
  }

  #exec(command: string[], options: ExecOptions, accept: string): Promise<Response> {
    const { timeoutSeconds, signal, ...rest } = options;
    const body = { command, ...rest, ...(timeoutSeconds === undefined ? {} : { timeout_seconds: timeoutSeconds }) };
    return this.#client.raw(this.#path("exec", this.#fence), {
      method: "POST",
      headers: { accept, "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: signal ?? null,
    });
  }
}

async function* linesOf(response: Response): AsyncGenerator<string, void, void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const piece of response.body ?? []) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter((line) => line.trim() !== "");
  }
}
