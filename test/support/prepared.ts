import { NOTHING_EXPECTED } from '../../src/replay/answers/expected-answer.ts';
import type { PreparedRequest } from '../../src/replay/engine/messages.ts';

/** A request ready to be sent, by default `POST /<index>`. */
export function prepared(
  index: number,
  intendedOffsetNs: number,
  parts: Partial<PreparedRequest> = {},
): PreparedRequest {
  return {
    index,
    intendedOffsetNs,
    method: 'POST',
    path: `/${index}`,
    headers: ['Content-Type', 'text/plain', 'x-reprise-run', 'test'],
    body: Buffer.from(`body ${index}`),
    chunked: false,
    answer: NOTHING_EXPECTED,
    ...parts,
  };
}

/** Offsets with these gaps, counted from 0. */
export function offsetsOf(gapsNs: readonly number[]): number[] {
  const offsets: number[] = [];
  for (const gapNs of gapsNs) offsets.push((offsets.at(-1) ?? 0) + gapNs);
  return offsets;
}
