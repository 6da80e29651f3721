import { once } from 'node:events';
import { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { ClientConnection } from '../../../src/proxy/gateway/client-connection.ts';
import { ClientConnections } from '../../../src/proxy/gateway/client-connections.ts';
import { TimeLimits } from '../../../src/proxy/gateway/time-limits.ts';

describe('the connections of a gateway', () => {
  it('are known by their sockets while they are open, and by those alone', async () => {
    const connections = new ClientConnections();
    const limits = new TimeLimits(systemClock);
    const [one, other] = [new Socket(), new Socket()].map(
      (socket) => new ClientConnection(socket, 0, limits),
    );
    if (one === undefined || other === undefined) throw new Error('there are two');
    let left = -1;
    for (const connection of [one, other])
      connections.add(connection, () => {
        left = connections.size;
      });
    expect([connections.of(one.socket), connections.of(other.socket)]).toEqual([one, other]);
    one.socket.destroy();
    await once(one.socket, 'close');
    // Node may name the socket still, with an error or a request that was read before.
    expect(connections.of(one.socket)).toBeUndefined();
    expect(connections.of(other.socket)).toBe(other);
    expect([connections.items(), left]).toEqual([[other], 1]);
    expect(connections.of(new Socket())).toBeUndefined();
  });
});
