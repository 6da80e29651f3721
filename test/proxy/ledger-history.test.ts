import { describe, expect, it } from 'vitest';
import { Ledger } from '../../src/proxy/ledger.ts';
import { LedgerHistory } from '../../src/proxy/ledger-history.ts';
import type { ForwarderReading } from '../../src/proxy/messages.ts';
import { imbalance } from '../support/imbalance.ts';

/** A forwarder's reading with one turn recorded, one shed, and one pending. */
function someReading(): ForwarderReading {
  const ledger = new Ledger();
  const account = ledger.open();
  account.see(100, 0, true);
  account.see(0, 50, false);
  account.settle({ kind: 'recorded', because: null }, 100, 50);
  ledger.addExchanges(1);
  account.seeSettled(7, 0, true, { kind: 'lost', because: 'queue_bytes' });
  account.see(0, 9, false);
  account.see(40, 0, true);
  return readingOf(ledger);
}

function readingOf(ledger: Ledger): ForwarderReading {
  return {
    atUs: 0,
    ledger: ledger.read(),
    open: 4,
    turnedAway: 2,
    failed: { upstream_refused: 3 },
    refused: {},
    queuedBytes: 65_536,
    untold: [],
    noted: [],
    handed: { pipe: 0, open: false, bytes: 0, turns: 0 },
  };
}

describe('the account over several forwarders', () => {
  it('is empty before anybody spoke, then that of the one who did', () => {
    const history = new LedgerHistory();
    expect(history.read().ledger.seen).toEqual({ bytes: 0, turns: 0 });
    const reading = someReading();
    history.update(0, reading);
    expect(history.read().ledger).toEqual(reading.ledger);
  });

  it('is the sum of those that run beside each other', () => {
    const history = new LedgerHistory();
    for (const slot of [0, 1, 2]) history.update(slot, someReading());
    const sum = history.read();
    expect(imbalance(sum.ledger)).toEqual({ bytes: 0, turns: 0 });
    expect(sum).toMatchObject({
      ledger: { connections: 3, unsettledConnections: 3, exchanges: 3, pending: { bytes: 147, turns: 3 } },
      open: 12,
      turnedAway: 6,
      failed: { upstream_refused: 9 },
      queuedBytes: 3 * 65_536,
    });
  });

  it('loses what a dead one had pending, and stays exact with the next', () => {
    const history = new LedgerHistory();
    history.update(0, someReading());
    history.update(1, someReading());
    history.forwarderEnded(0);
    history.update(0, someReading());
    const { ledger, open, queuedBytes } = history.read();
    expect(imbalance(ledger)).toEqual({ bytes: 0, turns: 0 });
    expect(open).toBe(8);
    expect(ledger).toMatchObject({
      connections: 3,
      unsettledConnections: 2,
      exchanges: 3,
      recorded: { bytes: 450, turns: 3 },
      lost: { queue_bytes: { bytes: 21, turns: 3 }, crash_gap: { bytes: 49, turns: 1 } },
      pending: { bytes: 98, turns: 2 },
    });
    expect(queuedBytes).toBe(2 * 65_536);
  });

  it('names no crash gap where nothing was pending', () => {
    const history = new LedgerHistory();
    history.update(0, readingOf(new Ledger()));
    history.forwarderEnded(0);
    expect(history.read().ledger.lost).toEqual({});
  });

  it('counts nothing of one that never spoke', () => {
    const history = new LedgerHistory();
    expect(history.forwarderEnded(0)).toBeNull();
    expect(history.read().ledger.connections).toBe(0);
  });
});
