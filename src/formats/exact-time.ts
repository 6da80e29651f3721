import { AppError } from '../core/errors.ts';
import { parseInstantUs } from '../core/units.ts';
import { InputProblem, shown } from './input.ts';

/** Forms of a time field: a number of seconds, milli-, micro- or nanoseconds, or ISO 8601. */
export const TIME_UNITS = ['s', 'ms', 'us', 'ns', 'iso'] as const;
type TimeUnit = (typeof TIME_UNITS)[number];
export type NumericTimeUnit = Exclude<TimeUnit, 'iso'>;

/** Decimal digits from a unit down to the femtosecond (10⁻¹⁵ s). */
const FEMTO_DIGITS: Readonly<Record<NumericTimeUnit, number>> = { s: 15, ms: 12, us: 9, ns: 6 };
const FEMTO_PER_US = 10n ** 9n;
/** Numbers with more digits are past the latest time: 2⁵³ µs have 25 digits in femtoseconds. */
const MAX_DIGITS = 25;

/**
 * Reads a decimal number of `unit` as whole femtoseconds, without floating-point fractions. Digits below the
 * femtosecond are dropped.
 * @throws InputProblem when it is no number, below zero, or past the year 2255 (2⁵³ µs)
 */
export function parseExactTime(text: string, unit: NumericTimeUnit): bigint {
  const match = /^\s*([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?\s*$/.exec(text);
  const [, sign, whole = '', fraction = '', exponent = '0'] = match ?? [];
  if (whole.length + fraction.length === 0) throw new InputProblem(`${shown(text)} is not a number`);
  const digits = (whole + fraction).replace(/^0+/, '');
  if (sign === '-' && digits !== '') throw new InputProblem(`${shown(text)} is below zero`);
  // Number of digits down to the femtosecond; negative if all are below it.
  const length = digits.length - fraction.length + Number(exponent) + FEMTO_DIGITS[unit];
  if (digits === '' || length <= 0) return 0n;
  if (length > MAX_DIGITS) throw pastTheEnd(text);
  const femto = BigInt(digits.slice(0, length).padEnd(length, '0'));
  if (femto / FEMTO_PER_US > Number.MAX_SAFE_INTEGER) throw pastTheEnd(text);
  return femto;
}

function pastTheEnd(text: string): InputProblem {
  return new InputProblem(`${shown(text)} is a time past the year 2255`, { hint: 'Is --unit right?' });
}

/** How to read the time field of a trace. */
export interface TimeReading {
  readonly unit: TimeUnit;
  /** The field is the gap since the previous row (for the first row: since the origin). */
  readonly gaps: boolean;
  /** Epoch microseconds of number 0. */
  readonly originUs: number;
}

/** Converts the time fields of a trace, in row order, into epoch microseconds. */
export class ArrivalTimes {
  readonly #reading: TimeReading;
  #sumFemto = 0n;

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
    const femto = parseExactTime(text, unit);
    this.#sumFemto = gaps ? this.#sumFemto + femto : femto;
    const arrivalUs = originUs + Number((this.#sumFemto + FEMTO_PER_US / 2n) / FEMTO_PER_US);
    if (arrivalUs > Number.MAX_SAFE_INTEGER) throw pastTheEnd(text);
    return arrivalUs;
  }
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
