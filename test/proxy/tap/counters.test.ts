import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { imbalance } from '../../support/imbalance.ts';
import { repeated } from '../../support/long-form.ts';

describe('the equation', () => {
  it('counts a turn where its first client byte is settled, however many requests it holds', () => {
    const ledger = new Counters();
    const account = ledger.open();
    account.see(300, 0, true);
    account.see(0, 50, false);
    account.settle({ kind: 'recorded', because: null }, 100, 20);
    account.settle({ kind: 'recorded', because: null }, 300, 50);
    expect(ledger.read()).toMatchObject({
      seen: { bytes: 350, turns: 1 },
      recorded: { bytes: 350, turns: 1 },
      pending: { bytes: 0, turns: 0 },
    });
  });

  it('counts shed bytes at once and not again when the stretch around them is settled', () => {
    const ledger = new Counters();
    const account = ledger.open();
    account.see(100, 0, true);
    account.seeSettled(40, 0, false, { kind: 'lost', because: 'queue_bytes' });
    account.seeSettled(0, 60, false, { kind: 'lost', because: 'queue_bytes' });
    expect(ledger.read()).toMatchObject({
      lost: { queue_bytes: { bytes: 100, turns: 0 } },
      pending: { bytes: 100, turns: 1 },
    });
    account.settle({ kind: 'lost', because: 'queue_bytes' }, 140, 60);
    expect(ledger.read()).toMatchObject({
      lost: { queue_bytes: { bytes: 200, turns: 1 } },
      pending: { bytes: 0, turns: 0 },
    });
  });

  it('holds after every step of any history', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('see' as const), bytes: fc.nat(5000), client: fc.boolean() }),
      fc.record({ do: fc.constant('shed' as const), bytes: fc.nat(5000), client: fc.boolean() }),
      fc.record({ do: fc.constant('settle' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
      fc.record({ do: fc.constant('recorder dies' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const ledger = new Counters();
        const account = ledger.open();
        // The recorder's view: stretches it will settle whole, because a gap never splits a settlement.
        let stretches: { client: number; server: number; lost: boolean }[] = [];
        let turnDue = true;
        let shedding = false;
        for (const one of steps) {
          if (one.do === 'see' || one.do === 'shed') {
            const [client, server] = one.client ? [one.bytes, 0] : [0, one.bytes];
            const turnStart = one.client && turnDue && one.bytes > 0;
            turnDue = one.client ? turnDue && one.bytes === 0 : true;
            if (one.do === 'see') account.see(client, server, turnStart);
            else account.seeSettled(client, server, turnStart, { kind: 'lost', because: 'queue_bytes' });
            const at = { client: account.seenClient, server: account.seenServer, lost: one.do === 'shed' };
            if (one.do === 'shed' && shedding) stretches[stretches.length - 1] = at;
            else stretches.push(at);
            shedding = one.do === 'shed';
          } else if (one.do === 'settle') {
            const upTo = Math.floor(one.share * (stretches.length - (shedding ? 1 : 0)));
            for (const stretch of stretches.slice(0, upTo)) {
              const fate = stretch.lost
                ? ({ kind: 'lost', because: 'queue_bytes' } as const)
                : ({ kind: 'recorded', because: null } as const);
              account.settle(fate, stretch.client, stretch.server);
            }
            stretches = stretches.slice(upTo);
          } else {
            account.settleAll({ kind: 'lost', because: 'writer_down' });
            stretches = [];
            shedding = false;
          }
          expect(imbalance(ledger.read())).toEqual({ bytes: 0, turns: 0 });
        }
        account.settleAll({ kind: 'lost', because: 'shutdown_timeout' });
        expect(ledger.read().pending).toEqual({ bytes: 0, turns: 0 });
        expect(imbalance(ledger.read())).toEqual({ bytes: 0, turns: 0 });
      }),
      { numRuns: repeated(125, 500) },
    );
  });
});
