import { expect, test } from 'vitest';
import type { PlannedSend } from '../../../src/replay/plan/schedule.ts';
import type { BuiltRequest } from '../../../src/replay/request/build.ts';
import { parseTimePlace, TimeShift } from '../../../src/replay/request/shift-time.ts';
import { exchangeOf } from '../../support/exchanges.ts';

const ARRIVAL_US = 1_795_532_400_000_000;
const START_US = ARRIVAL_US + 86_400_000_000;
/** Recorded at ARRIVAL_US, due two seconds into a run that begins a day later. */
const send = { row: exchangeOf({ arrivalUs: ARRIVAL_US }), intendedOffsetNs: 2e9 } as unknown as PlannedSend;

function requestOf(body: string | Buffer | null, headers: string[] = []): BuiltRequest {
  return {
    method: 'POST',
    path: '/',
    headers,
    body: body === null ? null : Buffer.from(body),
    chunked: false,
  };
}

function shiftOf(...pointers: string[]): TimeShift {
  return new TimeShift(
    pointers.map((each) => parseTimePlace(each, '')),
    () => START_US,
  );
}

const textOf = (request: BuiltRequest): string => Buffer.from(request.body ?? []).toString();

test('times at the places given move to when they are sent, and every other byte stays', () => {
  const shift = shiftOf('/at', '/events/1/when', '/asText');
  const body = `{ "at":1795532400.5, "kept":1795532400,\n"events":[{}, {"when":"2026-11-24T15:00:00+00:00"}], "asText":"1795532400000"}`;
  expect(textOf(shift.move(requestOf(body), send))).toBe(
    `{ "at":1795618802.5, "kept":1795532400,\n"events":[{}, {"when":"2026-11-25T15:00:02+00:00"}], "asText":"1795618802000"}`,
  );
  expect(shift.counts()).toEqual({
    pointers: ['/at', '/events/1/when', '/asText'],
    shifted: 3,
    unshifted: 0,
  });
});

test('behind a warm-up times move to when they are sent, not to that much earlier', () => {
  const shift = shiftOf('/at');
  const moved = shift.move(requestOf('{"at":1795532400}'), { ...send, intendedOffsetNs: 62e9 });
  expect(textOf(moved)).toBe('{"at":1795618862}');
  expect(shift.counts()).toMatchObject({ shifted: 1, unshifted: 0 });
});

test('a request that was moved behind another window has its times moved from when it was recorded', () => {
  const shift = shiftOf('/at');
  const row = { ...send.row, arrivalUs: ARRIVAL_US - 1_800e6, recordedUs: ARRIVAL_US };
  expect(textOf(shift.move(requestOf('{"at":1795532400}'), { ...send, row }))).toBe('{"at":1795618802}');
});

test.each([
  ['a place that is not there', requestOf('{"b":1795532400}')],
  ['a number that is no time', requestOf('{"at":17}')],
  ['a compressed body', requestOf('{"at":1795532400}', ['Content-Encoding', 'gzip'])],
  ['no JSON', requestOf(Buffer.from([0xff, 0x00, 0x7b]))],
  ['no body', requestOf(null)],
])('%s is sent as it was recorded, and counted', (_name, request) => {
  const shift = shiftOf('/at');
  expect(shift.move(request, send)).toBe(request);
  expect(shift.counts()).toEqual({ pointers: ['/at'], shifted: 0, unshifted: 1 });
});

test('a binary request keeps what follows its JSON, and says how long that is now', () => {
  const json = '{"at":"2026-11-24T15:00Z"}';
  const tensor = Buffer.from([1, 2, 3, 255]);
  const headers = ['Inference-Header-Content-Length', String(json.length)];
  const moved = shiftOf('/at').move(requestOf(Buffer.concat([Buffer.from(json), tensor]), headers), send);
  const length = Number(moved.headers[1]);
  expect(textOf(moved).slice(0, length)).toBe('{"at":"2026-11-25T15:00Z"}');
  expect(Buffer.from(moved.body ?? []).subarray(length)).toEqual(tensor);
});

test('without a place nothing is looked at or counted', () => {
  const request = requestOf('{"at":1795532400}');
  const shift = shiftOf();
  expect(shift.move(request, send)).toBe(request);
  expect(shift.counts()).toBeNull();
});

test.each(['/events/*/when', 'at', ''])('%j names no single value and is refused', (pointer) => {
  expect(() => shiftOf(pointer)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
});
