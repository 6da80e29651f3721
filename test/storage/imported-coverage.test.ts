import { expect, test } from 'vitest';
import { DayCalendar } from '../../src/core/calendar.ts';
import { inspectCapture, inspectCaptures, surveyCapture } from '../../src/storage/inspection.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';

const UNKNOWN = { coverage: null, unexplained: null };
const exchanges = Array.from({ length: 10 }, (_, at) =>
  exchangeOf({ arrivalUs: TEST_EPOCH_US + at * 1_000 }),
);
const imported = (paired: boolean) =>
  captureOf(exchanges, { origin: { kind: 'imported', file: 'trace.csv', paired, details: {} } });

test.each([true, false])(
  'an import claims no coverage: its file keeps no account of what it left out (paired: %s)',
  (paired) => {
    const directory = imported(paired);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 10, ...UNKNOWN });
    const within = { fromUs: TEST_EPOCH_US, toUs: TEST_EPOCH_US + 5_000 };
    expect(surveyCapture(directory).coverageWithin([within])).toEqual(UNKNOWN);
    const recorded = captureOf(exchanges, {
      recorder: { id: 'aaaa0001', host: 'other', startedUs: TEST_EPOCH_US },
    });
    expect(inspectCaptures([recorded, directory], new DayCalendar('UTC'))).toMatchObject(UNKNOWN);
  },
);

test('inspect and profile of an import say that coverage is not known', async () => {
  const directory = imported(true);
  const inspected = await runReprise(['inspect', directory]);
  expect(inspected.stdout).toMatch(/^coverage +not known: .*import/m);
  const profiled = await runReprise(['profile', directory, '--json']);
  expect(JSON.parse(profiled.stdout)).toMatchObject({ coverage: null, coverageUnexplained: null });
});
