import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { SUPERVISION } from '../core/limits.ts';

const LOOK_MS = 25;

/**
 * Lets one recorder at a time look whether ports are free and bind them. A gate is an abstract unix socket named
 * after its port: like ports they belong to a network namespace, and whoever ends, however it ends, has left. It is by
 * the port alone, because addresses overlap (`::` takes what 127.0.0.1 would); what overlaps is for the kernel to say.
 */
export class PortGates {
  readonly #held: readonly Server[];

  private constructor(held: readonly Server[]) {
    this.#held = held;
  }

  /**
   * Waits until nobody else is at these ports. Where a system has no such sockets, or gives us none, we are alone. A
   * gate whose holder does not leave, which may be anybody's, is passed by: no traffic waits for it for good, and
   * that a port is free is looked at all the same.
   */
  static async enter(ports: readonly number[], patienceMs: number = SUPERVISION.gateMs): Promise<PortGates> {
    const held: Server[] = [];
    // In one order for all, so that no two wait for each other.
    for (const port of [...new Set(ports)].sort((a, b) => a - b)) {
      const gate = await waitFor(port, patienceMs);
      if (gate !== null) held.push(gate);
    }
    return new PortGates(held);
  }

  leave(): void {
    for (const gate of this.#held) gate.close();
  }
}

/** Null where it cannot be had. */
async function waitFor(port: number, patienceMs: number): Promise<Server | null> {
  for (let waitedMs = 0; ; waitedMs += LOOK_MS) {
    const gate = await take(port);
    if (gate !== 'taken') return gate;
    if (waitedMs >= patienceMs) return null;
    await sleep(LOOK_MS);
  }
}

/** Null where there is nothing to take. */
function take(port: number): Promise<Server | 'taken' | null> {
  if (process.platform !== 'linux') return Promise.resolve(null);
  return new Promise((resolve) => {
    const gate = createServer((socket) => socket.destroy());
    gate.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EADDRINUSE' ? 'taken' : null));
    gate.listen({ path: `\0reprise:start:${port}` }, () => resolve(gate.unref()));
  });
}
