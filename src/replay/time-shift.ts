import { AppError } from '../core/errors.ts';
import { recordedArrivalUs } from '../core/exchange.ts';
import { ANY_MEMBER, parseJsonPointer } from '../core/json-pointer.ts';
import { spliceJson } from './json-splice.ts';
import { parsedText } from './new-names.ts';
import type { BuiltRequest } from './request-builder.ts';
import type { PlannedSend } from './schedule.ts';
import { shiftedTime, type TimeMove } from './shifted-time.ts';

/** A place in JSON bodies that holds a time. Plain data. */
export interface TimePlace {
  readonly pointer: string;
  readonly steps: readonly string[];
}

/** Values of the sent requests, each place of each request counted once. */
export interface TimeShiftCounts {
  readonly pointers: readonly string[];
  readonly shifted: number;
  /** No such value, one that is no time, or a body that is compressed or no JSON. */
  readonly unshifted: number;
}

/**
 * Reads `/POINTER`.
 * @throws AppError OPTION_INVALID
 */
export function parseTimePlace(text: string): TimePlace {
  const parsed = parseJsonPointer(text, '--shift-time');
  const steps = parsed.filter((step) => step !== ANY_MEMBER);
  if (steps.length > 0 && steps.length === parsed.length) return { pointer: text, steps };
  throw new AppError('OPTION_INVALID', `--shift-time: ${JSON.stringify(text)} names no single value`, {
    hint: 'Write the JSON pointer of one text or number, such as /inputs/0/timestamp.',
  });
}

/** Where a binary inference request says how much of it is JSON. */
const JSON_LENGTH = 'inference-header-content-length';

type MovedSend = Pick<PlannedSend, 'row' | 'intendedOffsetNs'>;

/** Moves the times of one request. */
export interface TimeMover {
  move(request: BuiltRequest, send: MovedSend): BuiltRequest;
}

/** Moves recorded times to when they are sent: a model that asks how old a thing is must not find it weeks old. */
export class TimeShift implements TimeMover {
  readonly #places: readonly TimePlace[];
  readonly #startUs: () => number;
  #shifted = 0;
  #unshifted = 0;

  /** @param startUs the run's zero, epoch microseconds */
  constructor(places: readonly TimePlace[], startUs: () => number) {
    this.#places = places;
    this.#startUs = startUs;
  }

  /** The request with its times moved; the very same where there are none. */
  move(request: BuiltRequest, { row, intendedOffsetNs }: MovedSend): BuiltRequest {
    if (this.#places.length === 0) return request;
    const times = { arrivalUs: recordedArrivalUs(row), sendUs: this.#startUs() + intendedOffsetNs / 1e3 };
    const { body, headers } = request;
    if (body === null || isCoded(headers)) {
      this.#unshifted += this.#places.length;
      return request;
    }
    const stated = Number(headerText(headers, JSON_LENGTH) ?? Number.NaN);
    const split = Number.isInteger(stated) && stated > 0 && stated <= body.length ? stated : null;
    const json = split === null ? body : body.subarray(0, split);
    const moved = this.#moved(json, times);
    if (moved === json) return request;
    if (split === null) return { ...request, body: moved };
    return {
      ...request,
      headers: withValue(headers, JSON_LENGTH, String(moved.length)),
      body: Buffer.concat([moved, body.subarray(split)]),
    };
  }

  /** The same moves, counted apart. */
  apart(): TimeShift {
    return new TimeShift(this.#places, this.#startUs);
  }

  /** The same for sends whose instants lie so much later in the run than they say; counts into this one. */
  later(byNs: number): TimeMover {
    return {
      move: (request, send) =>
        this.move(request, { row: send.row, intendedOffsetNs: send.intendedOffsetNs + byNs }),
    };
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

/** What came of it, for people. */
export function timeShiftCountLines(counts: TimeShiftCounts | null): string[] {
  if (counts === null) return [];
  const left = counts.unshifted === 0 ? '' : `; ${counts.unshifted} left as recorded: not there, or no time`;
  return ['', `Times moved to when they were sent: ${counts.shifted}${left}`];
}

function isCoded(headers: readonly string[]): boolean {
  const coding = headerText(headers, 'content-encoding');
  return coding !== null && coding.toLowerCase() !== 'identity';
}

/** Of a flat list of names and values. @param lower the name in lower case */
function headerText(headers: readonly string[], lower: string): string | null {
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() === lower) return headers[at + 1] ?? null;
  }
  return null;
}

function withValue(headers: readonly string[], lower: string, value: string): string[] {
  return headers.map((text, at) => (at % 2 === 1 && headers[at - 1]?.toLowerCase() === lower ? value : text));
}
