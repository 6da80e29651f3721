import { cpSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { DayCalendar } from '../../../src/core/calendar.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { fleetShare, mostAtOnce } from '../../../src/storage/capture/coverage.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { inspectCapture, inspectCaptures, surveyCapture } from '../../../src/storage/capture/inspect.ts';
import { sealSegment } from '../../../src/storage/capture/sealing.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { accountOf } from '../../support/accounts.ts';
import { captureOf, newCapture, writerOptions } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { live } from '../../support/lives.ts';
import { StandingClock } from '../../support/standing-clock.ts';
import { archivedLife } from './archives.ts';

const HOUR_US = 3_600_000_000;
const UTC = new DayCalendar('UTC');

function without(directory: string, ...numbers: number[]): void {
  for (const { path, sequence } of segmentsOf(directory)) {
    if (!numbers.includes(sequence)) continue;
    rmSync(path, { force: true });
    rmSync(`${path}.manifest.json`);
  }
}

/** Another recorder closed the open segment. Only of a copy: nobody can take the file from a writer that lives. */
function recoveredCopy(directory: string): string {
  const open = segmentsOf(directory).find(({ sealed }) => !sealed);
  const copy = newCapture();
  cpSync(directory, copy, { recursive: true });
  rmSync(join(copy, `${open?.file}-shm`), { force: true });
  const clock = new StandingClock();
  clock.wallUs = TEST_EPOCH_US + 5 * HOUR_US;
  sealSegment(join(copy, open?.file ?? ''), clock);
  return copy;
}

const iso = (hours: number) =>
  new Date((TEST_EPOCH_US + hours * HOUR_US) / 1000).toISOString().replace('Z', '000Z');

describe("a recorder's life", () => {
  it('has a begin, an end, and no gap when all of it is here', () => {
    const { recorders } = inspectCapture(live({ id: 'a', hours: 4 }));
    expect(recorders).toEqual([
      {
        id: 'a',
        host: 'host-a',
        startedAt: iso(0),
        endedAt: expect.stringMatching(/^2026-11-24T18:59:59/),
        end: 'stopped',
        segments: 4,
        exchanges: 40,
        gaps: [],
      },
    ]);
  });

  it('shows segments that are missing, at its begin, in the middle and at its end', () => {
    const directory = live({ id: 'a', hours: 8 });
    without(directory, 1, 4, 5, 8);
    const [life] = inspectCapture(directory).recorders;
    expect(life).toMatchObject({ endedAt: null, end: 'unknown', segments: 4 });
    expect(life?.gaps).toEqual([
      { kind: 'missing', from: iso(0), to: iso(1), segments: 1, exchanges: null },
      { kind: 'missing', from: iso(3), to: iso(5), segments: 2, exchanges: null },
    ]);
  });

  it('tells what expired and what is damaged from what is missing', () => {
    const directory = live({ id: 'a', hours: 3 });
    const [, second] = segmentsOf(directory);
    renameSync(second?.path ?? '', `${second?.path}.damaged`);
    rmSync(`${second?.path}.manifest.json`);
    const before = inspectCapture(directory).recorders[0]?.gaps ?? [];
    expect(before.map(({ kind, segments }) => ({ kind, segments }))).toEqual([
      { kind: 'damaged', segments: 1 },
    ]);

    // Long enough for the records of the first expiries to have expired themselves, several of them.
    const { directory: retained } = archivedLife({ id: 'b', hours: 16, retainHours: 3 });
    const { exchanges, expired, recorders } = inspectCapture(retained);
    expect(expired.segments).toBeGreaterThan(3);
    expect(exchanges + expired.exchanges).toBe(16);
    expect(recorders[0]?.gaps).toMatchObject([{ kind: 'expired', from: iso(0), segments: expired.segments }]);
  });

  it.each([
    ['its recorder ended in order', true, false],
    ['its recorder was killed too', false, false],
    ['its recorder was killed too, and another one closed its segment', false, true],
  ])('is killed as a whole if its proxy was, where %s', (_, endsInOrder, isRecovered) => {
    const directory = live({ id: 'a', hours: 2, account: { ended: false, turnsAhead: 0 } }, endsInOrder);
    const { recorders, killed } = inspectCapture(isRecovered ? recoveredCopy(directory) : directory);
    expect(killed.map(({ life }) => life)).toEqual(['a']);
    expect(recorders).toMatchObject([{ id: 'a', end: 'killed' }]);
    expect(recorders[0]?.endedAt === null).toBe(!endsInOrder && !isRecovered);
  });

  it('is stopped if its proxy ended in order, also where its last recorder did not', () => {
    const directory = live({ id: 'a', hours: 2, account: { ended: true } }, false);
    for (const each of [directory, recoveredCopy(directory)]) {
      expect(inspectCapture(each)).toMatchObject({ killed: [], recorders: [{ id: 'a', end: 'stopped' }] });
    }
  });

  it('that crashed ends with its last commit, and the gap says how long nobody knew', () => {
    const directory = live({ id: 'a', hours: 2 }, false);
    expect(inspectCapture(directory).recorders[0]).toMatchObject({ end: 'recording', endedAt: null });
    const copy = recoveredCopy(directory);
    const [life] = inspectCapture(copy).recorders;
    expect(life).toMatchObject({ end: 'crashed' });
    expect(life?.gaps).toEqual([
      { kind: 'crash', from: life?.endedAt, to: iso(5), segments: 0, exchanges: 0 },
    ]);
  });
});

describe('coverage of a fleet', () => {
  it('is whole when all of it is here, and unknown recorders lower it by what the others saw', () => {
    const whole = newCapture();
    live({ id: 'a', directory: whole, hours: 4, fleetSize: 2 });
    live({ id: 'b', directory: whole, hours: 4, fleetSize: 2 });
    const full = inspectCapture(whole);
    expect(full.coverage).toBeCloseTo(1, 3);
    expect(full.unexplained).toBeCloseTo(0, 3);

    const half = newCapture();
    live({ id: 'a', directory: half, hours: 4, fleetSize: 2 });
    live({ id: 'b', directory: half, hours: 2, fleetSize: 2 });
    // 60 of 80: two recorder hours of eight are missing.
    expect(inspectCapture(half).coverage).toBeCloseTo(0.75, 2);
    expect(inspectCapture(half).unexplained).toBeCloseTo(0.25, 2);

    const unstated = live({ id: 'a', hours: 4 });
    expect(inspectCapture(unstated)).toMatchObject({ coverage: 1, unexplained: 0, fleetSize: null });
  });

  it('counts a recorder out while its segments are missing, and weighs hours by their traffic', () => {
    const directory = newCapture();
    live({ id: 'a', directory, hours: 3, fleetSize: 2, perHour: 50 });
    live({ id: 'b', directory, hours: 3, fleetSize: 2, perHour: 50 });
    for (const { path, recorder, sequence } of segmentsOf(directory)) {
      if (recorder !== 'b' || sequence !== 2) continue;
      rmSync(path, { force: true });
      rmSync(`${path}.manifest.json`);
    }
    expect(inspectCapture(directory).coverage).toBeCloseTo(250 / 300, 2);
  });

  it('leaves what was sampled out explained', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    for (let index = 0; index < 10; index += 1) writer.append(exchangeOf());
    writer.setAccount(accountOf({ omitted: { sampled_out: { exchanges: 90, bytes: 9_000 } } }));
    writer.close();
    expect(inspectCapture(directory)).toMatchObject({ coverage: 0.1, unexplained: 0 });
  });
});

describe('captures of several pods', () => {
  it('are read as one, wherever they lie, and a segment that lies twice counts once', () => {
    const first = live({ id: 'a', hours: 2 });
    const second = live({ id: 'b', hours: 3 });
    const [copied] = segmentsOf(second);
    for (const suffix of ['', '.manifest.json']) {
      cpSync(`${copied?.path}${suffix}`, join(first, `${copied?.file}${suffix}`));
    }
    const document = inspectCaptures([first, second], UTC);
    expect(document).toMatchObject({
      directories: [first, second],
      exchanges: 50,
      duplicates: [copied?.file],
      recorders: [{ id: 'a' }, { id: 'b', segments: 3, gaps: [] }],
    });
  });

  it('are summed by the days of a zone, to the second', () => {
    const directory = live({ id: 'a', hours: 12, perHour: 60 });
    const { days, timeZone } = inspectCaptures([directory], new DayCalendar('Asia/Kolkata'));
    // 15:00Z to 03:00Z; the day begins at 18:30Z.
    expect(timeZone).toBe('Asia/Kolkata');
    expect(days.map(({ day, exchanges }) => ({ day, exchanges }))).toEqual([
      { day: '2026-11-24', exchanges: 210 },
      { day: '2026-11-25', exchanges: 510 },
    ]);
  });
});

const hours = (from: number, to: number) => ({ fromUs: from * HOUR_US, toUs: to * HOUR_US });

describe('the share of a fleet that was recorded', () => {
  it('is not lowered by hours in which the recorders that are here saw nothing: the missing one saw nothing either', () => {
    const night = new Map([
      [0, 20],
      [23, 10],
    ]);
    expect(fleetShare(3, [hours(0, 24), hours(0, 24)], night)).toBeCloseTo(2 / 3, 12);
  });

  it('takes an hour without any recorder for a mean hour', () => {
    const counts = new Map([
      [0, 10],
      [2, 30],
    ]);
    // 40 in two recorded hours; the hour between is taken to have had 20.
    expect(fleetShare(1, [hours(0, 1), hours(2, 3)], counts)).toBeCloseTo(40 / 60, 12);
  });
});

describe('the most recorders that were there at once', () => {
  it.each([
    ['none', [], 0],
    ['one after the other, to the very instant', [hours(0, 1), hours(1, 2)], 1],
    ['one that comes back while another is there', [hours(0, 1), hours(3, 4), hours(2, 5), hours(1, 2)], 2],
    ['all', [hours(0, 9), hours(1, 2), hours(1, 2)], 3],
  ])('%s', (_, presence, most) => {
    expect(mostAtOnce(presence)).toBe(most);
  });
});

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
    expect(surveyCapture(directory).coverageWithin([within])).toMatchObject(UNKNOWN);
    const recorded = captureOf(exchanges, {
      recorder: { id: 'aaaa0001', host: 'other', startedUs: TEST_EPOCH_US },
    });
    expect(inspectCaptures([recorded, directory], new DayCalendar('UTC'))).toMatchObject(UNKNOWN);
  },
);

test('inspect and profile of an import say that coverage is not known', async () => {
  const directory = imported(true);
  const inspected = await runCommand(['inspect', directory]);
  expect(inspected.stdout).toMatch(/^coverage +not known: .*import/m);
  const profiled = await runCommand(['profile', directory, '--json']);
  expect(JSON.parse(profiled.stdout)).toMatchObject({ coverage: null, coverageUnexplained: null });
});
