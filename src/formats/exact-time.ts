import { AppError } from '../core/errors.ts';
import { parseInstantUs } from '../core/units.ts';
import { InputProblem, shown } from './input.ts';

/** Forms of a time field: a number of seconds, milli-, micro- or nanoseconds, or ISO 8601. */
export const TIME_UNITS = ['s', 'ms', 'us', 'ns', 'iso'] as const;
export type TimeUnit = (typeof TIME_UNITS)[number];
export type NumericTimeUnit = Exclude<TimeUnit, 'iso'>;

/** An exact time: whole microseconds, and the rest in femtoseconds (10⁻¹⁵ s), 0 to 999,999,999. */
interface ExactTime {
  readonly us: number;
  readonly femto: number;
}

/** Decimal digits from a unit down to the femtosecond. */
const FEMTO_DIGITS: Readonly<Record<NumericTimeUnit, number>> = { s: 15, ms: 12, us: 9, ns: 6 };
const FEMTO_PER_US = 1_000_000_000;
const FEMTO_DIGITS_OF_US = 9;
const MAX_US_DIGITS = 16;

/**
 * Reads a decimal number of `unit` without floating-point fractions, so `0.1234567` s is 123,456 µs and
 * 700,000,000 fs. Digits below the femtosecond are dropped.
 * @throws InputProblem when it is no number, below zero, or past the year 2255 (2⁵³ µs)
 */
export function parseExactTime(text: string, unit: NumericTimeUnit): ExactTime {
  const match = /^\s*([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?\s*$/.exec(text);
  const whole = match?.[2] ?? '';
  const fraction = match?.[3] ?? '';
  if (!match || whole.length + fraction.length === 0) {
    throw new InputProblem(`${shown(text)} is not a number`);
  }
  const digits = (whole + fraction).replace(/^0+/, '');
  if (match[1] === '-' && digits !== '') throw new InputProblem(`${shown(text)} is below zero`);
  // Number of digits down to the femtosecond; negative if all are below it.
  const length = digits.length - fraction.length + Number(match[4] ?? 0) + FEMTO_DIGITS[unit];
  if (digits === '' || length <= 0) return { us: 0, femto: 0 };
  if (length > MAX_US_DIGITS + FEMTO_DIGITS_OF_US) throw pastTheEnd(text);
  const femtoText = digits.slice(0, length).padEnd(length, '0');
  const us = Number(femtoText.slice(0, -FEMTO_DIGITS_OF_US));
  if (us > Number.MAX_SAFE_INTEGER) throw pastTheEnd(text);
  return { us, femto: Number(femtoText.slice(-FEMTO_DIGITS_OF_US)) };
}

function pastTheEnd(text: string): InputProblem {
  return new InputProblem(`${shown(text)} is a time past the year 2255`, { hint: 'Is --unit right?' });
}

/** How to read the time field of a trace. */
export interface TimeReading {
  readonly unit: TimeUnit;
  /** The field is the gap since the row before (for the first row: since the origin). */
  readonly gaps: boolean;
  /** Epoch microseconds of number 0. */
  readonly originUs: number;
}

/** Converts the time fields of a trace, in row order, into epoch microseconds. */
export class ArrivalTimes {
  readonly #reading: TimeReading;
  #sum: ExactTime = { us: 0, femto: 0 };

  constructor(reading: TimeReading) {
    this.#reading = reading;
  }

  /**
   * The arrival of the next row, rounded half up to the microsecond. Gaps are summed before rounding, so
   * errors do not add up.
   * @throws InputProblem when the text is no time of the stated unit
   */
  next(text: string): number {
    const { unit, gaps, originUs } = this.#reading;
    if (unit === 'iso') return parseIso(text);
    const time = parseExactTime(text, unit);
    if (gaps) this.#sum = sumOf(this.#sum, time);
    const { us, femto } = gaps ? this.#sum : time;
    const arrivalUs = originUs + us + (femto * 2 >= FEMTO_PER_US ? 1 : 0);
    if (arrivalUs > Number.MAX_SAFE_INTEGER) throw pastTheEnd(text);
    return arrivalUs;
  }
}

function sumOf(a: ExactTime, b: ExactTime): ExactTime {
  const femto = a.femto + b.femto;
  const carry = femto >= FEMTO_PER_US ? 1 : 0;
  return { us: a.us + b.us + carry, femto: femto - carry * FEMTO_PER_US };
}

function parseIso(text: string): number {
  let instantUs: number;
  try {
    instantUs = parseInstantUs(text, 'time');
  } catch (thrown) {
    if (!(thrown instanceof AppError)) throw thrown;
    const isNumber = /^\s*[+-]?\d+(\.\d*)?\s*$/.test(text);
    throw new InputProblem(`${shown(text)} is not an ISO 8601 instant`, {
      hint: isNumber
        ? 'The field is a number: say what it counts with --unit s, ms, us or ns.'
        : 'Instants look like 2023-11-16T18:15:46.680590Z; other forms of time must be converted first.',
      cause: thrown,
    });
  }
  return checkedInstant(instantUs, text);
}

/** @throws InputProblem for an instant outside a capture's range */
export function checkedInstant(instantUs: number, text: string): number {
  const hint = 'Correct the time, or remove its entry.';
  if (instantUs < 0) throw new InputProblem(`${shown(text)} is a time before 1970`, { hint });
  if (Number.isSafeInteger(instantUs)) return instantUs;
  throw new InputProblem(`${shown(text)} is a time past the year 2255`, { hint });
}
