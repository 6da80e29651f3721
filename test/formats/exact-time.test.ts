import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArrivalTimes, type NumericTimeUnit, parseExactTime } from '../../src/formats/exact-time.ts';

const UNITS: readonly NumericTimeUnit[] = ['s', 'ms', 'us', 'ns'];
const FEMTO_PER_UNIT: Readonly<Record<NumericTimeUnit, bigint>> = {
  s: 10n ** 15n,
  ms: 10n ** 12n,
  us: 10n ** 9n,
  ns: 10n ** 6n,
};
const MAX_US = Number.MAX_SAFE_INTEGER;

const microseconds = fc.oneof(
  fc.integer({ min: 0, max: 5_000_000 }),
  fc.integer({ min: 1_600_000_000_000_000, max: 1_900_000_000_000_000 }),
  fc.maxSafeNat(),
);

function reading(unit: NumericTimeUnit | 'iso', gaps = false, originUs = 0): ArrivalTimes {
  return new ArrivalTimes({ unit, gaps, originUs });
}

/** A whole number of microseconds in another unit, as exact decimal text. */
function decimalText(us: number, unit: NumericTimeUnit): string {
  if (unit === 'ns') return `${us}000`.replace(/^0+(?=\d)/, '');
  const places = { s: 6, ms: 3, us: 0 }[unit];
  if (places === 0) return String(us);
  const digits = String(us).padStart(places + 1, '0');
  return `${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

function isoText(us: number, zone: string, separator: string): string {
  const whole = new Date(Math.floor(us / 1e6) * 1000).toISOString().slice(0, 19).replace('T', separator);
  return `${whole}.${String(us % 1e6).padStart(6, '0')}${zone}`;
}

describe('a time field', () => {
  test.each(UNITS)('in %s gives back the same whole microseconds it was written from', (unit) => {
    fc.assert(
      fc.property(microseconds, (us) => {
        expect(reading(unit).next(decimalText(us, unit))).toBe(us);
      }),
    );
  });

  test('in ISO 8601 gives back the same whole microseconds it was written from', () => {
    const zone = fc.constantFrom('', 'Z', '+00:00', '-0000');
    fc.assert(
      fc.property(microseconds, zone, fc.constantFrom('T', ' '), (us, zone, separator) => {
        expect(reading('iso').next(isoText(us, zone, separator))).toBe(us);
      }),
    );
  });

  test('keeps every digit down to the femtosecond, whatever the unit and the exponent', () => {
    const digits = fc.tuple(
      fc.nat(10 ** 7),
      fc.array(fc.nat(9), { maxLength: 20 }),
      fc.integer({ min: -8, max: 2 }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...UNITS), digits, (unit, [whole, fraction, exponent]) => {
        const femto = parseExactTime(`${whole}.${fraction.join('')}e${exponent}`, unit);
        const mantissa = BigInt(`${whole}${fraction.join('')}`) * FEMTO_PER_UNIT[unit];
        const shift = exponent - fraction.length;
        const expected = shift >= 0 ? mantissa * 10n ** BigInt(shift) : mantissa / 10n ** BigInt(-shift);
        expect(femto).toBe(expected);
      }),
    );
  });

  test.each([
    ['s', '0.1234564', 123_456],
    ['s', '0.1234565', 123_457],
    ['s', '0.1234567', 123_457],
    ['ms', '66', 66_000],
    ['ms', '0.0004999999999', 0],
    ['us', '0.5', 1],
    ['ns', '1499', 1],
    ['ns', '1500', 2],
    ['s', '1.7e9', 1_700_000_000_000_000],
    ['s', ' 1700000000.1234567 ', 1_700_000_000_123_457],
    ['s', '.5', 500_000],
    ['s', '5.', 5_000_000],
    ['s', '-0.0', 0],
    ['s', '1e-300', 0],
    ['iso', '2023-11-16 18:15:46.6805900', 1_700_158_546_680_590],
    ['iso', '2023-11-16T19:15:46.680590+01:00', 1_700_158_546_680_590],
  ] as const)('in %s reading %j is %d µs, rounded half up', (unit, text, us) => {
    expect(reading(unit).next(text)).toBe(us);
  });

  test.each(['', ' ', '.', 'abc', '1,5', '0x10', '1_000', 'NaN', 'Infinity', '1e', '--1', '1 2'])(
    'refuses %j as a number',
    (text) => {
      expect(() => reading('s').next(text)).toThrow('is not a number');
    },
  );

  test('refuses a number below zero, and one past the last exact microsecond', () => {
    expect(() => reading('ms').next('-1')).toThrow('"-1" is below zero');
    expect(reading('us').next(String(MAX_US))).toBe(MAX_US);
    expect(() => reading('us').next('9007199254740992')).toThrow('past the year 2255');
    expect(() => reading('s').next('1e9999')).toThrow('past the year 2255');
    expect(() => reading('us', false, 1).next(String(MAX_US))).toThrow('past the year 2255');
  });

  test.each(['2023-02-30 00:00:00', '2023-13-01T00:00:00Z', '16/11/2023 18:15', '18:15:46'])(
    'refuses %j as an instant',
    (text) => {
      expect(() => reading('iso').next(text)).toThrow('is not an ISO 8601 instant');
    },
  );

  test('refuses an instant before the epoch', () => {
    expect(() => reading('iso').next('1969-12-31T23:59:59Z')).toThrow('before 1970');
  });
});

describe('gaps', () => {
  test('are summed without error and rounded once, so that a third of a second stays one after 300,000 rows', () => {
    const times = reading('s', true);
    let last = 0;
    for (let row = 0; row < 300_000; row += 1) last = times.next('0.333333333333333');
    expect(last).toBe(100_000_000_000);
  });

  test('of any size add up to the exact integer sum', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(10 ** 12), { minLength: 1, maxLength: 50 }), (picoseconds) => {
        const times = reading('us', true, 1_000_000);
        let sumPs = 0n;
        for (const ps of picoseconds) {
          sumPs += BigInt(ps);
          const text = decimalText(ps, 's');
          const roundedUs = Number((sumPs + 500_000n) / 1_000_000n);
          expect(times.next(text)).toBe(1_000_000 + roundedUs);
        }
      }),
    );
  });

  test('of zero keep arrivals tied', () => {
    const times = reading('ms', true, 5_000_000);
    expect(['66', '0', '0', '117'].map((gap) => times.next(gap))).toEqual([
      5_066_000, 5_066_000, 5_066_000, 5_183_000,
    ]);
  });
});
