import type { ProtocolUse } from '../core/accounting.ts';
import type { ProtocolCount } from '../core/status.ts';

/** Labels of metrics are closed lists: the name of an upgrade comes from the wire and may be anything. */
export const PROTOCOLS = ['http/1.1', 'h2', 'h2c', 'websocket', 'connect', 'unparsed', 'other'] as const;
type Protocol = (typeof PROTOCOLS)[number];

type Counts = Readonly<Partial<Record<Protocol, ProtocolCount>>>;

const NONE: ProtocolCount = { connections: 0, bytes: 0 };

/** Connections and their bytes by what was spoken on them, as far as they have ended. */
export class ProtocolCounts {
  readonly #counts = new Map<Protocol, { connections: number; bytes: number }>();

  add({ protocol, connections, bytes }: ProtocolUse): void {
    const name = PROTOCOLS.find((one) => one === protocol) ?? 'other';
    const count = this.#counts.get(name);
    if (count === undefined) this.#counts.set(name, { connections, bytes });
    else {
      count.connections += connections;
      count.bytes += bytes;
    }
  }

  read(): Counts {
    return Object.fromEntries([...this.#counts].map(([name, count]) => [name, { ...count }]));
  }
}

/** Of recorders that followed each other. */
export function sumOfProtocols(a: Counts, b: Counts): Counts {
  const sums = PROTOCOLS.map((name) => {
    const [one, other] = [a[name] ?? NONE, b[name] ?? NONE];
    return [
      name,
      { connections: one.connections + other.connections, bytes: one.bytes + other.bytes },
    ] as const;
  });
  return Object.fromEntries(sums.filter(([, { connections }]) => connections > 0));
}
