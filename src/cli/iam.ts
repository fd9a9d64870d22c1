/**
 * `zonal iam`: roles and API keys, through the control API.
 *
 * A policy goes to the server as it was written: `exo` drops what it doesn't know, `resources` among it.
 * Surprising: a role's JSON says `permission`, a list of roles `key` (the id) and `type` (editable). That is `exo`'s.
 */
import type { Command } from "commander";
import type { ControlClient } from "./client.ts";
import { accountOf, addGroup, collect, collectPairs, optionsOf, show } from "./command.ts";
import { RequestError } from "./http.ts";
import { readInput } from "./input.ts";
import { confirm, type Result } from "./output.ts";
import { withMark } from "./progress.ts";
import { printable, type Table } from "./table.ts";

interface Policy {
  "default-service-strategy": string;
  services: Record<string, { type: string; rules?: { action: string; expression: string; resources?: string[] }[] }>;
}
interface Role {
  id: string;
  name: string;
  description?: string;
  editable?: boolean;
  labels?: Record<string, string>;
  permissions?: string[];
  policy?: Policy;
}
interface ApiKey {
  name: string;
  key: string;
  "role-id": string;
  secret?: string;
}
interface RoleOptions {
  description?: string;
  editable: boolean;
  labels?: Record<string, string>;
  permissions?: string[];
  policy?: string;
  force?: boolean;
}

export function addRole(iam: Command): void {
  const role = addGroup(iam, "role", "Roles: what an API key may do");
  withRoleOptions(role.command("create").description("Create a role. Without a policy it allows everything."))
    .argument("<name>", "name of the role")
    .option("--editable", "let the policy be changed later", true)
    .option("--no-editable", "freeze the policy, as --editable=false")
    .action(createRole);
  role.command("list").alias("ls").description("List roles").action(listRoles);
  role
    .command("show")
    .alias("get")
    .description("Show a role")
    .argument("<role>", "id or name")
    .option("--policy", "show its policy instead")
    .action(showRole);
  withRoleOptions(role.command("update").description("Change a role"))
    .argument("<role>", "id or name")
    .action(updateRole);
  role
    .command("delete")
    .alias("del")
    .description("Delete a role. It fails while an API key or a replication configuration uses the role.")
    .argument("<role>", "id or name")
    .option("-f, --force", "don't ask")
    .action(deleteRole);
}

export function addApiKey(iam: Command): void {
  const apiKey = addGroup(iam, "api-key", "API keys");
  apiKey
    .command("create")
    .description("Create an API key. Its secret is shown now and never again, with --quiet too.")
    .argument("<name>", "name of the key")
    .argument("<role>", "id or name of its role")
    .action(createApiKey);
  apiKey.command("list").alias("ls").description("List API keys").action(listApiKeys);
  apiKey
    .command("delete")
    .alias("del")
    .description("Delete an API key")
    .argument("<key>", "name or key")
    .option("-f, --force", "don't ask")
    .action(deleteApiKey);
}

function withRoleOptions(command: Command): Command {
  return command
    .option("--description <text>", "what the role is for")
    .option("--label, --labels <key=value>", "labels, by commas or repeated", collectPairs)
    .option("--permissions <permission>", "permissions, by commas or repeated", collect)
    .option("--policy <json>", "policy as JSON, - reads it from standard input");
}

async function createRole(name: string, options: RoleOptions, command: Command): Promise<void> {
  const { quiet } = optionsOf(command);
  const control = accountOf(command).control();
  const { description, editable, labels, permissions } = options;
  const policy = await readPolicy(options.policy);
  const role = { description: description || undefined, editable, labels, name, permissions, policy };
  const id = await withMark("Creating IAM role...", quiet, () => control.change("POST", "/iam-role", role));
  if (!quiet) show(command, roleResult(await findRole(control, id ?? name)));
}

async function listRoles(_options: object, command: Command): Promise<void> {
  const roles = await roleList(accountOf(command).control());
  show(command, {
    json: roles.map(({ id, name, editable = false }) => ({ key: id, name, type: editable })),
    table: withHeader(
      ["ID", "Name", "Editable"],
      roles.map(({ id, name, editable = false }) => [id, printable(name), String(editable)]),
    ),
  });
}

async function showRole(wanted: string, options: { policy?: boolean }, command: Command): Promise<void> {
  const role = await findRole(accountOf(command).control(), wanted);
  if (!options.policy) return show(command, roleResult(role));
  if (!role.policy) throw new Error(`role ${JSON.stringify(wanted)} has no policy`);
  show(command, policyResult(role.policy));
}

async function updateRole(wanted: string, options: RoleOptions, command: Command): Promise<void> {
  const { quiet } = optionsOf(command);
  const control = accountOf(command).control();
  const policy = await readPolicy(options.policy);
  const { id } = await findRole(control, wanted);
  const { description, labels, permissions } = options;
  if (description !== undefined || labels || permissions) {
    const change = { description, labels, permissions };
    await withMark("Updating IAM role...", quiet, () => control.change("PUT", `/iam-role/${id}`, change));
  }
  if (policy) {
    await withMark("Updating IAM role policy...", quiet, () => control.change("PUT", `/iam-role/${id}:policy`, policy));
  }
  if (!quiet) show(command, roleResult(await findRole(control, id)));
}

async function deleteRole(wanted: string, options: { force?: boolean }, command: Command): Promise<void> {
  const control = accountOf(command).control();
  const { id } = await findRole(control, wanted);
  if (!options.force && !(await confirm(`Are you sure you want to delete IAM Role ${id}?`))) return;
  await withMark(`Deleting IAM role ${id}...`, optionsOf(command).quiet, () => {
    return control.change("DELETE", `/iam-role/${id}`);
  });
}

async function createApiKey(name: string, role: string, _options: object, command: Command): Promise<void> {
  const control = accountOf(command).control();
  const { id } = await findRole(control, role);
  const made = await control.post<ApiKey>("/api-key", { name, "role-id": id });
  const { key, secret = "" } = made;
  show(command, {
    json: { name: made.name, key, secret, "role-id": made["role-id"] },
    table: {
      rows: [
        ["Name", printable(made.name)],
        ["Key", key],
        ["Secret", secret],
        ["Role", made["role-id"]],
      ],
    },
  });
}

async function listApiKeys(_options: object, command: Command): Promise<void> {
  const control = accountOf(command).control();
  const keys = await apiKeyList(control);
  const roles = optionsOf(command).outputFormat === "table" ? await roleListIfAllowed(control) : [];
  const nameOf = new Map(roles.map(({ id, name }) => [id, name]));
  const roleText = (id: string) => (nameOf.has(id) ? `${printable(nameOf.get(id) ?? "")} (${id})` : id);
  show(command, {
    json: keys.map((one) => ({ name: one.name, key: one.key, "role-id": one["role-id"] })),
    table: withHeader(
      ["Name", "Key", "Role"],
      keys.map((one) => [printable(one.name), one.key, roleText(one["role-id"])]),
    ),
  });
}

async function deleteApiKey(wanted: string, options: { force?: boolean }, command: Command): Promise<void> {
  const control = accountOf(command).control();
  const { key } = only(
    await apiKeyList(control),
    (one) => one.name === wanted || one.key === wanted,
    "API key",
    wanted,
  );
  const question = `Are you sure you want to delete API Key ${JSON.stringify(wanted)}?`;
  if (!options.force && !(await confirm(question))) return;
  await withMark(`Deleting API Key ${wanted}...`, optionsOf(command).quiet, () => {
    return control.change("DELETE", `/api-key/${key}`);
  });
}

async function roleList(control: ControlClient): Promise<Role[]> {
  return (await control.get<{ "iam-roles"?: Role[] }>("/iam-role"))["iam-roles"] ?? [];
}

/** For names that are only good to have: a key may list keys and not roles. */
async function roleListIfAllowed(control: ControlClient): Promise<Role[]> {
  try {
    return await roleList(control);
  } catch (error) {
    if (error instanceof RequestError && error.status === 403) return [];
    throw error;
  }
}

async function apiKeyList(control: ControlClient): Promise<ApiKey[]> {
  return (await control.get<{ "api-keys"?: ApiKey[] }>("/api-key"))["api-keys"] ?? [];
}

async function findRole(control: ControlClient, wanted: string): Promise<Role> {
  return only(await roleList(control), (role) => role.id === wanted || role.name === wanted, "role", wanted);
}

/** Throws where none or more than one fits: a name may be another's id. */
function only<T>(list: T[], fits: (one: T) => boolean, what: string, wanted: string): T {
  const found = list.filter(fits);
  if (found.length > 1) throw new Error(`${what} ${JSON.stringify(wanted)}: more than one is called so, use its id`);
  if (!found[0]) throw new Error(`${what} ${JSON.stringify(wanted)} not found`);
  return found[0];
}

/** An absent or empty policy is none. The server judges what it says. */
async function readPolicy(text: string | undefined): Promise<unknown> {
  if (!text) return undefined;
  const json = text === "-" ? await readInput() : text;
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Error(`failed to parse IAM policy: ${(error as Error).message}`, { cause: error });
  }
}

function roleResult(role: Role): Result {
  const { id, name, description = "", editable = false } = role;
  const labels = new Map(Object.entries(role.labels ?? {}));
  const permissions = role.permissions ?? [];
  const lines = [...labels].map(([key, value]) => printable(`${key}:${value}`));
  return {
    json: {
      id,
      name,
      description,
      editable,
      labels: labels.size > 0 ? labels : null,
      permission: permissions.length > 0 ? permissions : null,
    },
    text: [id, name, description, editable, labels, permissions],
    table: {
      rows: [
        ["ID", id],
        ["Name", printable(name)],
        ["Description", printable(description)],
        ["Editable", String(editable)],
        ["Labels", lines.join("\n") || "n/a"],
        ["Permissions", permissions.join("\n") || "n/a"],
      ],
    },
  };
}

/** A service and its type stand only in the first of its rules' rows. */
function policyResult(policy: Policy): Result {
  const rows = Object.entries(policy.services).flatMap(([service, { type, rules = [] }]) => {
    const shown = type === "rules" && rules.length > 0 ? rules : [{ action: "", expression: "" }];
    return shown.map(({ action, expression }, i) => [
      i === 0 ? service : "",
      i === 0 ? type : "",
      action,
      printable(expression),
    ]);
  });
  const strategy = policy["default-service-strategy"];
  const header = ["Service", `Type (default strategy "${strategy}")`, "Rule Action", "Rule Expression"];
  const services = Object.entries(policy.services).map(([name, one]) => [name, { ...one, rules: one.rules ?? [] }]);
  return {
    json: { "default-service-strategy": strategy, services: Object.fromEntries(services) },
    table: { header, rows },
  };
}

/** A list without items prints nothing, not even its header. */
function withHeader(header: string[], rows: string[][]): Table {
  return rows.length > 0 ? { header, rows } : { rows };
}
