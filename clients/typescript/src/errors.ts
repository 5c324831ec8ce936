import type { components } from "./v1.js";

/** What the service replies to a request that failed. */
export type Problem = components["schemas"]["Problem"];

/** A failure. `message` is a sentence for people; `code` never changes; `status` is undefined if no reply came. */
export class OrchestratorError extends Error {
  override readonly name = "OrchestratorError";
  readonly code: string;
  readonly status: number | undefined;
  /** The request's id in the log of the service. */
  readonly requestId: string;
  /** After how many seconds a later try may succeed, if the service said so. */
  readonly retryAfterSeconds: number | undefined;

  constructor(problem: Partial<Problem> & { code: string; detail: string }, options?: ErrorOptions) {
    super(problem.detail, options);
    this.code = problem.code;
    this.status = problem.status;
    this.requestId = problem.request_id ?? "";
    this.retryAfterSeconds = problem.retry_after_seconds;
  }
}

/** Whether a value that was read from a reply is a problem of the service, and not the page of a proxy. */
export function isProblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "code" in value && "detail" in value;
}
