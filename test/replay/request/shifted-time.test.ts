import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shiftedTime } from '../../../src/replay/request/shift-time.ts';

const ARRIVAL_US = Date.parse('2026-11-20T10:00:30.250Z') * 1e3 + 125;
/** Three days, 2 h, 14 min, 40.5 s later. */
const SEND_US = Date.parse('2026-11-23T12:15:10.750Z') * 1e3 + 500;
const move = { arrivalUs: ARRIVAL_US, sendUs: SEND_US };

test.each([
  ['epoch seconds', '1795168830', '1795436110'],
  ['epoch seconds with decimals', '1795168830.250', '1795436110.750'],
  ['epoch milliseconds', '1795168830250', '1795436110750'],
  ['epoch microseconds', '1795168830250125', '1795436110750500'],
  ['epoch nanoseconds', '1795168830250125000', '1795436110750500000'],
  ['a time in UTC', '2026-11-20T10:00:30Z', '2026-11-23T12:15:10Z'],
  ['a time to the microsecond', '2026-11-20T10:00:30.250125Z', '2026-11-23T12:15:10.750500Z'],
  ['a time with an offset, in its own', '2026-11-20T11:00:30.2+01:00', '2026-11-23T13:15:10.7+01:00'],
  ['a time without a zone', '2026-11-20 10:00:30,250', '2026-11-23 12:15:10,750'],
  ['a minute', '2026-11-20T10:00Z', '2026-11-23T12:15Z'],
  ['a day', '2026-11-20', '2026-11-23'],
  ['a time a minute before the request', '2026-11-20T09:59:30Z', '2026-11-23T12:14:10Z'],
])('%s stays what it is and moves with its request', (_name, recorded, sent) => {
  expect(shiftedTime(recorded, move)).toBe(sent);
});

test.each([
  '',
  '42',
  '-1795168830',
  '1.795e9',
  '2026-02-30',
  '2026-11-20T25:00:00Z',
  'yesterday',
  '20261120',
])('%j is no time', (text) => {
  expect(shiftedTime(text, move)).toBeNull();
});

test('a time never leaves the years that its form can write', () => {
  const back = { arrivalUs: ARRIVAL_US, sendUs: 0 };
  expect(shiftedTime('1975-01-01T00:00:00Z', back)).toBeNull();
  expect(shiftedTime('100000000', back)).toBeNull();
});

test('the arrival itself, at any precision and unit, becomes the instant of sending at the same', () => {
  const instantsUs = fc.integer({ min: 1_000_000_000_000_000, max: 2_500_000_000_000_000 });
  fc.assert(
    fc.property(instantsUs, instantsUs, fc.integer({ min: 0, max: 6 }), (arrivalUs, sendUs, decimals) => {
      const text = (us: number): string => {
        const seconds = Math.floor(us / 1e6);
        const fraction = String(us % 1e6)
          .padStart(6, '0')
          .slice(0, decimals);
        return decimals === 0 ? String(seconds) : `${seconds}.${fraction}`;
      };
      const iso = (us: number): string => {
        const date = new Date(Math.floor(us / 1e6) * 1e3).toISOString().slice(0, 19);
        return decimals === 0 ? `${date}Z` : `${date}.${text(us).split('.')[1]}Z`;
      };
      const times = { arrivalUs, sendUs };
      expect(shiftedTime(text(arrivalUs), times)).toBe(text(sendUs));
      expect(shiftedTime(iso(arrivalUs), times)).toBe(iso(sendUs));
      expect(shiftedTime(String(arrivalUs), times)).toBe(String(sendUs));
      expect(shiftedTime(`${arrivalUs}000`, times)).toBe(`${sendUs}000`);
    }),
  );
});
