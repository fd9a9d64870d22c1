/**
 * The organizations that a local run begins with: `main`, and `alt` to see what another organization may not.
 *
 * They are made by the control API's own admin operation, once; a secret is shown only when its key is made, so the
 * state keeps it.
 */
import type { Organization, State } from "./state.ts";

const NAMES = ["main", "alt"];

/** Makes those that the state doesn't hold yet. Throws with the control API's words where it refuses. */
export async function createOrganizations(api: string, state: State): Promise<void> {
  const { organizations, ADMIN_TOKEN } = state.secrets;
  for (const name of NAMES) {
    if (organizations.some((organization) => organization.name === name)) continue;
    organizations.push(await createOrganization(api, ADMIN_TOKEN, name));
    state.saveSecrets();
  }
}

async function createOrganization(api: string, token: string, name: string): Promise<Organization> {
  const response = await fetch(`${api}/admin/organization`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ name }),
  });
  if (!response.ok)
    throw new Error(`organization ${name} can't be created: ${response.status} ${await response.text()}`);
  const { id, key, secret } = (await response.json()) as Organization;
  return { id, name, key, secret };
}
