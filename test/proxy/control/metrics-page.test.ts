import { describe, expect, it } from 'vitest';
import { MetricsPage } from '../../../src/proxy/control/metrics.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { someStatus } from '../../support/some-status.ts';

/** A page of which every reading says how many there were. */
function counted() {
  const clock = new ManualClock();
  let readings = 0;
  const page = new MetricsPage(() => someStatus({ exchanges: ++readings }), clock);
  const exchanges = async () =>
    Number(/^reprise_exchanges_total (\d+)$/m.exec((await page.text()).toString('utf8'))?.[1]);
  return { clock, exchanges, readings: () => readings };
}

describe('the text of a scrape', () => {
  it('is of this very moment for whoever scrapes, twice in a row too', async () => {
    const { exchanges } = counted();
    expect([await exchanges(), await exchanges(), await exchanges()]).toEqual([1, 2, 3]);
  });

  it('is not made anew for each of a thousand scrapes a second, which took the memory of the supervisor', async () => {
    const { clock, exchanges, readings } = counted();
    for (let scrape = 0; scrape < 1_000; scrape += 1) {
      await exchanges();
      clock.advance(0.5e6);
    }
    expect(readings()).toBe(20);
    clock.advance(0.5e9);
    expect(await exchanges()).toBe(21);
  });
});
