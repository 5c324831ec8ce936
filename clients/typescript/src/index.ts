export { type AssignOptions, Client, type ClientOptions } from "./client.js";
export { OrchestratorError, type Problem } from "./errors.js";
export { type ExecOptions, type ExecPart, type ExecResult, HeldMachine, type Machine } from "./machine.js";
export type { components, operations, paths } from "./v1.js";
