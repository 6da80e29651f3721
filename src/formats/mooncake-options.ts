import { Problems } from '../core/problems.ts';
import { parseInstantUs, parsePositiveMs } from '../core/units.ts';
import { IMPORT_DEFAULTS } from './import-options.ts';
import type { MooncakeReading } from './mooncake-reader.ts';

/** What was asked for, as text. */
export interface RawMooncakeOptions {
  readonly path?: string;
  readonly method?: string;
  readonly origin?: string;
  readonly gap?: string;
}

/** @throws AppError OPTION_INVALID naming every problem at once */
export function parseMooncakeReading(raw: RawMooncakeOptions): MooncakeReading {
  const problems = new Problems();
  const originUs = problems.attempt(
    () => parseInstantUs(raw.origin ?? IMPORT_DEFAULTS.origin, '--origin'),
    0,
  );
  if (originUs < 0) problems.add('--origin is before 1970');
  for (const option of ['path', 'method'] as const) {
    if (raw[option] === '') problems.add(`--${option} is empty`);
  }
  const gapMs = problems.optional(raw.gap, (text) => parsePositiveMs(text, '--gap'));
  problems.throwIfAny();
  return { originUs, gapMs, path: raw.path ?? null, method: raw.method ?? IMPORT_DEFAULTS.method };
}
