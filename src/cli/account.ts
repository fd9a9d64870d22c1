/**
 * The account that a command works with: its configuration, and the clients made from it, when they are needed.
 *
 * A bucket's zone is found as `exo` finds it: HEAD of the bucket at the default zone, whose `x-amz-bucket-region` header
 * names the zone whatever the status. Then the CLI speaks to that zone's own endpoint.
 */
import { ControlClient, S3Client } from "./client.ts";
import type { Config, ZoneEndpoint } from "./config.ts";

interface ZoneList {
  zones?: { name: string; "api-endpoint"?: string; "sos-endpoint": string }[];
}

export class Account {
  readonly #config: Config;
  #zones: Promise<ZoneEndpoint[]> | undefined;

  constructor(config: Config) {
    this.#config = config;
  }

  get defaultZone(): string {
    return this.#config.defaultZone;
  }

  control(): ControlClient {
    const { api } = this.#config;
    if (!api) throw new Error("no control API: set ZONAL_API_ENDPOINT, for example http://127.0.0.1:9080/v2");
    return new ControlClient(api, this.#config);
  }

  /** The zones with their S3 endpoints: local.json's, else those that the control API lists. */
  zones(): Promise<ZoneEndpoint[]> {
    this.#zones ??= this.#config.zones ? Promise.resolve(this.#config.zones) : this.#listZones();
    return this.#zones;
  }

  /** S3 at a zone. Throws where there is no such zone, unless one endpoint was set for all. */
  async s3(zone: string = this.#config.defaultZone): Promise<S3Client> {
    return new S3Client(await this.#endpoint(zone), zone, this.#config);
  }

  /** S3 at the zone that holds the bucket. Throws where there is no such bucket. */
  async s3Of(bucket: string): Promise<S3Client> {
    const near = await this.s3();
    const answer = await near.call({ method: "HEAD", bucket, accept: [301, 400, 403, 404] });
    const zone = answer.header("x-amz-bucket-region");
    if (!zone && answer.status === 404) throw new Error(`bucket ${JSON.stringify(bucket)} not found`);
    return !zone || zone === near.zone ? near : this.s3(zone);
  }

  async #endpoint(zone: string): Promise<string> {
    const { sosEndpoint } = this.#config;
    if (sosEndpoint) return sosEndpoint.replace("{zone}", zone);
    const zones = await this.zones();
    const found = zones.find(({ name }) => name === zone);
    if (!found)
      throw new Error(`zone ${JSON.stringify(zone)} not found: there are ${zones.map((z) => z.name).join(", ")}`);
    return found.endpoint.replace(/\/+$/, "");
  }

  async #listZones(): Promise<ZoneEndpoint[]> {
    const { zones } = await this.control().get<ZoneList>("/zone");
    return (zones ?? []).map((zone) => ({ name: zone.name, endpoint: zone["sos-endpoint"] }));
  }
}
