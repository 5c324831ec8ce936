import createClient, { type Client as Api } from "openapi-fetch";

import { isProblem, OrchestratorError } from "./errors.js";
import { HeldMachine, type Machine } from "./machine.js";
import type { components, paths } from "./v1.js";

/** What an assign may ask for: deadlines in seconds, a pool, metadata, values for the worker. */
export type AssignOptions = components["schemas"]["AssignBody"];

export interface ClientOptions {
  /** Default: `ORCHESTRATOR_URL` of the environment, else `http://localhost:9092`. */
  url?: string;
  /** Default: `ORCHESTRATOR_TOKEN` of the environment. It is sent to this address alone. */
  token?: string;
  /** Default: the global one. */
  fetch?: typeof fetch;
}

const PROJECT = /^(?!\.)[A-Za-z0-9._~:@+=,-]{1,128}$/;
const env: Record<string, string | undefined> =
  (globalThis as { process?: { env: Record<string, string | undefined> } }).process?.env ?? {};

/** A service. Nothing is sent before the first call. A call is sent once, and no redirect is followed. */
export class Client {
  readonly url: string;
  /** Every operation of the service, with the types of its description: `client.api.GET("/v1/pools")`. */
  readonly api: Api<paths>;
  readonly #send: (input: string, init: RequestInit) => Promise<Response>;

  constructor(options: ClientOptions = {}) {
    this.url = (options.url ?? (env["ORCHESTRATOR_URL"] || "http://localhost:9092")).replace(/\/+$/, "");
    const token = options.token ?? env["ORCHESTRATOR_TOKEN"];
    const call = options.fetch ?? globalThis.fetch;
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const send = async (request: Request): Promise<Response> => {
      try {
        return await call(request);
      } catch (cause) {
        if (cause instanceof DOMException) throw cause; // the caller's own signal
        const detail = `No service answers at ${this.url}: ${reasonOf(cause)}.`;
        throw new OrchestratorError({ code: "service_unreachable", detail }, { cause });
      }
    };
    this.api = createClient<paths>({ baseUrl: this.url, headers, redirect: "error", fetch: send });
    this.#send = (path, init) => {
      const request = new Request(this.url + path, { redirect: "error", ...init });
      for (const [name, value] of Object.entries(headers)) request.headers.set(name, value);
      return send(request);
    };
  }

  /**
   * A machine for the time of a block, released at its end. While it is held it is kept, where a deadline ends it.
   *
   *     await using machine = await client.machine("my-project");
   */
  async machine(project: string, options: AssignOptions = {}): Promise<HeldMachine> {
    return new HeldMachine(this, await this.assign(project, options));
  }

  /** The machine of this project: the one that it has, else one that is assigned now. Safe to call again. */
  async assign(project: string, options: AssignOptions = {}): Promise<Machine> {
    const path = { project: checked(project) };
    return must(await this.api.PUT("/v1/projects/{project}/machine", { params: { path }, body: options }));
  }

  /** Give the machine of a project back. With the generation of a machine, only that assignment is ended. */
  async release(project: string, generation?: number): Promise<void> {
    const query = generation === undefined ? {} : { generation };
    must(await this.api.DELETE("/v1/projects/{project}/machine", { params: { path: { project: checked(project) }, query } }));
  }

  /** Begin the `ttl` and the idle time of a project's machine anew. */
  async keep(project: string, generation?: number): Promise<void> {
    const query = generation === undefined ? {} : { generation };
    const params = { path: { project: checked(project) }, query };
    must(await this.api.POST("/v1/projects/{project}/machine/keepalive", { params, body: {} }));
  }

  /** All machines, page by page. */
  async machines(): Promise<Machine[]> {
    const found: Machine[] = [];
    let after: string | null = null;
    do {
      const query: { limit: number; after?: string } = after === null ? { limit: 1000 } : { limit: 1000, after };
      const page: components["schemas"]["Machines"] = must(await this.api.GET("/v1/machines", { params: { query } }));
      found.push(...page.machines);
      after = page.next;
    } while (after !== null);
    return found;
  }

  /** @internal What has no JSON body or reply. Throws OrchestratorError for any reply but a success. */
  async raw(path: string, init: RequestInit): Promise<Response> {
    const response = await this.#send(path, init);
    if (!response.ok) throw await errorOf(response);
    return response;
  }
}

/** A name that is sent: `..` would lead to another route. */
function checked(project: string): string {
  if (PROJECT.test(project)) return project;
  const detail = "A project id is 1 to 128 letters, digits or . _ ~ : @ + = , - and does not start with a dot.";
  throw new OrchestratorError({ code: "invalid_project", detail });
}

/** The data of a reply; throws OrchestratorError if it is none of success. */
function must<T>(result: { data?: T; error?: unknown; response: Response }): T {
  if (result.response.ok) return result.data as T;
  throw problemOf(result.response, result.error);
}

async function errorOf(response: Response): Promise<OrchestratorError> {
  const text = await response.text();
  try {
    return problemOf(response, JSON.parse(text));
  } catch {
    return problemOf(response, text);
  }
}

function problemOf(response: Response, told: unknown): OrchestratorError {
  if (isProblem(told)) return new OrchestratorError(told);
  const detail = `The reply with status ${response.status} is not one of the service: ${String(told).slice(0, 200)}`;
  return new OrchestratorError({ code: "call_failed", detail, status: response.status });
}

function reasonOf(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  return inner instanceof Error ? inner.message || inner.name : String(inner);
}
