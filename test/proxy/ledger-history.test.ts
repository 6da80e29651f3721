import { describe, expect, it } from 'vitest';
import { Ledger } from '../../src/proxy/ledger.ts';
import { LedgerHistory } from '../../src/proxy/ledger-history.ts';
import { imbalance } from '../support/imbalance.ts';

/** A forwarder's account with one turn recorded, one shed, and one pending. */
function someLedger(): Ledger {
  const ledger = new Ledger();
  const account = ledger.open();
  account.see(100, 0, true);
  account.see(0, 50, false);
  account.settle({ kind: 'recorded', because: null }, 100, 50);
  ledger.addExchanges(1);
  account.seeSettled(7, 0, true, { kind: 'lost', because: 'queue_bytes' });
  account.see(0, 9, false);
  account.see(40, 0, true);
  return ledger;
}

describe('the account over several forwarders', () => {
  it('is that of the running one while none has died', () => {
    const history = new LedgerHistory();
    expect(history.read()).toBeNull();
    const reading = someLedger().read();
    history.update(reading);
    expect(history.read()).toEqual(reading);
  });

  it('loses what a dead one had pending, and stays exact with the next', () => {
    const history = new LedgerHistory();
    history.update(someLedger().read());
    history.forwarderEnded();
    history.update(someLedger().read());
    const reading = history.read();
    expect(reading && imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading).toMatchObject({
      connections: 2,
      openConnections: 1,
      exchanges: 2,
      recorded: { bytes: 300, turns: 2 },
      lost: { queue_bytes: { bytes: 14, turns: 2 }, crash_gap: { bytes: 49, turns: 1 } },
      pending: { bytes: 49, turns: 1 },
    });
  });

  it('names no crash gap where nothing was pending', () => {
    const history = new LedgerHistory();
    history.update(new Ledger().read());
    history.forwarderEnded();
    expect(history.read()?.lost).toEqual({});
  });
});
