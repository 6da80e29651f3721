import { buildProfile } from '../../src/analysis/profile/build-profile.ts';
import { ProfileStatistics } from '../../src/analysis/profile/statistics.ts';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import type { PayloadFigures, ProfileDocument } from '../../src/documents/profile.ts';
import { exchangeRow } from './exchange-row.ts';

/** The profile of ordered rows, as one window from the first to the last. */
export function profileOf(
  rows: readonly ExchangeRow[],
  timeZone = 'UTC',
  payloads: PayloadFigures | null = null,
): ProfileDocument {
  const firstUs = rows[0]?.arrivalUs ?? 0;
  const window = { fromUs: firstUs, toUs: (rows.at(-1)?.arrivalUs ?? 0) + 1 };
  const statistics = new ProfileStatistics(timeZone, rows.length > 0 ? [window] : []);
  if (rows.length > 0) statistics.beginWindow(window);
  for (const row of rows) statistics.add(row, row.arrivalUs - firstUs);
  statistics.finish();
  return buildProfile(statistics, {
    capture: '/captures/today',
    timeZone,
    search: null,
    filters: [],
    unfilteredRequests: rows.length,
    coverage: 1,
    coverageUnexplained: 0,
    losses: { exchanges: 0, bytes: 0, by: {} },
    omitted: { exchanges: 0, bytes: 0, by: {} },
    payloads,
    notes: [],
  });
}

/** Rows with these arrivals and otherwise equal facts. */
export function arrivingAt(arrivalsUs: readonly number[], facts: Partial<ExchangeRow> = {}): ExchangeRow[] {
  return arrivalsUs.map((arrivalUs, at) => exchangeRow({ arrivalUs, id: at + 1, ...facts }));
}
