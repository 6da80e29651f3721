import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { Ledger } from '../../../src/proxy/ledger.ts';
import { RecorderLink } from '../../../src/proxy/recorder-link.ts';
import { type Slab, SlabPool } from '../../../src/proxy/slab.ts';
import type { TapConnection } from '../../../src/proxy/tap-connection.ts';
import { DeafSides } from '../../../src/proxy/wire/deaf-sides.ts';
import { Inlet, Intake } from '../../../src/proxy/wire/inlet.ts';
import { Link } from '../../../src/proxy/wire/link.ts';
import { PassingSide } from '../../../src/proxy/wire/passing-side.ts';
import { socketPair } from '../../support/socket-pair.ts';

describe('a link', () => {
  it('closes when it is cut in the very moment in which its own end goes out', async () => {
    const [client, clientPeer] = await socketPair({ allowHalfOpen: true });
    const [upstream, upstreamPeer] = await socketPair({ allowHalfOpen: true });
    clientPeer.on('error', () => undefined);
    upstreamPeer.on('error', () => undefined);
    const tap = new RecorderLink({ clock: systemClock, ledger: new Ledger() }).open();
    const closed = new Promise<void>((resolve) => {
      const host = {
        deaf: new DeafSides(),
        refused: 'reset',
        failed: () => undefined,
        closed: () => resolve(),
      } as const;
      const side = new PassingSide(upstream, upstream, true, null);
      const ownSide = new PassingSide(client, client, true, null);
      const link = new Link(ownSide, { side, ready: 'connect' }, tap, host);
      // The link hears of the end first and passes it on; the cut meets an end that is still on its way.
      upstream.on('end', () => link.cut());
    });
    upstreamPeer.end();
    await once(upstream, 'end');
    await closed;
    expect([client.destroyed, upstream.destroyed]).toEqual([true, true]);
  });

  it.each(['ends', 'is reset'] as const)('gives back what a client is read into when it %s', async (how) => {
    const pool = new SlabPool();
    const intake = new Intake(pool);
    const inlet = new Inlet(intake);
    const [client, clientPeer] = await socketPair({ allowHalfOpen: true });
    const [upstream, upstreamPeer] = await socketPair({ allowHalfOpen: true });
    upstreamPeer.on('error', () => undefined).resume();
    const tap = new RecorderLink({ clock: systemClock, ledger: new Ledger() }).open();
    link(new PassingSide(client, client, true, inlet), upstream, tap);
    // As it is after two reads that left no room: the next one has a slab.
    for (let reads = 0; reads < 2; reads += 1) inlet.onread.callback(LIMITS.readBytes, intake.shared);
    const lendable = () => {
      const slabs: Slab[] = [];
      for (let slab = intake.lend(); slab !== null; slab = intake.lend()) slabs.push(slab);
      for (const slab of slabs) intake.takeBack(slab);
      return slabs.length;
    };
    expect(lendable()).toBe(LIMITS.intakeSlabs - 1);
    client.resume();
    if (how === 'ends') {
      clientPeer.end();
      await once(client, 'end');
      expect(client.destroyed).toBe(false);
    } else {
      clientPeer.resetAndDestroy();
      await new Promise((resolve) => client.once('close', resolve));
    }
    await expect.poll(lendable, { timeout: 10_000 }).toBe(LIMITS.intakeSlabs);
    upstreamPeer.destroy();
    clientPeer.destroy();
    client.destroy();
  });
});

/** A link that nobody hears of. */
function link(client: PassingSide, upstream: Socket, tap: TapConnection): Link {
  const host = {
    deaf: new DeafSides(),
    refused: 'reset',
    failed: () => undefined,
    closed: () => undefined,
  } as const;
  const side = new PassingSide(upstream, upstream, true, null);
  return new Link(client, { side, ready: 'connect' }, tap, host);
}
