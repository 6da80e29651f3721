import { recordedArrivalUs } from '../../core/exchange.ts';
import { parseSinglePlace } from '../../core/json-cursor.ts';
import { refused } from '../../core/units.ts';
import type { TimeShiftCounts } from '../../documents/replay.ts';
import { isPlain } from '../../inference/features.ts';
import type { PlannedSend } from '../plan/schedule.ts';
import { type BuiltRequest, flatValue } from './build.ts';
import { editBody, JSON_LENGTH, spliceJson } from './edit-json.ts';
import { parsedText } from './new-ids.ts';

/** A place in JSON bodies that has a time. Plain data. */
export interface TimePlace {
  readonly pointer: string;
  readonly steps: readonly string[];
}

/**
 * Reads `/POINTER`.
 * @throws AppError OPTION_INVALID
 */
export function parseTimePlace(text: string, what: string): TimePlace {
  const steps = parseSinglePlace(text, what);
  if (steps !== null) return { pointer: text, steps };
  const hint = 'Give the JSON pointer of one string or number, such as /inputs/0/timestamp.';
  throw refused(what, text, 'is not a pointer to a single value', hint);
}

/** Moves recorded times to the time of sending. Otherwise a model that uses the age of data would see old data. */
export class TimeShift {
  readonly #places: readonly TimePlace[];
  readonly #startUs: () => number;
  #shifted = 0;
  #unshifted = 0;

  /** @param startUs the run's zero, epoch microseconds */
  constructor(places: readonly TimePlace[], startUs: () => number) {
    this.#places = places;
    this.#startUs = startUs;
  }

  /** The request with its times moved; the same object if there are none. */
  move(
    request: BuiltRequest,
    { row, intendedOffsetNs }: Pick<PlannedSend, 'row' | 'intendedOffsetNs'>,
  ): BuiltRequest {
    if (this.#places.length === 0) return request;
    const times = { arrivalUs: recordedArrivalUs(row), sendUs: this.#startUs() + intendedOffsetNs / 1e3 };
    const { body, headers } = request;
    if (body === null || !isPlain(flatValue(headers, 'content-encoding'))) {
      this.#unshifted += this.#places.length;
      return request;
    }
    const moved = editBody(body, flatValue(headers, JSON_LENGTH), (json) => this.#moved(json, times));
    if (moved.body === body) return request;
    if (moved.jsonBytes === null) return { ...request, body: moved.body };
    return {
      ...request,
      headers: withValue(headers, JSON_LENGTH, String(moved.jsonBytes)),
      body: moved.body,
    };
  }

  /** The same moves with separate counts. */
  apart(): TimeShift {
    return new TimeShift(this.#places, this.#startUs);
  }

  counts(): TimeShiftCounts | null {
    if (this.#places.length === 0) return null;
    const pointers = this.#places.map(({ pointer }) => pointer);
    return { pointers, shifted: this.#shifted, unshifted: this.#unshifted };
  }

  #moved(json: Uint8Array, times: TimeMove): Uint8Array {
    let moved = json;
    for (const { steps } of this.#places) {
      const next = spliceJson(moved, steps, ({ literal, isText }) => {
        const text = shiftedTime(isText ? parsedText(literal) : literal, times);
        return text !== null && isText ? JSON.stringify(text) : text;
      });
      if (next === null) this.#unshifted += 1;
      else this.#shifted += 1;
      moved = next ?? moved;
    }
    return moved;
  }
}

function withValue(headers: readonly string[], lower: string, value: string): string[] {
  return headers.map((text, at) => (at % 2 === 1 && headers[at - 1]?.toLowerCase() === lower ? value : text));
}

/** Two instants, epoch microseconds: when a request was recorded, and when it will be sent. */
interface TimeMove {
  readonly arrivalUs: number;
  readonly sendUs: number;
}

const NS_PER_US = 1_000n;
const NS_PER_S = 1_000_000_000n;
const NS_PER_DAY = 86_400n * NS_PER_S;

/** Units of epoch times, by their number of whole digits. Seconds are from 1973 to 5138; finer units likewise. */
const EPOCH_UNITS: readonly { readonly from: bigint; readonly unitNs: bigint }[] = [
  { from: 100_000_000_000_000_000n, unitNs: 1n },
  { from: 100_000_000_000_000n, unitNs: NS_PER_US },
  { from: 100_000_000_000n, unitNs: 1_000_000n },
  { from: 100_000_000n, unitNs: NS_PER_S },
];
const EPOCH = /^(\d{9,19})(?:\.(\d{1,12}))?$/;
const ISO =
  /^(\d{4})-(\d\d)-(\d\d)(?:([T ])(\d\d):(\d\d)(?::(\d\d)(?:([.,])(\d{1,12}))?)?(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/;

/**
 * A recorded time, moved by the same distance as its request: epoch seconds, milliseconds, microseconds or nanoseconds,
 * or an ISO 8601 date or time. Format, number of digits and zone stay. Both instants are truncated to the digits of the
 * value, so that the day, second or millisecond of the arrival becomes that of the sending.
 * @returns null if the text is no such time, or is moved out of the years 1973 to 9999
 */
export function shiftedTime(text: string, move: TimeMove): string | null {
  return shiftedEpoch(text, move) ?? shiftedIso(text, move);
}

function shiftedEpoch(text: string, move: TimeMove): string | null {
  const [, whole, fraction = ''] = EPOCH.exec(text) ?? [];
  const unit = whole === undefined ? undefined : EPOCH_UNITS.find(({ from }) => BigInt(whole) >= from);
  if (whole === undefined || unit === undefined) return null;
  const moved = BigInt(whole + fraction) + movedBy(move, unit.unitNs, fraction.length);
  const digits = moved.toString();
  if (moved <= 0n || digits.length <= fraction.length) return null;
  if (fraction === '') return digits;
  return `${digits.slice(0, -fraction.length)}.${digits.slice(-fraction.length)}`;
}

function shiftedIso(text: string, move: TimeMove): string | null {
  const match = ISO.exec(text);
  if (match === null) return null;
  const [, year, month, day, separator, hour, minute, second, point, fraction = '', zone = ''] = match;
  const date = `${year}-${month}-${day}`;
  const clock = `${hour ?? '00'}:${minute ?? '00'}:${second ?? '00'}`;
  const ms = Date.parse(`${date}T${clock}Z`);
  // Rejects days and hours that do not exist, because `Date.parse` would read another one.
  if (Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(`${date}T${clock}`)) return null;
  const unitNs = hour === undefined ? NS_PER_DAY : second === undefined ? 60n * NS_PER_S : NS_PER_S;
  const scale = 10n ** BigInt(fraction.length);
  const units = (BigInt(ms) * 1_000_000n * scale) / unitNs + BigInt(fraction === '' ? 0 : fraction);
  const moved = units + movedBy(move, unitNs, fraction.length);
  const movedMs = Number((floorDivided(moved, scale) * unitNs) / 1_000_000n);
  // Outside this range, the year has another number of digits.
  if (!(movedMs >= 0 && movedMs < 253_402_300_800_000)) return null;
  const iso = new Date(movedMs).toISOString();
  if (separator === undefined) return iso.slice(0, 10);
  const time = iso.slice(11, second === undefined ? 16 : 19);
  const rest = moved - floorDivided(moved, scale) * scale;
  const digits = fraction === '' ? '' : `${point}${rest.toString().padStart(fraction.length, '0')}`;
  return `${iso.slice(0, 10)}${separator}${time}${digits}${zone}`;
}

/**
 * How far a value of this unit and number of decimals is moved: the distance of both instants truncated to its digits.
 */
function movedBy({ arrivalUs, sendUs }: TimeMove, unitNs: bigint, decimals: number): bigint {
  const scale = 10n ** BigInt(decimals);
  const cut = (us: number): bigint => floorDivided(BigInt(Math.round(us)) * NS_PER_US * scale, unitNs);
  return cut(sendUs) - cut(arrivalUs);
}

function floorDivided(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value < 0n && quotient * by !== value ? quotient - 1n : quotient;
}
