import { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { FrameQueue, QueueShare } from '../../../src/proxy/tap/frame-queue.ts';
import type { ConnectionTap, RecorderClient } from '../../../src/proxy/tap/recorder-client.ts';
import { imbalance } from '../../support/imbalance.ts';
import { RETHROWING, tapSide } from '../../support/tap-side.ts';

const HANDED = { client: 100, server: 50 };
const BUDGET_BYTES = 256 * 1024;
/** More than the budget has room for. */
const SHED_BYTES = BUDGET_BYTES + 1;

let ledger: Counters;
let link: RecorderClient;
let tap: ConnectionTap;
let pipe: Duplex;

/** A connection of which some was handed over and some shed. */
beforeEach(() => {
  ledger = new Counters();
  const queue = new FrameQueue(RETHROWING, BUDGET_BYTES);
  link = tapSide({ clock: systemClock, counters: ledger, queue }).link;
  // A recorder that takes everything and says only what a test says for it.
  pipe = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  link.attach(pipe);
  tap = link.open();
  tap.client(Buffer.alloc(HANDED.client));
  tap.server(Buffer.alloc(HANDED.server));
  tap.server(Buffer.alloc(SHED_BYTES));
});
afterEach(() => {
  pipe.destroy();
});

/** The recorder's word on a gap that it was told of, and on what was handed over before it. */
function settleGap(): void {
  tap.settled({
    kind: 'lost',
    because: 'queue_bytes',
    connection: tap.connection,
    exchanges: 0,
    clientEndOffset: HANDED.client,
    serverEndOffset: HANDED.server + SHED_BYTES,
  });
}

describe('a connection in a gap, of which nothing more is recorded', () => {
  it.each([
    ['because a recorder died of it', () => tap.quarantine()],
    [
      'because it is no HTTP',
      () =>
        tap.settled({
          kind: 'opaque',
          because: null,
          connection: tap.connection,
          exchanges: 0,
          clientEndOffset: 0,
          serverEndOffset: 0,
        }),
    ],
  ])('%s, has each byte counted once and is forgotten at its end', (_, turnOpaque) => {
    turnOpaque();
    tap.server(Buffer.alloc(1_000));
    tap.close('client_end');
    settleGap();
    tap.settled({
      kind: 'omitted',
      because: 'unparsed',
      connection: tap.connection,
      exchanges: 0,
      clientEndOffset: HANDED.client,
      serverEndOffset: HANDED.server + SHED_BYTES + 1_000,
    });
    const reading = ledger.read();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading).toMatchObject({
      unsettledConnections: 0,
      pending: { bytes: 0, turns: 0 },
      lost: { queue_bytes: { bytes: HANDED.client + HANDED.server + SHED_BYTES, turns: 1 } },
      omitted: { unparsed: { bytes: 1_000, turns: 0 } },
    });
  });
});

it('a gap that follows another at once is settled on its own', async () => {
  link.queue.flush();
  await expect.poll(() => link.queue.hasRoomFor(new QueueShare()), { timeout: 10_000 }).toBe(true);
  // The next turn is taken up, and is too long as well.
  tap.client(Buffer.alloc(SHED_BYTES));
  settleGap();
  expect(ledger.read()).toMatchObject({
    lost: { queue_bytes: { bytes: HANDED.client + HANDED.server + 2 * SHED_BYTES, turns: 2 } },
    pending: { bytes: 0, turns: 0 },
  });
});
