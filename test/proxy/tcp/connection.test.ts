import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { PausedPeers, PeerSocket } from '../../../src/proxy/net/peer-socket.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { ProxiedConnection } from '../../../src/proxy/tcp/connection.ts';
import { socketPair } from '../../support/socket-pair.ts';
import { tapSide } from '../../support/tap-side.ts';

describe('a proxied connection', () => {
  it('closes when it is cut in the very moment in which its own end goes out', async () => {
    const [client, clientPeer] = await socketPair({ allowHalfOpen: true });
    const [upstream, upstreamPeer] = await socketPair({ allowHalfOpen: true });
    clientPeer.on('error', () => undefined);
    upstreamPeer.on('error', () => undefined);
    const tap = tapSide({ clock: systemClock, counters: new Counters() }).border.openWire();
    const closed = new Promise<void>((resolve) => {
      const host = {
        paused: new PausedPeers(),
        refused: 'reset',
        target: null,
        failed: () => undefined,
        look: () => undefined,
        closed: () => resolve(),
      } as const;
      const side = new PeerSocket(upstream, upstream, true);
      const ownSide = new PeerSocket(client, client, true);
      const connection = new ProxiedConnection(ownSide, () => ({ side, ready: 'connect' }), tap, host);
      // It hears of the end first and passes it on; the cut meets an end that is still on its way.
      upstream.on('end', () => connection.cut());
    });
    upstreamPeer.end();
    await once(upstream, 'end');
    await closed;
    expect([client.destroyed, upstream.destroyed]).toEqual([true, true]);
  });
});
