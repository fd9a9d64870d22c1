/**
 * The runner's own door, an HTTP server on loopback: it cuts zones of this run off and heals them.
 *
 *   GET  /zones             { "zones": [{ "name", "cut": "none" | "zones" | "all" }] }
 *   POST /zones/NAME/cut    keeps the zone from clients, the other zones and the control API; with ?from=zones not from
 *                           clients
 *   POST /zones/NAME/heal   brings it back
 *
 * Both answer { "name", "cut", "dropped" }, the last how many requests broke off for it, and may be repeated. Whatever goes
 * wrong answers { "error" }. There is no key, because whoever may open a socket here may end the server too; but a page in
 * a browser is refused, by the Origin that it can't hide and by a Host that isn't ours.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Cut } from "./switch.ts";
import { HOST } from "./workers.ts";

/** A zone's entrypoint Switch, as the runner calls it. */
export interface ZoneSwitch {
  turn(to: Cut): Promise<number>;
  position(): Promise<Cut>;
}

interface Answer {
  status: number;
  body: object;
  /** methods that the address has, where the request's isn't one */
  allow?: string;
}

export interface DoorOptions {
  /** names */
  zones: string[];
  /** is asked each time: workerd may have been started anew */
  switchOf(zone: string): Promise<ZoneSwitch>;
  /** is called before a zone is cut off or healed */
  onTurn(zone: string, to: Cut): void;
}

export class Door {
  readonly #server: Server;
  readonly #options: DoorOptions;

  private constructor(options: DoorOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  /** Opens it at a free port. */
  static async open(options: DoorOptions): Promise<Door> {
    const door = new Door(options);
    await new Promise<void>((done, fail) => door.#server.once("error", fail).listen(0, HOST, done));
    return door;
  }

  get url(): string {
    return `http://${HOST}:${this.#port}`;
  }

  async close(): Promise<void> {
    const closed = new Promise((done) => this.#server.close(done));
    this.#server.closeAllConnections();
    await closed;
  }

  get #port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, body, allow } = await this.#answer(request).catch((error: Error) => refuse(500, error.message));
    const headers = { "content-type": "application/json", ...(allow && { allow }) };
    response.writeHead(status, headers).end(`${JSON.stringify(body)}\n`);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    if (!this.#isForUs(request)) return refuse(403, "this door is for programs on this machine, not for web pages");
    const url = new URL(request.url ?? "/", this.url);
    if (url.pathname === "/zones") return request.method === "GET" ? await this.#list() : refuseMethod("GET");
    const [, name, verb] = /^\/zones\/([^/]+)\/(cut|heal)$/.exec(url.pathname) ?? [];
    if (name === undefined) return refuse(404, `there is nothing at ${url.pathname}`);
    if (!this.#options.zones.includes(name))
      return refuse(404, `there is no zone ${name} in this run: ${this.#options.zones.join(", ")}`);
    if (request.method !== "POST") return refuseMethod("POST");
    const from = url.searchParams.get("from") ?? "all";
    if (from !== "all" && from !== "zones") return refuse(400, `from=${from}: it must be all or zones`);
    return await this.#turn(name, verb === "heal" ? "none" : from);
  }

  /** A page's script may post here without asking, and a name that leads to 127.0.0.1 makes it read the answer. */
  #isForUs({ headers }: IncomingMessage): boolean {
    const hosts = [HOST, "localhost"].map((host) => `${host}:${this.#port}`);
    return headers.origin === undefined && hosts.includes(headers.host ?? "");
  }

  /** The zones tell it themselves, since a new workerd has forgotten it. */
  async #list(): Promise<Answer> {
    const { zones, switchOf } = this.#options;
    const states = zones.map(async (name) => ({ name, cut: await (await switchOf(name)).position() }));
    return { status: 200, body: { zones: await Promise.all(states) } };
  }

  async #turn(name: string, cut: Cut): Promise<Answer> {
    const { switchOf, onTurn } = this.#options;
    onTurn(name, cut);
    const dropped = await (await switchOf(name)).turn(cut);
    return { status: 200, body: { name, cut, dropped } };
  }
}

function refuse(status: number, error: string): Answer {
  return { status, body: { error } };
}

function refuseMethod(allow: string): Answer {
  return { ...refuse(405, `only ${allow} is understood here`), allow };
}
