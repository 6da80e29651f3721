import { expect } from 'vitest';
import { type CapacityDocument, capacitySchema } from '../../src/documents/capacity.ts';
import { runCommand } from './command-here.ts';
import type { Finished } from './process.ts';
import { serverOf } from './replaying.ts';
import type { RequestLogServer } from './request-log-server.ts';

export const SLO = ['--slo', 'latency: p(90)<500'];
/** A search whose steps last a second each; a busy machine has time for all of them. */
export const SHORT = ['--window', '1s', '--budget', '10m', '--compare-at-1x', 'off', '--cool-down', '0s'];

/** Runs `reprise capacity` with these arguments beside. */
export function search(capture: string, target: string, args: readonly string[]): Promise<Finished> {
  return runCommand(['capacity', capture, '--target', target, ...SLO, ...SHORT, ...args]);
}

/** The document that `--json` printed. */
export function searchedDocument({ stdout }: Finished): CapacityDocument {
  const document = JSON.parse(stdout);
  // What the schema does not name it would leave out.
  expect(capacitySchema.parse(document)).toEqual(document);
  return document;
}

/** A server that answers the first few, as a probe asks, and no other. */
export function failing(answered: number): Promise<RequestLogServer> {
  let count = 0;
  return serverOf((_, response) => {
    count += 1;
    response.writeHead(count > answered ? 503 : 200).end('{"outputs":[]}');
  });
}
