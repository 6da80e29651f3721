import { AppError } from './errors.ts';

/** Days of a time zone, named alike everywhere, and what else is asked of its instants. */
export class ZoneDays {
  readonly timeZone: string;
  readonly #format: Intl.DateTimeFormat;

  /** @throws AppError OPTION_INVALID for a zone nobody knows. */
  constructor(timeZone: string, besides: Intl.DateTimeFormatOptions = {}) {
    this.timeZone = timeZone;
    try {
      this.#format = new Intl.DateTimeFormat('en-US', {
        timeZone,
        calendar: 'iso8601',
        numberingSystem: 'latn',
        year: 'numeric',
        month: '2-digit',
        day: '2-digit',
        ...besides,
      });
    } catch (error) {
      throw new AppError('OPTION_INVALID', `--tz: ${JSON.stringify(timeZone)} is not a time zone`, {
        hint: 'Give a name such as Europe/Berlin, an offset such as +05:30, or UTC.',
        cause: error,
      });
    }
  }

  /** The day as `2026-11-24`, and the fields that were asked for besides. */
  at(epochUs: number): { readonly day: string; readonly fields: ReadonlyMap<string, string> } {
    const parts = this.#format.formatToParts(epochUs / 1000);
    const fields = new Map<string, string>(parts.map(({ type, value }) => [type, value]));
    const day = `${fields.get('year')?.padStart(4, '0')}-${fields.get('month')}-${fields.get('day')}`;
    return { day, fields };
  }
}
