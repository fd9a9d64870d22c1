/**
 * Ports on 127.0.0.1: 0 stands for any free one. A zone's endpoint is part of its configuration, so ports are chosen
 * before workerd starts; workerd itself would only say that some address is in use, not which zone's.
 *
 * Free ones are not left to the system to choose: between our closing such a port and workerd's opening it, the system
 * gives it to the next connection that goes out. Ports below its range for those stay free.
 */
import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";
import { HOST } from "./workers.ts";

export interface PortRequest {
  /** 0: any free one */
  port: number;
  /** what it is for, and the flag that changes it: for the error */
  purpose: string;
  flag: string;
}

const FREE_FROM = 20_000;
const FREE_BELOW = 32_000;

/** Ports as asked for, in that order. Throws where one is taken, naming it and the flag that changes it. */
export async function choosePorts(requests: PortRequest[]): Promise<number[]> {
  const servers: Server[] = [];
  try {
    for (const request of requests) servers.push(await listen(request));
    return servers.map((server) => (server.address() as { port: number }).port);
  } finally {
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  }
}

async function listen({ port, purpose, flag }: PortRequest): Promise<Server> {
  for (;;) {
    const server = await tryToListen(port === 0 ? randomInt(FREE_FROM, FREE_BELOW) : port);
    if (server) return server;
    if (port !== 0) throw new Error(`port ${port} (${purpose}) is taken: choose another with ${flag}`);
  }
}

/** undefined where the port is taken. */
function tryToListen(port: number): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(port, HOST, () => resolve(server));
  });
}
