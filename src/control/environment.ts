/** What the control Worker is bound to. src/env.d.ts is generated for a zone; this is the part that control has, and its own. */
export type ControlEnv = Pick<Env, "CONTROL" | "ROOT_KEY" | "ZONES" | "API_ENDPOINT"> & {
  /** secret of whoever runs this deployment; without one there is no way to make organizations */
  ADMIN_TOKEN?: string;
  /** set by the local runner, where no edge stands in front */
  LOCAL?: string;
};
